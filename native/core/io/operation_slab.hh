// OperationSlab: the records of the reactor's operations. Records keep their address (it is the
// user_data of the ring), are recycled through a free list, and are never given back to the heap
// before the reactor goes: no allocation per operation once the working set has been reached.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/reactor.hh"

namespace cairn::io {

// free: on the free list. waiting: in the reactor's backlog. in_kernel: its completion is still to
// come. finished: its result is kept until it can be delivered.
enum class OperationState : std::uint8_t { free, waiting, in_kernel, finished };

struct Operation {
  io_uring_sqe sqe;  // kept for the whole life, so that a cancelled operation can be repeated
  IoDone done;
  Operation* next_free = nullptr;
  int result = 0;  // when finished
  OperationState state = OperationState::free;
  bool cancel_requested = false;  // by the owner: a cancellation is the result, no repetition
};

class OperationSlab {
 public:
  OperationSlab() = default;
  OperationSlab(const OperationSlab&) = delete;
  OperationSlab& operator=(const OperationSlab&) = delete;

  // A record in the state waiting; everything but sqe is reset.
  Operation* take() {
    if (free_ == nullptr) grow();
    Operation* operation = free_;
    free_ = operation->next_free;
    operation->state = OperationState::waiting;
    operation->cancel_requested = false;
    return operation;
  }

  // The record's callback must have been moved out.
  void give(Operation* operation) {
    operation->state = OperationState::free;
    operation->next_free = free_;
    free_ = operation;
  }

  // Calls visit(Operation&) for every record that is not free.
  template <typename Visit>
  void for_each(Visit visit) {
    for (const auto& chunk : chunks_)
      for (std::size_t i = 0; i < kChunkRecords; ++i)
        if (chunk[i].state != OperationState::free) visit(chunk[i]);
  }

 private:
  static constexpr std::size_t kChunkRecords = 64;  // 12 KiB

  void grow() {
    auto chunk = std::make_unique<Operation[]>(kChunkRecords);
    for (std::size_t i = kChunkRecords; i > 0; --i) give(&chunk[i - 1]);
    chunks_.push_back(std::move(chunk));
  }

  std::vector<std::unique_ptr<Operation[]>> chunks_;
  Operation* free_ = nullptr;
};

}  // namespace cairn::io
