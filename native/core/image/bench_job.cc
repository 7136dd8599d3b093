// The load generator: see bench_job.hh.
#include "image/bench_job.hh"

#include <algorithm>
#include <utility>

namespace cairn::image {

namespace {
constexpr std::uint64_t kSeriesStepNs = 100'000'000;
}

Status BenchJob::check(const BlockDevice& device, const BenchSpec& spec) {
  if (spec.io_bytes == 0 || spec.io_bytes > (std::uint64_t{32} << 20)) {
    return Status(ErrorCode::invalid_argument, "the I/O size must be 1 to 32M");
  }
  if (spec.io_bytes > device.size_bytes()) {
    return Status(ErrorCode::invalid_argument, "the I/O size is larger than the image");
  }
  if (spec.queue_depth == 0 || spec.queue_depth > 1024) {
    return Status(ErrorCode::invalid_argument, "the queue depth must be 1 to 1024");
  }
  if (spec.read_percent > 100) {
    return Status(ErrorCode::invalid_argument, "the share of reads must be 0 to 100 percent");
  }
  if (device.read_only() && spec.type != BenchSpec::Type::read) {
    return Status(ErrorCode::read_only, "the image is read-only");
  }
  return Status::ok();
}

void BenchJob::start(io::Executor& executor, BlockDevice& device, const BenchSpec& spec,
                     Done done) {
  auto job = std::make_shared<BenchJob>(executor, device, spec, std::move(done));
  job->start_ns_ = executor.now_ns();
  job->last_completion_ns_ = job->start_ns_;
  job->end_ns_ = job->start_ns_ + spec.duration_ns;
  for (std::uint32_t i = 0; i < spec.queue_depth && job->take_next(); ++i) job->issue();
}

BenchJob::BenchJob(io::Executor& executor, BlockDevice& device, const BenchSpec& spec, Done done)
    : executor_(executor),
      device_(device),
      spec_(spec),
      done_(std::move(done)),
      random_(spec.seed),
      payload_(Buffer::allocate(spec.io_bytes)) {
  // Bytes that no layer may take for zeros.
  for (std::size_t i = 0; i < payload_.size(); ++i) {
    payload_.data()[i] = static_cast<std::byte>(random_.below(255) + 1);
  }
}

// Counted before it is posted: the end is when nothing is under way or about to be.
bool BenchJob::take_next() {
  if (spec_.total_bytes != 0 && begun_bytes_ >= spec_.total_bytes) return false;
  begun_bytes_ += spec_.io_bytes;
  ++in_flight_;
  return true;
}

void BenchJob::issue() {
  // At least one: a device that has shrunk below that refuses it, which ends the run.
  const std::uint64_t slots = std::max<std::uint64_t>(1, device_.size_bytes() / spec_.io_bytes);
  const std::uint64_t slot =
      spec_.random_offsets ? random_.below(slots) : next_sequential_++ % slots;
  const std::uint64_t offset = slot * spec_.io_bytes;
  const bool write =
      spec_.type == BenchSpec::Type::write ||
      (spec_.type == BenchSpec::Type::mixed && random_.below(100) >= spec_.read_percent);
  const std::uint64_t started = executor_.now_ns();
  if (write) {
    device_.write(offset, payload_, [self = shared_from_this(), started](Status status) {
      self->completed(started, status);
    });
  } else {
    device_.read(offset, spec_.io_bytes,
                 [self = shared_from_this(), started](Status status, Buffer) {
                   self->completed(started, status);
                 });
  }
}

void BenchJob::completed(std::uint64_t started_ns, const Status& status) {
  const std::uint64_t now = executor_.now_ns();
  --in_flight_;
  if (status) {
    ++report_.operations;
    report_.bytes += spec_.io_bytes;
    report_.latency_ns.record(now - started_ns);
    report_.longest_gap_ns = std::max(report_.longest_gap_ns, now - last_completion_ns_);
    last_completion_ns_ = now;
    const std::size_t step = (now - start_ns_) / kSeriesStepNs;
    if (report_.series.size() <= step) report_.series.resize(step + 1);
    ++report_.series[step];
  } else {
    if (report_.errors++ == 0) report_.first_error = status;
    end_ns_ = now;  // an error ends the run
  }
  // Reposted, so that a device that completes at once does not recurse.
  if (now < end_ns_ && take_next()) {
    return executor_.post([self = shared_from_this()] { self->issue(); });
  }
  if (in_flight_ != 0) return;
  report_.elapsed_ns = now - start_ns_;
  done_(std::move(report_));
}

}  // namespace cairn::image
