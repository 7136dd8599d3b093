// MemoryDevice: a BlockDevice in memory for tests, fuzzers and benchmarks of the front ends.
// Sparse: only written pages take memory. Completions are posted to the executor, in the order of
// the calls, or held back while hold(true). Keeps the allocation state per 4 KiB block.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.hh"
#include "image/block_device.hh"
#include "io/executor.hh"

namespace cairn::test {

class MemoryDevice final : public image::BlockDevice {
 public:
  MemoryDevice(io::Executor& executor, std::uint64_t size_bytes, bool read_only = false)
      : executor_(executor),
        size_bytes_(size_bytes),
        read_only_(read_only),
        states_((size_bytes + kBlockBytes - 1) / kBlockBytes, image::ExtentState::absent) {
    void* memory = ::mmap(nullptr, states_.size() * kBlockBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CAIRN_ASSERT(memory != MAP_FAILED);
    bytes_ = static_cast<std::byte*>(memory);
  }
  ~MemoryDevice() override { ::munmap(bytes_, states_.size() * kBlockBytes); }
  MemoryDevice(const MemoryDevice&) = delete;
  MemoryDevice& operator=(const MemoryDevice&) = delete;

  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return read_only_; }

  void read(std::uint64_t offset, std::uint64_t length, image::ReadDone done) override {
    if (Status status = check(offset, length); !status)
      return complete([done = std::move(done), status]() mutable { done(status, {}); });
    Buffer data = Buffer::copy_of({bytes_ + offset, length});
    begin(length);
    complete([this, length, done = std::move(done), data = std::move(data)]() mutable {
      end(length);
      done(Status::ok(), std::move(data));
    });
  }
  void write(std::uint64_t offset, Buffer data, image::WriteDone done) override {
    ++writes;
    Status status = check(offset, data.size());
    if (status && read_only_) status = Status(ErrorCode::read_only, "the device is read-only");
    if (status && !data.empty()) {
      std::memcpy(bytes_ + offset, data.data(), data.size());
      mark(offset, data.size(), image::ExtentState::data);
    }
    const std::uint64_t length = data.size();
    begin(length);
    complete([this, length, done = std::move(done), status, data = std::move(data)]() mutable {
      end(length);
      done(status);
    });
  }
  void write_zeroes(std::uint64_t offset, std::uint64_t length, bool may_unmap,
                    image::WriteDone done) override {
    const auto state = may_unmap ? image::ExtentState::absent : image::ExtentState::zero;
    const Status status = check(offset, length);
    if (status) zero(offset, length, state);
    complete([done = std::move(done), status]() mutable { done(status); });
  }
  void discard(std::uint64_t offset, std::uint64_t length, image::WriteDone done) override {
    const Status status = check(offset, length);
    const std::uint64_t first = (offset + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    const std::uint64_t last = (offset + length) / kBlockBytes * kBlockBytes;
    if (status && first < last) zero(first, last - first, image::ExtentState::absent);
    complete([done = std::move(done), status]() mutable { done(status); });
  }
  void flush(image::WriteDone done) override {
    ++flushes;
    complete([done = std::move(done)]() mutable { done(Status::ok()); });
  }
  void populated(image::PopulatedDone done) override {
    complete([this, done = std::move(done), ranges = known_populated]() mutable {
      if (!populated_status) return done(populated_status, std::nullopt);
      done(Status::ok(), std::move(ranges));
    });
  }
  void extents(std::uint64_t offset, std::uint64_t length, image::ExtentsDone done) override {
    const Status status = check(offset, length);
    asked_extent_bytes += length;
    std::vector<image::Extent> found;
    const std::uint64_t until = status ? offset + length : offset;
    for (std::uint64_t at = offset; at < until;) {
      const std::uint64_t next = std::min(until, (at / kBlockBytes + 1) * kBlockBytes);
      const image::ExtentState state = states_[at / kBlockBytes];
      if (!found.empty() && found.back().state == state) {
        found.back().length_bytes += next - at;
      } else {
        found.push_back({at, next - at, state});
      }
      at = next;
    }
    complete([done = std::move(done), status, found = std::move(found)]() mutable {
      done(status, std::move(found));
    });
  }

  // For the test itself.
  MutableByteSpan bytes() { return {bytes_, size_bytes_}; }
  void set_state(std::uint64_t offset, std::uint64_t length, image::ExtentState state) {
    mark(offset, length, state);
  }
  image::ExtentState state(std::uint64_t offset) const { return states_[offset / kBlockBytes]; }
  // The next operations with a range fail with it, until it is ok again.
  void fail_with(Status status) { failure_ = std::move(status); }
  // While held, completions wait.
  void hold(bool held) {
    held_ = held;
    while (!held_ && !waiting_.empty()) {
      executor_.post(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  std::uint64_t writes = 0, flushes = 0;
  std::uint64_t asked_extent_bytes = 0;
  std::optional<image::ByteRanges> known_populated;  // what populated() answers
  Status populated_status;
  std::uint64_t in_flight_bytes = 0, most_in_flight_bytes = 0;  // of reads and writes

 private:
  Status check(std::uint64_t offset, std::uint64_t length) const {
    if (!failure_) return failure_;
    if (offset > size_bytes_ || length > size_bytes_ - offset)
      return {ErrorCode::out_of_range, "past the end of the device"};
    return {};
  }
  void mark(std::uint64_t offset, std::uint64_t length, image::ExtentState state) {
    for (std::uint64_t block = offset / kBlockBytes; block * kBlockBytes < offset + length; ++block)
      states_[block] = state;
  }
  void zero(std::uint64_t offset, std::uint64_t length, image::ExtentState state) {
    std::memset(bytes_ + offset, 0, length);
    const std::uint64_t first = (offset + kBlockBytes - 1) / kBlockBytes;
    const std::uint64_t end = offset + length;
    const std::uint64_t last = end == size_bytes_ ? states_.size() : end / kBlockBytes;
    for (std::uint64_t block = first; block < last; ++block) states_[block] = state;
  }
  void begin(std::uint64_t length) {
    in_flight_bytes += length;
    most_in_flight_bytes = std::max(most_in_flight_bytes, in_flight_bytes);
  }
  void end(std::uint64_t length) { in_flight_bytes -= length; }
  void complete(io::Task task) {
    if (held_) {
      waiting_.push_back(std::move(task));
    } else {
      executor_.post(std::move(task));
    }
  }

  io::Executor& executor_;
  std::uint64_t size_bytes_;
  bool read_only_;
  std::vector<image::ExtentState> states_;
  std::byte* bytes_;
  Status failure_;
  bool held_ = false;
  std::deque<io::Task> waiting_;
};

}  // namespace cairn::test
