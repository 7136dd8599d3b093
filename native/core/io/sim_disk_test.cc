// SimDisk and SimDiskImage: what a crash may and may not do, faults, seeds, and the speed of
// copies.
#include "io/sim_disk.hh"

#include <doctest/doctest.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "io/sim_executor.hh"

namespace cairn::io {

namespace {

constexpr std::uint64_t kDiskBytes = 1 << 20;

Buffer filled(std::size_t length, int value) {
  Buffer buffer = Buffer::allocate(length);
  std::memset(buffer.data(), value, length);
  return buffer;
}

// The first byte of each sector of a page.
std::vector<int> sectors(const SimDiskImage& image, std::uint64_t offset) {
  Buffer page = Buffer::allocate(kPageBytes);
  image.read(offset, page.span());
  std::vector<int> values;
  for (std::uint64_t at = 0; at < kPageBytes; at += kSectorBytes) {
    values.push_back(static_cast<int>(page.data()[at]));
    CHECK(std::memcmp(page.data() + at, page.data() + at + 1, kSectorBytes - 1) == 0);
  }
  return values;
}

int first_byte(const SimDiskImage& image, std::uint64_t offset) {
  Buffer page = Buffer::allocate(kPageBytes);
  image.read(offset, page.span());
  return static_cast<int>(page.data()[0]);
}

int first_byte(SimDisk& disk, std::uint64_t offset) {
  Buffer page = Buffer::allocate(kPageBytes);
  CHECK(disk.read_now(offset, page.span()));
  return static_cast<int>(page.data()[0]);
}

struct Fixture {
  SimExecutor executor;
  SimDisk disk{executor, SimDiskImage(kDiskBytes)};

  void write_now(std::uint64_t offset, int value) {
    CHECK(disk.write_now(offset, filled(kPageBytes, value).span()));
  }
  // Starts the operation and runs until it has completed.
  template <typename Start>
  Status wait_for(Start start) {
    Status outcome(ErrorCode::timed_out, "no completion");
    start([&](Status status) { outcome = std::move(status); });
    executor.run_until_idle();
    return outcome;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "reads see the newest data; a crash loses unflushed writes only") {
  write_now(0, 1);
  CHECK(disk.flush_now());
  write_now(0, 2);
  write_now(4096, 3);
  CHECK(first_byte(disk, 0) == 2);
  CHECK(disk.image().pending_count() == 2);
  const SimDiskImage lost = disk.image().crash(CrashChoice::lose_all());
  CHECK(first_byte(lost, 0) == 1);
  CHECK(first_byte(lost, 4096) == 0);
  const SimDiskImage second = disk.image().crash(CrashChoice::keep_mask(0b10));
  CHECK(first_byte(second, 0) == 1);
  CHECK(first_byte(second, 4096) == 3);
  const SimDiskImage kept = disk.image().crash(CrashChoice::keep_first(9));
  CHECK(first_byte(kept, 0) == 2);
  CHECK(first_byte(kept, 4096) == 3);
  CHECK(kept.pending_count() == 0);
  CHECK(first_byte(kept.crash(CrashChoice::lose_all()), 0) == 2);
  CHECK(disk.image().pending_count() == 2);  // a crash of a copy changes nothing here
}

TEST_CASE_FIXTURE(Fixture, "a flush covers what had completed when it started, and nothing else") {
  int completed = 0;
  const auto count = [&](Status status) {
    CHECK(status);
    ++completed;
  };
  CHECK(wait_for([&](DiskDone done) { disk.write(0, {filled(4096, 1)}, false, std::move(done)); }));
  disk.write(8192, {filled(4096, 2)}, false, count);  // in flight when the flush starts
  disk.flush(count);
  executor.run_until_idle();
  CHECK(completed == 2);
  const SimDiskImage after = disk.image().crash(CrashChoice::lose_all());
  CHECK(first_byte(after, 0) == 1);
  CHECK(first_byte(after, 8192) == 0);
  CHECK(first_byte(disk, 8192) == 2);
}

TEST_CASE_FIXTURE(Fixture, "a write in flight may survive a crash, or not, and is not read yet") {
  disk.write(0, {filled(4096, 1), filled(4096, 2)}, true, [](Status) {});
  CHECK(first_byte(disk, 0) == 0);
  CHECK(first_byte(disk.image().crash(CrashChoice::lose_all()), 4096) == 0);
  CHECK(first_byte(disk.image().crash(CrashChoice::keep_first(1)), 4096) == 2);
}

TEST_CASE_FIXTURE(Fixture, "a durable write survives; older unflushed ones never replace it") {
  write_now(0, 1);
  write_now(4096, 5);
  CHECK(wait_for([&](DiskDone done) { disk.write(0, {filled(4096, 2)}, true, std::move(done)); }));
  CHECK(first_byte(disk.image().crash(CrashChoice::lose_all()), 0) == 2);
  CHECK(first_byte(disk.image().crash(CrashChoice::keep_mask(0b01)), 0) == 2);
  CHECK(first_byte(disk.image().crash(CrashChoice::lose_all()), 4096) == 0);
  CHECK(disk.flush_now());
  CHECK(first_byte(disk.image().crash(CrashChoice::lose_all()), 0) == 2);
  CHECK(first_byte(disk.image().crash(CrashChoice::lose_all()), 4096) == 5);
}

TEST_CASE_FIXTURE(Fixture, "a torn write: any range of 512-byte sectors, and no finer") {
  CHECK(disk.write_now(4096, filled(8192, 1).span()));
  CHECK(disk.flush_now());
  CHECK(disk.write_now(4096, filled(8192, 2).span()));
  CrashChoice choice = CrashChoice::keep_first(1);
  choice.tears = {{0, 0, 512 * 3}};
  SimDiskImage head = disk.image().crash(choice);
  CHECK(sectors(head, 4096) == std::vector<int>{2, 2, 2, 1, 1, 1, 1, 1});
  CHECK(sectors(head, 8192) == std::vector<int>(8, 1));
  choice.tears = {{0, 4096 + 512, 8192}};
  SimDiskImage tail = disk.image().crash(choice);
  CHECK(sectors(tail, 4096) == std::vector<int>(8, 1));
  CHECK(sectors(tail, 8192) == std::vector<int>{1, 2, 2, 2, 2, 2, 2, 2});
  CHECK(sectors(disk.image(), 8192) == std::vector<int>(8, 2));  // the original is whole
}

TEST_CASE("drawn crashes: from the seed alone; flushed data stays; every kind of outcome occurs") {
  SimDiskImage image(kDiskBytes);
  const auto write = [&](std::uint64_t page, int value) {
    image.finish_write(image.start_write(page * kPageBytes, filled(kPageBytes, value)), false);
  };
  write(0, 1);
  image.flush_up_to(image.newest_sequence());
  for (int i = 1; i <= 3; ++i) write(static_cast<std::uint64_t>(i), 2);
  std::set<std::vector<int>> outcomes;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    std::vector<int> values[2];
    for (auto& list : values) {
      Random random(seed);
      const SimDiskImage after = image.crash(CrashChoice::draw(image.pending(), random));
      CHECK(sectors(after, 0) == std::vector<int>(8, 1));
      for (std::uint64_t page = 1; page <= 3; ++page)
        for (const int value : sectors(after, page * kPageBytes)) list.push_back(value);
    }
    CHECK(values[0] == values[1]);
    outcomes.insert(values[0]);
  }
  // Each of three writes: lost, whole, or torn at one of 7 places at either side.
  CHECK(outcomes.size() > 200);
  CHECK(outcomes.contains(std::vector<int>(24, 0)));
  CHECK(outcomes.contains(std::vector<int>(24, 2)));
}

TEST_CASE_FIXTURE(Fixture, "a failed flush reports it and drops the writes for good") {
  disk.add_fault({DiskFault::On::flush, DiskFault::Action::error, 0, ~std::uint64_t{0}, 0, 1, 0});
  write_now(0, 1);
  CHECK(disk.flush_now().code() == ErrorCode::io_error);
  CHECK(first_byte(disk, 0) == 1);  // as from the page cache
  CHECK(disk.flush_now());          // the error is reported once
  CHECK(first_byte(disk.image().crash(CrashChoice::keep_first(9)), 0) == 0);
  CHECK(disk.counters().faults == 1);
  CHECK(disk.counters().flushes == 1);
}

TEST_CASE_FIXTURE(Fixture, "faults by rule: range, skip and times; lost and misdirected writes") {
  DiskFault fault{DiskFault::On::read, DiskFault::Action::error, 8192, 4096, 1, 1, 0};
  disk.add_fault(fault);
  Buffer page = Buffer::allocate(kPageBytes);
  const auto read = [&](std::uint64_t offset) {
    return wait_for([&](DiskDone done) { disk.read(offset, page, std::move(done)); }).code();
  };
  CHECK(read(4096) == ErrorCode::ok);
  CHECK(read(8192) == ErrorCode::ok);  // skipped
  CHECK(read(12288) == ErrorCode::ok);
  CHECK(read(8192) == ErrorCode::io_error);
  CHECK(read(8192) == ErrorCode::ok);
  disk.clear_faults();
  fault = {DiskFault::On::write, DiskFault::Action::lose, 0, 4096, 0, 1, 0};
  disk.add_fault(fault);
  fault.action = DiskFault::Action::misdirect;
  fault.misdirect_offset = 65536;
  disk.add_fault(fault);
  write_now(0, 1);
  CHECK(first_byte(disk, 0) == 0);
  write_now(0, 2);
  CHECK(first_byte(disk, 0) == 0);
  CHECK(first_byte(disk, 65536) == 2);
  write_now(0, 3);
  CHECK(first_byte(disk, 0) == 3);
  disk.clear_faults();
  disk.add_fault({DiskFault::On::write, DiskFault::Action::error, 0, 4096, 0, 5, 0});
  CHECK(disk.write_now(0, filled(4096, 4).span()).code() == ErrorCode::io_error);
  CHECK(disk.write_now(4096, filled(4096, 4).span()).code() == ErrorCode::ok);
}

TEST_CASE_FIXTURE(Fixture, "a rule flips one bit of what is read, and leaves the medium as it is") {
  write_now(8192, 4);
  DiskFault fault;
  fault.action = DiskFault::Action::flip;
  fault.offset = 8192;
  fault.times = 1;
  disk.add_fault(fault);
  const Buffer before = filled(kPageBytes, 4);
  Buffer page = Buffer::allocate(kPageBytes);
  const auto flipped_bits = [&](std::uint64_t offset, const Buffer& expected) {
    CHECK(wait_for([&](DiskDone done) { disk.read(offset, page, std::move(done)); }));
    int bits = 0;
    for (std::size_t at = 0; at < kPageBytes; ++at) {
      bits += std::popcount(std::to_integer<unsigned>(page.data()[at] ^ expected.data()[at]));
    }
    return bits;
  };
  CHECK(flipped_bits(0, filled(kPageBytes, 0)) == 0);
  CHECK(flipped_bits(8192, before) == 1);
  CHECK(flipped_bits(8192, before) == 0);
  CHECK(disk.counters().faults == 1);
}

TEST_CASE_FIXTURE(Fixture, "a flipped bit is read, and is still there after a crash") {
  write_now(4096, 8);
  CHECK(disk.flush_now());
  disk.flip_bit(4096, 0);
  disk.flip_bit(kDiskBytes - 1, 7);
  CHECK(first_byte(disk, 4096) == 9);
  const SimDiskImage after = disk.image().crash(CrashChoice::lose_all());
  CHECK(first_byte(after, 4096) == 9);
  Buffer page = Buffer::allocate(kPageBytes);
  after.read(kDiskBytes - kPageBytes, page.span());
  CHECK(page.data()[kPageBytes - 1] == std::byte{0x80});
}

TEST_CASE_FIXTURE(Fixture, "discard: old bytes, zeros or garbage, and new writes are not touched") {
  std::set<int> seen;
  for (std::uint64_t page = 0; page < 64; ++page) write_now(page * kPageBytes, 1);
  CHECK(wait_for([&](DiskDone done) { disk.discard(0, 64 * kPageBytes, std::move(done)); }));
  for (std::uint64_t page = 0; page < 64; ++page) seen.insert(first_byte(disk, page * kPageBytes));
  CHECK(seen == std::set<int>{0, 1, 0xdd});
  write_now(0, 7);
  CHECK(disk.flush_now());
  CHECK(first_byte(disk.image().crash(CrashChoice::lose_all()), 0) == 7);
}

TEST_CASE_FIXTURE(Fixture, "requests outside the disk are out_of_range") {
  Buffer two = filled(8192, 1);
  const auto refused = [&](const Status& status) {
    return status.code() == ErrorCode::out_of_range;
  };
  const std::uint64_t last = kDiskBytes - 4096;
  CHECK(refused(disk.read_now(last, two.span())));
  CHECK(refused(disk.write_now(kDiskBytes, two.span())));
  CHECK(refused(wait_for([&](DiskDone done) { disk.read(last, two, std::move(done)); })));
  CHECK(refused(wait_for([&](DiskDone done) { disk.write(last, {two}, true, std::move(done)); })));
  CHECK(refused(wait_for([&](DiskDone done) { disk.discard(last, 8192, std::move(done)); })));
}

TEST_CASE("completions come in an order drawn from the seed, and not inside the call") {
  const auto run = [](std::uint64_t seed) {
    SimExecutor executor;
    SimDisk disk(executor, SimDiskImage(kDiskBytes), {seed, 1000, 100000});
    std::vector<std::uint64_t> order;
    for (std::uint64_t i = 0; i < 10; ++i)
      disk.write(i * 4096, {filled(4096, 1)}, false, [&order, i](Status) { order.push_back(i); });
    CHECK(order.empty());
    executor.run_until_idle();
    CHECK(order.size() == 10);
    return order;
  };
  CHECK(run(1) == run(1));
  CHECK(run(1) != run(2));
}

TEST_CASE("a destroyed disk completes nothing, and may go in its own callback") {
  SimExecutor executor;
  auto disk = std::make_unique<SimDisk>(executor, SimDiskImage(kDiskBytes));
  int calls = 0;
  for (int i = 0; i < 5; ++i)
    disk->write(0, {filled(4096, 1)}, false, [&](Status) {
      ++calls;
      disk.reset();
    });
  executor.run_until_idle();
  CHECK(calls == 1);
  CHECK(executor.idle());
}

TEST_CASE_FIXTURE(Fixture, "an observer sees every state in which a crash makes a difference") {
  std::vector<SimDiskImage> states;
  disk.observe([&](const SimDiskImage& image) { states.push_back(image); });
  CHECK(wait_for([&](DiskDone done) { disk.write(0, {filled(4096, 1)}, false, std::move(done)); }));
  CHECK(disk.flush_now());
  REQUIRE(states.size() == 3);
  CHECK(states[0].pending_count() == 1);  // in flight
  CHECK(first_byte(states[0], 0) == 0);
  CHECK(states[1].pending_count() == 1);  // finished
  CHECK(first_byte(states[1], 0) == 1);
  CHECK(states[2].pending_count() == 0);
  const SimDisk::Counters counters = disk.counters();
  CHECK(counters.writes == 1);
  CHECK(counters.bytes_written == 4096);
  CHECK(counters.flushes == 1);
}

// Against a model that keeps, per page, every value that a crash may leave there.
TEST_CASE("random operations and crashes against a model of the possible values") {
  Random random(42);
  for (int round = 0; round < 300; ++round) {
    SimDiskImage image(16 * kPageBytes);
    std::vector<int> newest(16, 0);
    std::vector<std::set<int>> possible(16, {0});
    int value = 0;
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t page = random.below(16);
      const std::uint64_t kind = random.below(10);
      if (kind == 0) {
        image.flush_up_to(image.newest_sequence());
        for (std::size_t i = 0; i < 16; ++i) possible[i] = {newest[i]};
      } else if (kind == 1) {
        const CrashChoice choice = CrashChoice::keep_mask(random.next());
        image = image.crash(choice);
        for (std::size_t i = 0; i < 16; ++i) {
          const int found = first_byte(image, i * kPageBytes);
          CHECK(possible[i].contains(found));
          newest[i] = found;
          possible[i] = {found};
        }
      } else {
        const bool durable = kind == 2;
        value = (value + 1) % 256;
        image.finish_write(image.start_write(page * kPageBytes, filled(kPageBytes, value)),
                           durable);
        newest[page] = value;
        if (durable) possible[page].clear();
        possible[page].insert(value);
      }
      CHECK(first_byte(image, page * kPageBytes) == newest[page]);
    }
  }
}

TEST_CASE("replaced bytes are read, are durable, and do not touch other copies") {
  SimDiskImage image(kDiskBytes);
  image.finish_write(image.start_write(kPageBytes, filled(kPageBytes, 1)), true);
  const SimDiskImage before = image;
  image.replace(kPageBytes, filled(2 * kPageBytes, 2));
  CHECK(first_byte(image, kPageBytes) == 2);
  CHECK(first_byte(image, 2 * kPageBytes) == 2);
  CHECK(first_byte(image.crash(CrashChoice::lose_all()), kPageBytes) == 2);
  CHECK(first_byte(before, kPageBytes) == 1);
}

TEST_CASE("images have equal hashes when they read the same") {
  SimDiskImage image(kDiskBytes);
  const std::uint64_t empty = image.content_hash();
  std::set<std::uint64_t> hashes{empty};
  for (const std::uint64_t offset : {std::uint64_t{0}, kPageBytes, 5 * kPageBytes}) {
    SimDiskImage other = image;
    other.replace(offset, filled(kPageBytes, 1));
    hashes.insert(other.content_hash());
    other.flip_bit(offset + 4095, 7);
    hashes.insert(other.content_hash());
    other.flip_bit(offset + 4095, 7);
    hashes.insert(other.content_hash());
    other.replace(offset, Buffer::zeroed(kPageBytes));
    CHECK(other.content_hash() == empty);
  }
  CHECK(hashes.size() == 7);
}

TEST_CASE_FIXTURE(Fixture, "a fault fails with the code that it was given") {
  disk.add_fault({.on = DiskFault::On::write, .times = 1, .code = ErrorCode::no_space});
  CHECK(disk.write_now(0, filled(kPageBytes, 1).span()).code() == ErrorCode::no_space);
  CHECK(disk.write_now(0, filled(kPageBytes, 1).span()).is_ok());
}

TEST_CASE("a crash state of a 1 MiB disk costs microseconds") {
  SimDiskImage image(kDiskBytes);
  for (std::uint64_t page = 0; page < 256; ++page)
    image.finish_write(image.start_write(page * kPageBytes, filled(kPageBytes, 1)), true);
  for (std::uint64_t page = 0; page < 20; ++page)
    image.finish_write(image.start_write(page * 40960, filled(kPageBytes, 2)), false);
  Random random(1);
  constexpr int kStates = 2000;
  const auto start = std::chrono::steady_clock::now();
  int kept = 0;
  for (int i = 0; i < kStates; ++i)
    kept += first_byte(image.crash(CrashChoice::draw(image.pending(), random)), 0) == 2;
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
  MESSAGE("microseconds per crash state: " << spent.count() / kStates);
  CHECK((kept > 0 && kept < kStates));
}

}  // namespace cairn::io
