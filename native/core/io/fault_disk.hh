// FaultDisk: a Disk over another one that misbehaves when told to, for tests with real processes.
//
// While it holds writes, what was not flushed is in the memory of this process alone, so that
// kill -9 is a power cut: everything unflushed is gone, but for what the "drive" happened to have
// written back by itself. It can also be slow, be full, fail, and flip bits of what is read.
//
// Invariants
// - What was flushed, or written durably, is below; nothing else but what was written back is.
// - A read sees the newest completed write, held or not.
// - A flush that fails loses what it should have made durable, as a drive's cache may.
// - An orderly end is no power cut: the destructor puts everything held below.
//
// The asynchronous half belongs to the executor's thread, the blocking half and set_faults() to any
// thread. The disk below is used through its blocking half only, on the thread of the caller: this
// costs time on the executor's thread, which a test can afford. Does not: tear a 4 KiB block or
// lose part of a flush (SimDisk does).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "io/disk.hh"
#include "io/random.hh"
#include "io/scoped_executor.hh"

namespace cairn::io {

struct DiskFaults {
  bool hold_writes = true;
  // While holding: this share of the blocks written is below at once, though not flushed.
  std::uint32_t write_back_percent = 0;
  std::uint64_t delay_ns = 0;               // of each operation
  std::uint32_t operations_per_second = 0;  // 0: no limit
  bool fail_reads = false;
  bool fail_writes = false;
  bool fail_flushes = false;
  bool full = false;             // writes answer no_space
  std::uint32_t flip_reads = 0;  // so many of the next reads return one flipped bit
};

class FaultDisk final : public Disk {
 public:
  struct Counters {
    std::uint64_t held_blocks = 0;     // now: what a power cut would lose
    std::uint64_t failed = 0;          // operations that an injected error ended
    std::uint64_t delayed = 0;         // operations that had to wait
    std::uint64_t flipped = 0;         // reads
    std::uint64_t flushed_blocks = 0;  // that were held until their flush
  };

  // Both outlive the disk. The seed decides what is written back and which bits flip.
  FaultDisk(Executor& executor, BlockingDisk& below, const DiskFaults& faults, std::uint64_t seed);
  // What still waits never completes.
  ~FaultDisk() override;
  FaultDisk(const FaultDisk&) = delete;
  FaultDisk& operator=(const FaultDisk&) = delete;

  // On the executor's thread. Operations that wait for a delay go on at once.
  void set_faults(const DiskFaults& faults);
  Counters counters() const;

  std::uint64_t size_bytes() const override { return below_.size_bytes(); }
  Status read_now(std::uint64_t offset, MutableByteSpan into) override;
  Status write_now(std::uint64_t offset, ByteSpan from) override;
  Status flush_now() override;
  Result<DiskSpace> space() const override { return below_.space(); }

  void read(std::uint64_t offset, Buffer into, DiskDone done) override;
  void write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) override;
  void flush(DiskDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length, DiskDone done) override;

 private:
  using Blocks = std::map<std::uint64_t, Buffer>;  // by offset, each 4096 bytes

  // Runs the task on the executor when its turn has come, never inside the call.
  void start(Task task);
  void release_due();
  void arm();
  // When an operation that comes now may go on. Counts.
  std::uint64_t due_ns_locked();
  void wait_turn(std::unique_lock<std::mutex>& lock);

  Status read_locked(std::uint64_t offset, MutableByteSpan into);
  Status write_locked(std::uint64_t offset, ByteSpan from, bool durable);
  Status flush_locked();
  Status write_below(const Blocks& blocks);
  Status injected_locked(ErrorCode code, const char* what);

  ScopedExecutor executor_;
  BlockingDisk& below_;
  std::multimap<std::uint64_t, Task> waiting_;  // by due time; executor's thread only
  TimerId timer_ = 0;

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable faults_changed_;
  DiskFaults faults_;
  std::uint64_t generation_ = 0;  // of faults_
  std::uint64_t next_slot_ns_ = 0;
  Random random_;
  Blocks held_;
  Counters counters_;
};

}  // namespace cairn::io
