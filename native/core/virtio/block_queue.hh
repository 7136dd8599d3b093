// BlockQueue: one virtqueue served from a BlockDevice.
//
// Invariants
// - Payload is copied out of guest memory once, before the device sees it; what was read is copied
//   in once, on completion. The device never holds a pointer into guest memory.
// - Every popped chain is pushed back exactly once, unless it has no status byte: that breaks the
//   ring.
// - Popping pauses while kMaxInFlightBytes or more are in flight, so at most that and one request
//   more are held; it goes on as requests complete.
// - All completions of one turn of the executor are shown by one store and one call at most.
// - A broken ring is logged once, popped no more, and still stops as any other.
// - Nothing that belongs to the queue is pending in the executor once stop() has called back.
//
// Does not: wait for kicks or poll; BlockBackend decides when to call process().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.hh"
#include "image/block_device.hh"
#include "io/executor.hh"
#include "virtio/block_request.hh"
#include "virtio/device.hh"
#include "virtio/split_queue.hh"

namespace cairn::virtio {

class BlockQueue {
 public:
  static constexpr std::uint64_t kMaxInFlightBytes = 32U << 20;
  // Chains per process(): long enough to share a call, short enough that a busy queue does not keep
  // its completions, or the rest of the executor, waiting.
  static constexpr std::uint32_t kBatch = 64;

  struct Surroundings {
    image::BlockDevice* device = nullptr;
    io::Executor* executor = nullptr;
    const std::string* serial = nullptr;  // at most kBlockIdBytes are shown
    LogFunction* log = nullptr;
  };

  BlockQueue(const Surroundings& surroundings, SplitQueue ring, std::uint32_t index, int call_fd,
             int error_fd);
  ~BlockQueue();
  BlockQueue(const BlockQueue&) = delete;
  BlockQueue& operator=(const BlockQueue&) = delete;

  // Pops what is available and hands it to the device. true: something was popped.
  bool process();
  // Whether it takes requests: not when stopping, broken, or paused until some have completed.
  bool can_pop() const { return !broken_ && !stopping_ && in_flight_bytes_ < kMaxInFlightBytes; }
  // Whether process() would find something to do now.
  bool has_work() { return can_pop() && ring_.has_available(); }

  // Asks the driver for a kick at the next chain. true: there is work already.
  bool enable_notifications() { return ring_.enable_notifications() && can_pop(); }
  void disable_notifications() { ring_.disable_notifications(); }

  // Completions pushed since the last call of this.
  bool take_activity() { return std::exchange(completed_since_, false); }

  void set_call(int call_fd);
  // See Device::stop_queue.
  void stop(StopDone done);

  std::uint32_t in_flight() const { return in_flight_; }
  std::uint64_t in_flight_bytes() const { return in_flight_bytes_; }
  bool broken() const { return broken_; }

 private:
  struct Slot {
    BlockRequest request;
    std::uint32_t parts_left = 0;  // of a discard or write zeroes
    BlockStatus status = BlockStatus::ok;
  };

  void begin(Slot* slot);
  void submit(Slot* slot);
  void submit_ranges(Slot* slot);
  void answer_id(Slot* slot);
  void finish(Slot* slot, BlockStatus status);
  void publish();
  void schedule_turn();
  void turn();
  void break_ring(const char* why);
  void finish_stop();

  Slot* take_slot();
  void give_slot(Slot* slot) { free_.push_back(slot); }

  Surroundings surroundings_;
  SplitQueue ring_;
  std::uint32_t index_;
  int call_fd_;
  int error_fd_;
  Chain chain_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> free_;
  std::uint32_t in_flight_ = 0;
  std::uint64_t in_flight_bytes_ = 0;
  bool processing_ = false;      // completions are published at the end of process()
  bool turn_scheduled_ = false;  // completions are published by turn()
  bool completed_since_ = false;
  bool broken_ = false;
  bool stopping_ = false;
  StopDone stop_done_;
};

}  // namespace cairn::virtio
