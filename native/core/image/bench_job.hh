// BenchJob: load on a BlockDevice from the native core: a fixed queue depth, random or sequential
// offsets, for a time or so many bytes; measures latency and, every 100 ms, how many operations
// finished.
#pragma once

#include <memory>
#include <vector>

#include "base/histogram.hh"
#include "image/block_device.hh"
#include "io/executor.hh"
#include "io/random.hh"

namespace cairn::image {

struct BenchSpec {
  enum class Type : std::uint8_t { read, write, mixed };
  Type type = Type::read;
  bool random_offsets = true;
  std::uint64_t io_bytes = 4096;
  std::uint32_t queue_depth = 1;
  std::uint64_t duration_ns = 0;
  std::uint64_t total_bytes = 0;    // ends when it has begun so much; 0: only with its time
  std::uint32_t read_percent = 50;  // of mixed
  std::uint64_t seed = 1;
};

struct BenchReport {
  std::uint64_t operations = 0, bytes = 0, errors = 0;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t longest_gap_ns = 0;  // without any completion
  Histogram latency_ns;
  std::vector<std::uint32_t> series;  // completions per 100 ms
  Status first_error;
};

class BenchJob : public std::enable_shared_from_this<BenchJob> {
 public:
  using Done = UniqueFunction<void(BenchReport)>;
  // invalid_argument: an I/O size of 0 or larger than the device, queue depth 0.
  static Status check(const BlockDevice& device, const BenchSpec& spec);
  static void start(io::Executor& executor, BlockDevice& device, const BenchSpec& spec, Done done);

  BenchJob(io::Executor& executor, BlockDevice& device, const BenchSpec& spec, Done done);

 private:
  void issue();
  bool take_next();
  void completed(std::uint64_t started_ns, const Status& status);

  io::Executor& executor_;
  BlockDevice& device_;
  BenchSpec spec_;
  Done done_;
  BenchReport report_;
  io::Random random_;
  std::uint64_t start_ns_ = 0, end_ns_ = 0, last_completion_ns_ = 0;
  std::uint64_t next_sequential_ = 0;
  std::uint64_t begun_bytes_ = 0;
  std::uint32_t in_flight_ = 0;
  Buffer payload_;
};

}  // namespace cairn::image
