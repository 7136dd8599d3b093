// Holding writes back, and the faults: see fault_disk.hh.
#include "io/fault_disk.hh"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::io {

namespace {

constexpr std::uint64_t kBlock = Buffer::kAlignment;
constexpr std::uint64_t kSecondNs = 1'000'000'000;
// Blocks behind each other that go below in one write.
constexpr std::size_t kMaxRunBlocks = 256;

Buffer joined(const std::vector<Buffer>& parts) {
  std::size_t length = 0;
  for (const Buffer& part : parts) length += part.size();
  Buffer all = Buffer::allocate(length);
  std::size_t at = 0;
  for (const Buffer& part : parts) {
    std::memcpy(all.data() + at, part.data(), part.size());
    at += part.size();
  }
  return all;
}

}  // namespace

FaultDisk::FaultDisk(Executor& executor, BlockingDisk& below, const DiskFaults& faults,
                     std::uint64_t seed)
    : executor_(executor), below_(below), faults_(faults), random_(seed) {}

FaultDisk::~FaultDisk() {
  executor_.cancel(timer_);
  // The disk below has the last word; nobody is left to hear of an error.
  if (write_below(held_)) (void)below_.flush_now();
}

void FaultDisk::set_faults(const DiskFaults& faults) {
  {
    const std::lock_guard lock(mutex_);
    faults_ = faults;
    ++generation_;
    next_slot_ns_ = 0;
    // Nothing stays behind that only a flush would bring out.
    if (!faults.hold_writes && write_below(held_)) held_.clear();
  }
  faults_changed_.notify_all();
  for (auto& [due_ns, task] : std::exchange(waiting_, {})) executor_.post(std::move(task));
}

FaultDisk::Counters FaultDisk::counters() const {
  const std::lock_guard lock(mutex_);
  Counters counters = counters_;
  counters.held_blocks = held_.size();
  return counters;
}

// ---- when

std::uint64_t FaultDisk::due_ns_locked() {
  const std::uint64_t now = executor_.now_ns();
  std::uint64_t due = now + faults_.delay_ns;
  if (faults_.operations_per_second != 0) {
    next_slot_ns_ = std::max(next_slot_ns_, now) + kSecondNs / faults_.operations_per_second;
    due = std::max(due, next_slot_ns_);
  }
  if (due > now) ++counters_.delayed;
  return due;
}

void FaultDisk::start(Task task) {
  std::uint64_t due = 0;
  {
    const std::lock_guard lock(mutex_);
    due = due_ns_locked();
  }
  if (due <= executor_.now_ns()) return executor_.post(std::move(task));
  waiting_.emplace(due, std::move(task));
  arm();
}

void FaultDisk::arm() {
  executor_.cancel(std::exchange(timer_, 0));
  if (waiting_.empty()) return;
  const std::uint64_t now = executor_.now_ns();
  const std::uint64_t due = waiting_.begin()->first;
  timer_ = executor_.run_after(due > now ? due - now : 0, [this] {
    timer_ = 0;
    release_due();
    arm();
  });
}

void FaultDisk::release_due() {
  const std::uint64_t now = executor_.now_ns();
  while (!waiting_.empty() && waiting_.begin()->first <= now) {
    executor_.post(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
  }
}

void FaultDisk::wait_turn(std::unique_lock<std::mutex>& lock) {
  const std::uint64_t due = due_ns_locked();
  const std::uint64_t now = executor_.now_ns();
  if (due <= now) return;
  faults_changed_.wait_for(lock, std::chrono::nanoseconds(due - now),
                           [this, then = generation_] { return generation_ != then; });
}

// ---- what

Status FaultDisk::injected_locked(ErrorCode code, const char* what) {
  ++counters_.failed;
  return {code, std::string("injected fault: ") + what};
}

Status FaultDisk::write_below(const Blocks& blocks) {
  for (auto first = blocks.begin(); first != blocks.end();) {
    std::vector<Buffer> run;
    auto last = first;
    while (last != blocks.end() && run.size() < kMaxRunBlocks &&
           last->first == first->first + run.size() * kBlock) {
      run.push_back(last->second);
      ++last;
    }
    CAIRN_RETURN_IF_ERROR(below_.write_now(first->first, joined(run).span()));
    first = last;
  }
  return Status::ok();
}

Status FaultDisk::read_locked(std::uint64_t offset, MutableByteSpan into) {
  if (faults_.fail_reads) return injected_locked(ErrorCode::io_error, "read");
  CAIRN_RETURN_IF_ERROR(below_.read_now(offset, into));
  for (auto block = held_.lower_bound(offset);
       block != held_.end() && block->first < offset + into.size(); ++block) {
    std::memcpy(into.data() + (block->first - offset), block->second.data(), kBlock);
  }
  if (faults_.flip_reads > 0 && !into.empty()) {
    --faults_.flip_reads;
    ++counters_.flipped;
    into[random_.below(into.size())] ^= std::byte{1} << random_.below(8);
  }
  return Status::ok();
}

Status FaultDisk::write_locked(std::uint64_t offset, ByteSpan from, bool durable) {
  if (faults_.fail_writes) return injected_locked(ErrorCode::io_error, "write");
  if (faults_.full) return injected_locked(ErrorCode::no_space, "the disk is full");
  if (offset > size_bytes() || from.size() > size_bytes() - offset) {
    return {ErrorCode::out_of_range, "write past the end of the disk"};
  }
  const auto first = held_.lower_bound(offset);
  held_.erase(first, held_.lower_bound(offset + from.size()));
  if (durable || !faults_.hold_writes) {
    CAIRN_RETURN_IF_ERROR(below_.write_now(offset, from));
    if (durable && faults_.fail_flushes) return injected_locked(ErrorCode::io_error, "flush");
    return durable ? below_.flush_now() : Status::ok();
  }
  for (std::uint64_t at = 0; at < from.size(); at += kBlock) {
    const ByteSpan block = from.subspan(at, kBlock);
    if (random_.below(100) < faults_.write_back_percent) {
      // The drive may write what it was given whenever it likes.
      CAIRN_RETURN_IF_ERROR(below_.write_now(offset + at, block));
    } else {
      held_[offset + at] = Buffer::copy_of(block);
    }
  }
  return Status::ok();
}

Status FaultDisk::flush_locked() {
  if (faults_.fail_flushes) {
    held_.clear();
    return injected_locked(ErrorCode::io_error, "flush");
  }
  CAIRN_RETURN_IF_ERROR(write_below(held_));
  counters_.flushed_blocks += held_.size();
  held_.clear();
  return below_.flush_now();
}

// ---- the two halves

Status FaultDisk::read_now(std::uint64_t offset, MutableByteSpan into) {
  std::unique_lock lock(mutex_);
  wait_turn(lock);
  return read_locked(offset, into);
}

Status FaultDisk::write_now(std::uint64_t offset, ByteSpan from) {
  std::unique_lock lock(mutex_);
  wait_turn(lock);
  return write_locked(offset, from, false);
}

Status FaultDisk::flush_now() {
  std::unique_lock lock(mutex_);
  wait_turn(lock);
  return flush_locked();
}

void FaultDisk::read(std::uint64_t offset, Buffer into, DiskDone done) {
  start([this, offset, into = std::move(into), done = std::move(done)]() mutable {
    Status status;
    {
      const std::lock_guard lock(mutex_);
      status = read_locked(offset, into.span());
    }
    done(std::move(status));
  });
}

void FaultDisk::write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) {
  start([this, offset, from = std::move(from), durable, done = std::move(done)]() mutable {
    Status status;
    {
      const std::lock_guard lock(mutex_);
      status = write_locked(offset, joined(from).span(), durable);
    }
    done(std::move(status));
  });
}

void FaultDisk::flush(DiskDone done) {
  start([this, done = std::move(done)]() mutable {
    Status status;
    {
      const std::lock_guard lock(mutex_);
      status = flush_locked();
    }
    done(std::move(status));
  });
}

// Contents are undefined afterwards: they stay what they are.
void FaultDisk::discard(std::uint64_t, std::uint64_t, DiskDone done) {
  start([done = std::move(done)]() mutable { done(Status::ok()); });
}

}  // namespace cairn::io
