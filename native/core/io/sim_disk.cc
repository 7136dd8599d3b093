// The operations and faults of SimDisk.
#include "io/sim_disk.hh"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::io {

namespace {

Status outside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return {ErrorCode::out_of_range, "offset " + std::to_string(offset) + ", length " +
                                       std::to_string(length) + " is not inside the disk of " +
                                       std::to_string(size) + " bytes"};
}

Status injected(const DiskFault& fault, const char* what) {
  return {fault.code, std::string("injected fault: ") + what};
}

Buffer joined(const std::vector<Buffer>& parts, std::uint64_t length) {
  Buffer all = Buffer::allocate(length);
  std::size_t at = 0;
  for (const Buffer& part : parts) {
    std::memcpy(all.data() + at, part.data(), part.size());
    at += part.size();
  }
  return all;
}

}  // namespace

SimDisk::SimDisk(Executor& executor, SimDiskImage image, const Options& options)
    : executor_(executor),
      size_bytes_(image.size_bytes()),
      options_(options),
      image_(std::move(image)),
      random_(options.seed) {}

SimDisk::~SimDisk() {
  for (const TimerId id : std::exchange(timers_, {})) executor_.cancel(id);
}

bool SimDisk::is_inside(std::uint64_t offset, std::uint64_t length) const {
  CAIRN_ASSERT(offset % kPageBytes == 0 && length % kPageBytes == 0);
  return offset <= size_bytes_ && length <= size_bytes_ - offset;
}

SimDiskImage SimDisk::image() const {
  const std::lock_guard lock(mutex_);
  return image_;
}

SimDisk::Counters SimDisk::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void SimDisk::add_fault(const DiskFault& fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(fault);
}

void SimDisk::clear_faults() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

void SimDisk::set_latency(std::uint64_t min_ns, std::uint64_t max_ns) {
  const std::lock_guard lock(mutex_);
  options_.min_latency_ns = min_ns;
  options_.max_latency_ns = max_ns;
}

void SimDisk::flip_bit(std::uint64_t byte_offset, unsigned bit) {
  const std::lock_guard lock(mutex_);
  image_.flip_bit(byte_offset, bit);
}

void SimDisk::observe(Observer observer) {
  const std::lock_guard lock(mutex_);
  observer_ = std::move(observer);
}

void SimDisk::changed() {
  if (observer_) observer_(image_);
}

const DiskFault* SimDisk::fault_for(DiskFault::On on, std::uint64_t offset, std::uint64_t length) {
  for (DiskFault& fault : faults_) {
    if (fault.on != on || fault.times == 0) continue;
    const bool whole_disk = on == DiskFault::On::flush;
    const bool overlaps = offset < fault.offset ? fault.offset - offset < length
                                                : offset - fault.offset < fault.length;
    if (!whole_disk && !overlaps) continue;
    if (fault.skip > 0) {
      --fault.skip;
      continue;
    }
    --fault.times;
    ++counters_.faults;
    return &fault;
  }
  return nullptr;
}

// --- What both halves do when an operation takes effect; called with the mutex held

Status SimDisk::finish_read(std::uint64_t offset, MutableByteSpan into) {
  const DiskFault* fault = fault_for(DiskFault::On::read, offset, into.size());
  if (fault != nullptr && fault->action == DiskFault::Action::error)
    return injected(*fault, "read");
  ++counters_.reads;
  counters_.bytes_read += into.size();
  image_.read(offset, into);
  if (fault != nullptr && fault->action == DiskFault::Action::flip && !into.empty()) {
    into[random_.below(into.size())] ^= std::byte{1} << random_.below(8);
  }
  return Status::ok();
}

Status SimDisk::finish_write(std::uint64_t id, std::uint64_t offset, Buffer bytes, bool durable) {
  const std::uint64_t length = bytes.size();
  const DiskFault* fault = fault_for(DiskFault::On::write, offset, length);
  if (fault != nullptr && fault->action == DiskFault::Action::error) {
    if (random_.below(2) == 0) {
      image_.abandon_write(id);
    } else {
      image_.finish_write(id, false);
    }
    changed();
    return injected(*fault, "write");
  }
  if (fault == nullptr) {
    image_.finish_write(id, durable);
  } else {
    image_.abandon_write(id);
    if (fault->action == DiskFault::Action::misdirect)
      image_.finish_write(image_.start_write(fault->misdirect_offset, std::move(bytes)), durable);
  }
  ++counters_.writes;
  if (durable) ++counters_.durable_writes;
  counters_.bytes_written += length;
  changed();
  return Status::ok();
}

Status SimDisk::finish_flush(std::uint64_t up_to_sequence) {
  const DiskFault* fault = fault_for(DiskFault::On::flush, 0, size_bytes_);
  if (fault != nullptr && fault->action == DiskFault::Action::error) {
    image_.drop_up_to(up_to_sequence);
    changed();
    return injected(*fault, "flush");
  }
  if (fault == nullptr) image_.flush_up_to(up_to_sequence);
  ++counters_.flushes;
  changed();
  return Status::ok();
}

// --- The blocking half

Status SimDisk::read_now(std::uint64_t offset, MutableByteSpan into) {
  if (!is_inside(offset, into.size())) return outside(offset, into.size(), size_bytes_);
  const std::lock_guard lock(mutex_);
  return finish_read(offset, into);
}

Status SimDisk::write_now(std::uint64_t offset, ByteSpan from) {
  if (!is_inside(offset, from.size())) return outside(offset, from.size(), size_bytes_);
  Buffer bytes = Buffer::copy_of(from);
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = image_.start_write(offset, bytes);
  return finish_write(id, offset, std::move(bytes), false);
}

Status SimDisk::flush_now() {
  const std::lock_guard lock(mutex_);
  return finish_flush(image_.newest_sequence());
}

// --- The asynchronous half

void SimDisk::complete_later(UniqueFunction<Status()> finish, DiskDone done) {
  std::uint64_t latency_ns;
  {
    const std::lock_guard lock(mutex_);
    latency_ns = random_.between(options_.min_latency_ns, options_.max_latency_ns);
  }
  // The timer's own id is known only once it is made; the task finds it behind this pointer.
  auto id = std::make_unique<TimerId>(0);
  TimerId* slot = id.get();
  *slot = executor_.run_after(latency_ns, [this, id = std::move(id), finish = std::move(finish),
                                           done = std::move(done)]() mutable {
    timers_.erase(*id);
    Status status;
    {
      const std::lock_guard lock(mutex_);
      status = finish();
    }
    done(std::move(status));
  });
  timers_.insert(*slot);
}

void SimDisk::read(std::uint64_t offset, Buffer into, DiskDone done) {
  const bool inside = is_inside(offset, into.size());
  complete_later(
      [this, offset, into, inside]() mutable {
        return inside ? finish_read(offset, into.span())
                      : outside(offset, into.size(), size_bytes_);
      },
      std::move(done));
}

void SimDisk::write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) {
  std::uint64_t length = 0;
  for (const Buffer& part : from) length += part.size();
  if (!is_inside(offset, length)) {
    complete_later([this, offset, length] { return outside(offset, length, size_bytes_); },
                   std::move(done));
    return;
  }
  Buffer bytes = joined(from, length);
  std::uint64_t id;
  {
    const std::lock_guard lock(mutex_);
    id = image_.start_write(offset, bytes);
    changed();
  }
  complete_later(
      [this, id, offset, durable, bytes = std::move(bytes)]() mutable {
        return finish_write(id, offset, std::move(bytes), durable);
      },
      std::move(done));
}

void SimDisk::flush(DiskDone done) {
  std::uint64_t sequence;
  {
    const std::lock_guard lock(mutex_);
    sequence = image_.newest_sequence();
  }
  complete_later([this, sequence] { return finish_flush(sequence); }, std::move(done));
}

void SimDisk::discard(std::uint64_t offset, std::uint64_t length, DiskDone done) {
  const bool inside = is_inside(offset, length);
  complete_later(
      [this, offset, length, inside] {
        if (!inside) return outside(offset, length, size_bytes_);
        image_.discard(offset, length, random_);
        ++counters_.discards;
        changed();
        return Status::ok();
      },
      std::move(done));
}

}  // namespace cairn::io
