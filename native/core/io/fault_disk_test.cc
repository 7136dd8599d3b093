// FaultDisk: what a power cut takes and what it leaves, delays in virtual time, each error.
#include "io/fault_disk.hh"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <optional>

#include "io/sim_disk.hh"
#include "io/sim_executor.hh"

namespace cairn::io {

namespace {

constexpr std::uint64_t kDiskBytes = 1 << 20;
constexpr std::uint64_t kMillisecondNs = 1'000'000;

Buffer filled(std::size_t length, int value) {
  Buffer buffer = Buffer::allocate(length);
  std::memset(buffer.data(), value, length);
  return buffer;
}

int first_byte(BlockingDisk& disk, std::uint64_t offset) {
  Buffer page = Buffer::allocate(kPageBytes);
  CHECK(disk.read_now(offset, page.span()));
  return static_cast<int>(page.data()[0]);
}

struct Fixture {
  explicit Fixture(const DiskFaults& faults = {}) { open(faults); }
  void open(const DiskFaults& faults) {
    disk = std::make_unique<FaultDisk>(executor, below, faults, 1);
  }

  template <typename Start>
  Status finish(Start start) {
    std::optional<Status> outcome;
    start([&outcome](Status status) { outcome = std::move(status); });
    CHECK_FALSE(outcome.has_value());
    executor.run_until_idle();
    REQUIRE(outcome.has_value());
    return *outcome;
  }
  Status write(std::uint64_t offset, std::size_t length, int value, bool durable = false) {
    return finish([&](DiskDone done) {
      disk->write(offset, {filled(length, value)}, durable, std::move(done));
    });
  }
  Status flush() {
    return finish([&](DiskDone done) { disk->flush(std::move(done)); });
  }
  Status read(std::uint64_t offset, Buffer into) {
    return finish([&](DiskDone done) { disk->read(offset, into, std::move(done)); });
  }

  SimExecutor executor;
  SimDisk below{executor, SimDiskImage(kDiskBytes)};
  std::unique_ptr<FaultDisk> disk;
};

}  // namespace

TEST_CASE("what is not flushed is not below, yet reads see it") {
  Fixture fixture;
  CHECK(fixture.write(0, 2 * kPageBytes, 7));
  CHECK(fixture.disk->write_now(4 * kPageBytes, filled(kPageBytes, 8).span()));
  CHECK(first_byte(*fixture.disk, kPageBytes) == 7);
  CHECK(first_byte(*fixture.disk, 4 * kPageBytes) == 8);
  Buffer both = Buffer::allocate(2 * kPageBytes);
  CHECK(fixture.read(kPageBytes, both));
  CHECK(static_cast<int>(both.data()[0]) == 7);
  CHECK(static_cast<int>(both.data()[kPageBytes]) == 0);
  CHECK(first_byte(fixture.below, 0) == 0);
  CHECK(first_byte(fixture.below, 4 * kPageBytes) == 0);
  CHECK(fixture.disk->counters().held_blocks == 3);

  CHECK(fixture.flush());
  CHECK(first_byte(fixture.below, kPageBytes) == 7);
  CHECK(first_byte(fixture.below, 4 * kPageBytes) == 8);
  CHECK(fixture.disk->counters().held_blocks == 0);
  // Flushed below as well: a crash of the disk below keeps it.
  CHECK(fixture.below.counters().flushes == 1);
}

TEST_CASE("a durable write takes nothing else with it") {
  Fixture fixture;
  CHECK(fixture.write(0, kPageBytes, 1));
  CHECK(fixture.write(kPageBytes, kPageBytes, 2));
  CHECK(fixture.write(kPageBytes, kPageBytes, 3, true));
  CHECK(first_byte(fixture.below, 0) == 0);
  CHECK(first_byte(fixture.below, kPageBytes) == 3);
  CHECK(first_byte(*fixture.disk, kPageBytes) == 3);
  CHECK(fixture.disk->counters().held_blocks == 1);
}

TEST_CASE("a share of the writes is written back early, and stays the newest") {
  DiskFaults faults;
  faults.write_back_percent = 50;
  Fixture fixture(faults);
  CHECK(fixture.write(0, kDiskBytes, 1));
  CHECK(fixture.write(0, kDiskBytes, 2));
  std::uint64_t below = 0;
  for (std::uint64_t at = 0; at < kDiskBytes; at += kPageBytes) {
    CHECK(first_byte(*fixture.disk, at) == 2);
    below += first_byte(fixture.below, at) == 2 ? 1U : 0U;
  }
  CHECK(below + fixture.disk->counters().held_blocks == kDiskBytes / kPageBytes);
  CHECK(below > 64);
  CHECK(below < 192);
}

TEST_CASE("an orderly end and the end of holding lose nothing") {
  Fixture fixture;
  CHECK(fixture.write(0, kPageBytes, 1));
  fixture.disk.reset();
  CHECK(first_byte(fixture.below, 0) == 1);

  fixture.open({});
  CHECK(fixture.write(0, kPageBytes, 2));
  DiskFaults through;
  through.hold_writes = false;
  fixture.disk->set_faults(through);
  CHECK(first_byte(fixture.below, 0) == 2);
  CHECK(fixture.write(kPageBytes, kPageBytes, 3));
  CHECK(first_byte(fixture.below, kPageBytes) == 3);
}

TEST_CASE("a slow disk delays, and goes on at once when it is told to") {
  DiskFaults slow;
  slow.delay_ns = 50 * kMillisecondNs;
  Fixture fixture(slow);
  const std::uint64_t start = fixture.executor.now_ns();
  CHECK(fixture.write(0, kPageBytes, 1));
  CHECK(fixture.executor.now_ns() - start >= 50 * kMillisecondNs);

  DiskFaults hung;
  hung.delay_ns = 3600'000 * kMillisecondNs;
  fixture.disk->set_faults(hung);
  bool done = false;
  fixture.disk->flush([&done](Status status) { done = status.is_ok(); });
  fixture.executor.run_for(1000 * kMillisecondNs);
  CHECK_FALSE(done);
  fixture.disk->set_faults({});
  fixture.executor.run_for(kMillisecondNs);
  CHECK(done);
  CHECK(fixture.disk->counters().delayed == 2);
}

TEST_CASE("operations a second are limited") {
  DiskFaults slow;
  slow.operations_per_second = 50;
  Fixture fixture(slow);
  const std::uint64_t start = fixture.executor.now_ns();
  int completed = 0;
  for (int i = 0; i < 25; ++i) {
    fixture.disk->write(0, {filled(kPageBytes, i)}, false, [&completed](Status) { ++completed; });
  }
  fixture.executor.run_until_idle();
  CHECK(completed == 25);
  CHECK(fixture.executor.now_ns() - start >= 500 * kMillisecondNs);
  CHECK(fixture.executor.now_ns() - start < 600 * kMillisecondNs);
  CHECK(first_byte(*fixture.disk, 0) == 24);
}

TEST_CASE("errors are those that were asked for") {
  Fixture fixture;
  CHECK(fixture.write(0, kPageBytes, 1));
  DiskFaults faults;
  faults.fail_reads = true;
  fixture.disk->set_faults(faults);
  CHECK(fixture.read(0, Buffer::allocate(kPageBytes)).code() == ErrorCode::io_error);
  faults = {};
  faults.fail_writes = true;
  fixture.disk->set_faults(faults);
  CHECK(fixture.write(0, kPageBytes, 2).code() == ErrorCode::io_error);
  faults = {};
  faults.full = true;
  fixture.disk->set_faults(faults);
  CHECK(fixture.write(0, kPageBytes, 2).code() == ErrorCode::no_space);
  CHECK(first_byte(*fixture.disk, 0) == 1);
  faults = {};
  faults.fail_flushes = true;
  fixture.disk->set_faults(faults);
  CHECK(fixture.flush().code() == ErrorCode::io_error);
  fixture.disk->set_faults({});
  CHECK(fixture.flush());
  // The second flush succeeded, and yet the write is lost: a failed flush must not be retried.
  CHECK(first_byte(*fixture.disk, 0) == 0);
  CHECK(fixture.disk->counters().failed == 4);
}

TEST_CASE("a flipped bit is one bit, of one read") {
  DiskFaults faults;
  faults.flip_reads = 1;
  Fixture fixture(faults);
  Buffer page = Buffer::allocate(kPageBytes);
  CHECK(fixture.read(0, page));
  int bits = 0;
  for (const std::byte byte : page.span()) {
    for (int bit = 0; bit < 8; ++bit) bits += static_cast<int>(byte) >> bit & 1;
  }
  CHECK(bits == 1);
  CHECK(first_byte(*fixture.disk, 0) == 0);
}

}  // namespace cairn::io
