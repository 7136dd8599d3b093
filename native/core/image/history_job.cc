// The recorder of histories: see history_job.hh.
#include "image/history_job.hh"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/ids.hh"

namespace cairn::image {

namespace {

constexpr std::uint32_t kValueBits = 40;  // of a value, for the counter; the client is above
constexpr std::size_t kWords = kBlockBytes / sizeof(std::uint64_t);

// Word 0 is the value, word 1 the place, the others follow from both and from where they lie.
std::uint64_t word_of(std::uint32_t block, std::uint64_t value, std::size_t index) {
  if (index == 0) return value;
  if (index == 1) return block;
  return (value + (std::uint64_t{block} << 32)) * 0x9e3779b97f4a7c15 + index * 0xbf58476d1ce4e5b9;
}

}  // namespace

Buffer HistoryJob::block_of(std::uint32_t block, std::uint64_t value) {
  Buffer bytes = Buffer::allocate(kBlockBytes);
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint64_t word = word_of(block, value, i);
    std::memcpy(bytes.data() + i * sizeof word, &word, sizeof word);
  }
  return bytes;
}

std::uint64_t HistoryJob::value_of(std::uint32_t block, ByteSpan bytes) {
  const auto word_at = [bytes](std::size_t index) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + index * sizeof word, sizeof word);
    return word;
  };
  if (std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{}; }))
    return 0;
  const std::uint64_t value = word_at(0);
  for (std::size_t i = 0; i < kWords; ++i) {
    if (word_at(i) != word_of(block, value, i)) return HistoryRecord::kGarbage;
  }
  return value;
}

Status HistoryJob::check(const BlockDevice& device, const HistorySpec& spec) {
  const auto refuse = [](const char* why) { return Status(ErrorCode::invalid_argument, why); };
  if (spec.client == 0 || spec.client >= 1U << 20) return refuse("the client must be 1 to 2^20");
  if (spec.blocks == 0 || spec.queue_depth == 0) return refuse("there must be blocks and a queue");
  if (spec.stride_bytes == 0 || spec.stride_bytes % kBlockBytes != 0) {
    return refuse("blocks must lie a multiple of 4096 apart");
  }
  const std::uint64_t room = device.size_bytes() / spec.stride_bytes;
  if (spec.blocks > room) return refuse("the blocks do not fit into the device");
  if (spec.write_percent > 100) return refuse("the share of writes is above 100 %");
  return Status::ok();
}

void HistoryJob::start(io::Executor& executor, BlockDevice& device, const HistorySpec& spec,
                       Done done) {
  auto job = std::make_shared<HistoryJob>(executor, device, spec, std::move(done));
  job->history_.start_ns = executor.now_ns();
  if (spec.drain_ns != 0) {
    executor.run_after(spec.duration_ns + spec.drain_ns, [job] {
      if (!job->is_over_) job->finish();
    });
  }
  job->slots_ = spec.queue_depth;
  for (std::uint32_t i = 0; i < spec.queue_depth; ++i) job->next();
}

HistoryJob::HistoryJob(io::Executor& executor, BlockDevice& device, const HistorySpec& spec,
                       Done done)
    : executor_(executor),
      device_(device),
      spec_(spec),
      done_(std::move(done)),
      random_(spec.seed) {}

// Posted, so that a device that completes at once does not recurse.
void HistoryJob::next() {
  const auto go_on = [self = shared_from_this()] { self->issue(); };
  if (spec_.pause_ns == 0) return executor_.post(go_on);
  // Around the mean, so that the slots do not march in step.
  executor_.run_after(spec_.pause_ns / 2 + random_.below(spec_.pause_ns), go_on);
}

void HistoryJob::issue() {
  if (is_over_) return;
  const std::uint64_t now = executor_.now_ns();
  const bool sweeps = spec_.mode == HistorySpec::Mode::sweep;
  const bool more =
      sweeps ? next_swept_ < spec_.blocks : now < history_.start_ns + spec_.duration_ns;
  if (!more || history_.is_fenced) {
    --slots_;
    return finish_if_over();
  }
  HistoryRecord record;
  record.block = sweeps ? next_swept_++ : static_cast<std::uint32_t>(random_.below(spec_.blocks));
  record.is_write = !sweeps && random_.below(100) < spec_.write_percent;
  record.start_ns = now;
  const std::uint64_t id = next_id_++;
  const std::uint64_t offset = record.block * spec_.stride_bytes;
  if (record.is_write) {
    record.value = (std::uint64_t{spec_.client} << kValueBits) | next_value_++;
    in_flight_[id] = record;
    device_.write(
        offset, block_of(record.block, record.value),
        [self = shared_from_this(), id](Status status) { self->completed(id, status, {}); });
  } else {
    in_flight_[id] = record;
    device_.read(offset, kBlockBytes, [self = shared_from_this(), id](Status status, Buffer bytes) {
      self->completed(id, status, bytes.span());
    });
  }
}

void HistoryJob::completed(std::uint64_t id, const Status& status, ByteSpan bytes) {
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end()) return;  // its time was over
  HistoryRecord record = found->second;
  const bool fenced = status.code() == ErrorCode::fenced || status.code() == ErrorCode::blocklisted;
  if (fenced) history_.is_fenced = true;
  if (fenced && record.is_write) {
    in_flight_.erase(found);
    record.was_fenced = true;
    record.end_ns = executor_.now_ns();
    history_.records.push_back(record);
  } else if (fenced) {
    in_flight_.erase(found);
  } else if (status) {
    in_flight_.erase(found);
    record.end_ns = executor_.now_ns();
    if (!record.is_write) record.value = value_of(record.block, bytes);
    history_.records.push_back(record);
  } else {
    if (history_.first_error) history_.first_error = status;
    ++(record.is_write ? history_.failed_writes : history_.failed_reads);
    // A write that failed may yet have happened: it stays pending to the end.
    if (!record.is_write) in_flight_.erase(found);
  }
  if (!is_over_) next();
}

void HistoryJob::finish_if_over() {
  if (slots_ == 0 && !is_over_) finish();
}

void HistoryJob::finish() {
  is_over_ = true;
  for (const auto& [id, record] : in_flight_) {
    ++history_.unanswered;
    if (record.is_write) history_.records.push_back(record);
  }
  history_.unanswered -= history_.failed_writes;
  in_flight_.clear();
  history_.end_ns = executor_.now_ns();
  done_(std::move(history_));
}

}  // namespace cairn::image
