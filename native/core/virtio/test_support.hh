// What the tests and fuzzers of virtio and vhost_user share: guest memory without a guest, an
// executor that is turned by hand, and a disk in memory that completes when it is told to.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/assert.hh"
#include "image/block_device.hh"
#include "io/executor.hh"
#include "virtio/guest_memory.hh"
#include "virtio/ring_layout.hh"

namespace cairn::virtio::test {

// Behind the guest's memory: as far as a 16-bit descriptor index reaches from any place in it.
constexpr std::uint64_t kGuardBytes = std::uint64_t{65536} * sizeof(RawDescriptor);

// A memfd, mapped as one region at guest_address. What lies behind the region in this process can't
// be touched: an index that was not checked is a fault, not a read of whatever is mapped there.
struct TestMemory {
  explicit TestMemory(std::uint64_t length_bytes, std::uint64_t guest_address = 0x10'0000)
      : base(guest_address), length(length_bytes) {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    CAIRN_ASSERT(length_bytes % page == 0);
    const std::uint64_t mapped_bytes = length_bytes + kGuardBytes;
    const int fd = ::memfd_create("guest", MFD_CLOEXEC);
    CAIRN_ASSERT(fd >= 0 && ::ftruncate(fd, static_cast<off_t>(mapped_bytes)) == 0);
    auto mapping = Mapping::make(fd, 0, mapped_bytes);
    ::close(fd);
    CAIRN_ASSERT(mapping.is_ok());
    data = (*mapping)->data();
    CAIRN_ASSERT(::mprotect(data + length_bytes, kGuardBytes, PROT_NONE) == 0);
    auto made = GuestMemory::make({{guest_address, length_bytes, std::move(*mapping)}});
    CAIRN_ASSERT(made.is_ok());
    memory = std::move(*made);
  }
  std::byte* at(std::uint64_t guest_address) const { return data + (guest_address - base); }

  std::shared_ptr<const GuestMemory> memory;
  std::byte* data = nullptr;
  std::uint64_t base;
  std::uint64_t length;
};

class ManualExecutor final : public io::Executor {
 public:
  std::uint64_t now_ns() const override { return now_; }
  void post(io::Task task) override { tasks_.push_back(std::move(task)); }
  io::TimerId run_after(std::uint64_t, io::Task) override { return 0; }
  void cancel(io::TimerId) override {}
  // Runs tasks until none is left.
  void turn() {
    while (!tasks_.empty()) {
      io::Task task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
  }

 private:
  std::uint64_t now_ = 1;
  std::deque<io::Task> tasks_;
};

// A disk in memory. inline_completion: done runs inside the call; otherwise an operation takes
// effect and completes when complete_one() picks it.
class MemoryDevice final : public image::BlockDevice {
 public:
  explicit MemoryDevice(std::uint64_t size_bytes, bool inline_completion = true)
      : bytes(size_bytes), inline_(inline_completion) {}

  std::uint64_t size_bytes() const override { return bytes.size(); }
  bool read_only() const override { return read_only_disk; }
  void read(std::uint64_t offset, std::uint64_t length, image::ReadDone done) override {
    run([this, offset, length, done = std::move(done)](Status status) mutable {
      if (!status) return done(std::move(status), Buffer());
      done(Status::ok(), Buffer::copy_of(ByteSpan(bytes).subspan(offset, length)));
    });
  }
  void write(std::uint64_t offset, Buffer data, image::WriteDone done) override {
    aligned_writes += reinterpret_cast<std::uintptr_t>(data.data()) % Buffer::kAlignment == 0;
    run([this, offset, data, done = std::move(done)](Status status) mutable {
      if (status) std::memcpy(&bytes[offset], data.data(), data.size());
      done(std::move(status));
    });
  }
  void write_zeroes(std::uint64_t offset, std::uint64_t length, bool may_unmap,
                    image::WriteDone done) override {
    unmapping_writes += may_unmap;
    run([this, offset, length, done = std::move(done)](Status status) mutable {
      if (status) std::memset(bytes.data() + offset, 0, length);
      done(std::move(status));
    });
  }
  void discard(std::uint64_t offset, std::uint64_t length, image::WriteDone done) override {
    write_zeroes(offset, length, false, std::move(done));
  }
  void flush(image::WriteDone done) override {
    ++flushes;
    run([done = std::move(done)](Status status) mutable { done(std::move(status)); });
  }
  void extents(std::uint64_t, std::uint64_t, image::ExtentsDone done) override {
    done({ErrorCode::unsupported_feature, "no extents"}, {});
  }

  std::size_t waiting() const { return waiting_.size(); }
  // Completes one waiting operation, by its position.
  void complete_one(std::size_t position) {
    Operation operation = std::move(waiting_[position]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(position));
    operation(std::exchange(next_status, Status::ok()));
  }
  void complete_all() {
    while (!waiting_.empty()) complete_one(0);
  }

  std::vector<std::byte> bytes;
  bool read_only_disk = false;
  Status next_status;  // given to the next operation that completes
  int flushes = 0;
  int aligned_writes = 0;
  int unmapping_writes = 0;

 private:
  using Operation = UniqueFunction<void(Status)>;
  void run(Operation operation) {
    if (inline_)
      operation(std::exchange(next_status, Status::ok()));
    else
      waiting_.push_back(std::move(operation));
  }
  bool inline_;
  std::vector<Operation> waiting_;
};

}  // namespace cairn::virtio::test
