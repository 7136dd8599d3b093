// SimDisk: a Disk over a SimDiskImage, in the time of an executor: seeded latencies, so that
// completions come in any order; faults by rule; counters. Destroying it is a power cut: what is
// in flight never completes. To crash: take image(), let it crash(), make a new SimDisk of it.
//
// The asynchronous half belongs to the executor's thread. The blocking half takes no virtual time
// and may be called from another thread (the key-value store has its own); the order between the
// two threads is then the only thing that the seed does not decide.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <vector>

#include "io/disk.hh"
#include "io/executor.hh"
#include "io/random.hh"
#include "io/sim_disk_image.hh"

namespace cairn::io {

// What happens to the operations that a rule matches.
struct DiskFault {
  enum class On : std::uint8_t { read, write, flush };
  // error: fails with code. A write that failed may have reached the medium or not; a flush that
  // failed drops what it should have made durable. lose: reported as done, but nothing happened
  // (read: no effect). misdirect: a write lands at misdirect_offset. flip: a read returns its bytes
  // with one bit flipped, while the medium keeps them (the others: no effect).
  enum class Action : std::uint8_t { error, lose, misdirect, flip };

  On on = On::read;
  Action action = Action::error;
  std::uint64_t offset = 0;  // the operations that touch [offset, offset + length)
  std::uint64_t length = ~std::uint64_t{0};
  std::uint64_t skip = 0;                   // so many matches are let through first
  std::uint64_t times = ~std::uint64_t{0};  // then so many are hit
  std::uint64_t misdirect_offset = 0;
  ErrorCode code = ErrorCode::io_error;  // of an error; no_space: the file system below is full
};

class SimDisk final : public Disk {
 public:
  struct Options {
    std::uint64_t seed = 1;
    std::uint64_t min_latency_ns = 20'000;
    std::uint64_t max_latency_ns = 200'000;
  };
  // Operations that completed, by both halves, and bytes that they moved.
  struct Counters {
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::uint64_t durable_writes = 0;  // of the writes
    std::uint64_t flushes = 0;
    std::uint64_t discards = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t faults = 0;  // delivered
  };
  using Observer = UniqueFunction<void(const SimDiskImage&)>;

  // The executor must outlive the disk.
  SimDisk(Executor& executor, SimDiskImage image)
      : SimDisk(executor, std::move(image), Options{}) {}
  SimDisk(Executor& executor, SimDiskImage image, const Options& options);
  ~SimDisk() override;
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  std::uint64_t size_bytes() const override { return size_bytes_; }
  Status read_now(std::uint64_t offset, MutableByteSpan into) override;
  Status write_now(std::uint64_t offset, ByteSpan from) override;
  Status flush_now() override;
  Result<DiskSpace> space() const override {
    return DiskSpace{size_bytes_, size_bytes_, size_bytes_};
  }

  void read(std::uint64_t offset, Buffer into, DiskDone done) override;
  void write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) override;
  void flush(DiskDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length, DiskDone done) override;

  // A cheap copy of the present state.
  SimDiskImage image() const;
  Counters counters() const;
  // Rules are asked in the order in which they were added; the first that matches acts.
  void add_fault(const DiskFault& fault);
  void clear_faults();
  // Of operations that begin from now on.
  void set_latency(std::uint64_t min_ns, std::uint64_t max_ns);
  void flip_bit(std::uint64_t byte_offset, unsigned bit);
  // Called after every change of the image (a write started or finished, a flush, a discard): the
  // points at which a crash makes a difference. It may copy the image, and must not call the disk.
  void observe(Observer observer);

 private:
  // Runs finish and then done with its outcome, after a seeded latency.
  void complete_later(UniqueFunction<Status()> finish, DiskDone done);
  bool is_inside(std::uint64_t offset, std::uint64_t length) const;
  // The rule that hits this operation, or null. Counts.
  const DiskFault* fault_for(DiskFault::On on, std::uint64_t offset, std::uint64_t length);
  Status finish_read(std::uint64_t offset, MutableByteSpan into);
  Status finish_write(std::uint64_t id, std::uint64_t offset, Buffer bytes, bool durable);
  Status finish_flush(std::uint64_t up_to_sequence);
  void changed();

  Executor& executor_;
  const std::uint64_t size_bytes_;
  std::set<TimerId> timers_;  // of the operations in flight; executor's thread only

  mutable std::mutex mutex_;  // guards everything below
  Options options_;
  SimDiskImage image_;
  Random random_;
  Counters counters_;
  std::vector<DiskFault> faults_;
  Observer observer_;
};

}  // namespace cairn::io
