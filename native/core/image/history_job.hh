// HistoryJob: writes of unique values and reads on a BlockDevice, and the record of what each saw
// and when, for the linearizability check (test/checkers). The payload stays here: a 4 KiB block
// stands for one 64-bit value, whose pattern depends on the block's place, so that torn, misplaced
// and foreign bytes are told from every value that was written.
//
// Invariants
// - A value is written at most once: the client's number and a counter make it. 0 is a block of
//   zeros. A block that holds no value reads as kGarbage.
// - An operation whose outcome is not known (an error, or no answer by the end) has end_ns =
//   kPending. A read without an outcome is not recorded.
// - A write that a fence has refused took effect before another client had taken the image over, or
//   never: its end_ns is when the refusal came. The job ends then, for nothing is served any more.
//
// Several jobs, of several processes, may share blocks. It checks nothing beyond one block.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "image/block_device.hh"
#include "io/executor.hh"
#include "io/random.hh"

namespace cairn::image {

struct HistorySpec {
  enum class Mode : std::uint8_t { mixed, sweep };  // sweep: each block is read once
  Mode mode = Mode::mixed;
  std::uint32_t client = 1;           // not 0; different for jobs that share blocks
  std::uint32_t blocks = 1;           // block i lies at i * stride_bytes
  std::uint64_t stride_bytes = 4096;  // a multiple of 4096
  std::uint32_t queue_depth = 1;
  std::uint32_t write_percent = 50;
  std::uint64_t pause_ns = 0;     // of each slot of the queue, between two operations
  std::uint64_t duration_ns = 0;  // mixed: no operation starts later
  std::uint64_t drain_ns = 0;     // behind that: for answers; 0: however long they take
  std::uint64_t seed = 1;
};

struct HistoryRecord {
  static constexpr std::uint64_t kPending = ~std::uint64_t{0};
  static constexpr std::uint64_t kGarbage = ~std::uint64_t{0};
  std::uint32_t block = 0;
  bool is_write = false;
  bool was_fenced = false;  // a write that was refused
  std::uint64_t value = 0;
  std::uint64_t start_ns = 0, end_ns = kPending;  // of the executor's clock
};

struct History {
  std::vector<HistoryRecord> records;  // in the order of their ends; the pending ones last
  std::uint64_t failed_reads = 0, failed_writes = 0, unanswered = 0;
  bool is_fenced = false;  // not counted among those that failed
  std::uint64_t start_ns = 0, end_ns = 0;
  Status first_error;
};

class HistoryJob : public std::enable_shared_from_this<HistoryJob> {
 public:
  using Done = UniqueFunction<void(History)>;
  // invalid_argument: a spec that does not fit the device.
  static Status check(const BlockDevice& device, const HistorySpec& spec);
  static void start(io::Executor& executor, BlockDevice& device, const HistorySpec& spec,
                    Done done);

  // The content of a block, and back.
  static Buffer block_of(std::uint32_t block, std::uint64_t value);
  static std::uint64_t value_of(std::uint32_t block, ByteSpan bytes);

  HistoryJob(io::Executor& executor, BlockDevice& device, const HistorySpec& spec, Done done);

 private:
  void next();
  void issue();
  void completed(std::uint64_t id, const Status& status, ByteSpan bytes);
  void finish_if_over();
  void finish();

  io::Executor& executor_;
  BlockDevice& device_;
  HistorySpec spec_;
  Done done_;
  io::Random random_;
  History history_;
  std::map<std::uint64_t, HistoryRecord> in_flight_;
  std::uint64_t next_id_ = 0, next_value_ = 1;
  std::uint32_t next_swept_ = 0;
  std::uint32_t slots_ = 0;  // of the queue, that still go on
  bool is_over_ = false;
};

}  // namespace cairn::image
