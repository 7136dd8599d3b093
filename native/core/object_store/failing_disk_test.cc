// A disk that is full or fails: what ends the store, what ends one operation, what goes on.
#include "object_store/superblock.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 1};
constexpr std::uint64_t kForever = 20'000'000'000;

ObjectId object(std::uint64_t number) { return {7, "o" + std::to_string(number), kHead}; }

Buffer blocks_of(std::uint64_t content, std::uint32_t count) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  fill_block(content, data.span());
  return data;
}

// A write with its PG log entry.
Transaction logged_write(std::uint64_t number, std::uint32_t blocks) {
  Transaction transaction;
  transaction.log_append(kPg, number, std::vector<std::byte>(40));
  transaction.write(kPg, object(number), 0, blocks_of(number, blocks), {1, number});
  return transaction;
}

Layout layout_of(io::SimDisk& disk) {
  Result<Superblock> superblock = read_superblock(disk);
  REQUIRE(superblock.is_ok());
  return superblock->layout;
}

// Writes objects of 16 blocks until the store refuses; the number of those that it took.
std::uint64_t fill_up(Machine& machine) {
  for (std::uint64_t number = 1; number < 1000; ++number) {
    const Status status = machine.submit(logged_write(number, 16));
    if (status) continue;
    CHECK(status.code() == ErrorCode::no_space);
    return number - 1;
  }
  return 0;
}

}  // namespace

TEST_CASE("a failed write or flush ends the store for good, also when the disk is well again") {
  using On = io::DiskFault::On;
  for (const On on : {On::write, On::flush})
    for (const ErrorCode code : {ErrorCode::io_error, ErrorCode::no_space}) {
      CAPTURE(static_cast<int>(on));
      CAPTURE(static_cast<int>(code));
      Machine machine(formatted_image(256));
      machine.must_open();
      REQUIRE(machine.submit(logged_write(1, 1)).is_ok());
      machine.disk.add_fault({.on = on, .times = 1, .code = code});
      // A large write: it needs a flush of its own.
      CHECK(machine.submit(logged_write(2, 16)).code() == code);
      CHECK(machine.store->failure().code() == code);
      machine.disk.clear_faults();
      const io::SimDisk::Counters before = machine.disk.counters();
      CHECK(machine.submit(logged_write(3, 1)).code() == code);
      Transaction removal;
      removal.remove(kPg, object(1));
      CHECK(machine.submit(std::move(removal)).code() == code);
      CHECK(machine.checkpoint().code() == code);
      machine.executor.run_for(kForever);
      const io::SimDisk::Counters after = machine.disk.counters();
      CHECK(after.flushes == before.flushes);
      CHECK(after.writes == before.writes);
      // What was acknowledged is there; what failed may be, whole.
      Machine again(machine.disk.image().crash(io::CrashChoice::lose_all()));
      again.must_open();
      CHECK(again.read(kPg, object(1), 0, kBlockBytes).second.exists);
      CHECK(!again.read(kPg, object(3), 0, kBlockBytes).second.exists);
    }
}

TEST_CASE("a failed flush of a checkpoint ends the store; nothing acknowledged is lost") {
  for (std::uint64_t skip = 0; skip < 4; ++skip) {
    CAPTURE(skip);
    Machine machine(formatted_image(256));
    machine.must_open();
    REQUIRE(machine.submit(logged_write(1, 3)).is_ok());
    machine.disk.add_fault({.on = io::DiskFault::On::flush, .skip = skip, .times = 1});
    const Status status = machine.checkpoint();
    // A checkpoint flushes the data once, and the key-value region some times more.
    if (status) CHECK(skip > 1);
    CHECK(machine.store->failed() == !status);
    Machine again(machine.disk.image().crash(io::CrashChoice::lose_all()));
    again.must_open();
    const auto [outcome, result] = again.read(kPg, object(1), 0, kBlockBytes);
    REQUIRE(outcome.is_ok());
    CHECK(std::memcmp(result.data.data(), blocks_of(1, 1).data(), kBlockBytes) == 0);
  }
}

TEST_CASE("an error of a read of data or metadata is that read's alone") {
  Machine machine(formatted_image(256));
  machine.must_open();
  const Layout layout = layout_of(machine.disk);
  // So much metadata that most of it lies in tables, not in the region's newest log.
  constexpr std::uint64_t kObjects = 150;
  for (std::uint64_t number = 1; number <= kObjects; ++number) {
    Transaction transaction = logged_write(number, 1);
    transaction.omap_set(kPg, object(number), "key", std::string(1500, 'v'), {1, number});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
  }
  REQUIRE(machine.close().is_ok());
  for (const bool of_metadata : {false, true}) {
    CAPTURE(of_metadata);
    Machine again(machine.disk.image());
    again.must_open();
    again.disk.add_fault({.on = io::DiskFault::On::read,
                          .offset = of_metadata ? layout.kv_offset : layout.data_offset,
                          .length = of_metadata ? layout.kv_bytes
                                                : std::uint64_t{layout.data_blocks} * kBlockBytes});
    CHECK(again.read(kPg, object(7), 0, kBlockBytes).first.code() == ErrorCode::io_error);
    CHECK(again.read(kPg, object(7), 0, kBlockBytes).first.code() == ErrorCode::io_error);
    CHECK(again.disk.counters().faults >= 2);
    CHECK(!again.store->failed());
    again.disk.clear_faults();
    const auto [status, result] = again.read(kPg, object(7), 0, kBlockBytes);
    REQUIRE(status.to_string() == "ok");
    CHECK(std::memcmp(result.data.data(), blocks_of(7, 1).data(), kBlockBytes) == 0);
    CHECK(again.submit(logged_write(kObjects + 1, 1)).is_ok());
  }
}

TEST_CASE("growth is refused before anything of it is logged; what frees space always works") {
  Machine machine(formatted_image(512));
  machine.must_open();
  const std::uint64_t written = fill_up(machine);
  REQUIRE(written > 10);
  const std::uint64_t groups = machine.store->counters().wal_groups;
  CHECK(machine.submit(logged_write(written + 1, 16)).code() == ErrorCode::no_space);
  CHECK(machine.store->counters().wal_groups == groups);
  CHECK(machine.store->room_for(16 * kBlockBytes, 100).code() == ErrorCode::no_space);
  CHECK(machine.store->load_pgs()->front().log.size() == written);
  CHECK(!machine.store->failed());
  const std::uint64_t used = machine.store->usage().used_bytes;
  CHECK(machine.store->usage().total_bytes - used <
        16 * kBlockBytes + machine.store->usage().reserved_bytes);

  Transaction freeing;
  freeing.log_append(kPg, written + 1, std::vector<std::byte>(40));
  freeing.log_trim(kPg, written / 2);
  freeing.remove(kPg, object(1));
  freeing.punch(kPg, object(2), 0, 8 * kBlockBytes, {2, written + 1});
  freeing.omap_remove(kPg, object(3), "none", {2, written + 1});
  freeing.pg_meta_set(kPg, "info", "value");
  CHECK(machine.submit(std::move(freeing)).is_ok());
  CHECK(machine.store->usage().used_bytes == used - 24 * kBlockBytes);
  // Free with the next checkpoint, for which the write waits.
  CHECK(machine.store->room_for(16 * kBlockBytes, 100).is_ok());
  CHECK(machine.submit(logged_write(written + 2, 16)).is_ok());
}

TEST_CASE("what is logged already may use the reserve, to its last block") {
  Machine machine(formatted_image(512));
  machine.must_open();
  const std::uint64_t written = fill_up(machine);
  const std::uint64_t reserve = machine.store->usage().reserved_bytes / kBlockBytes;
  REQUIRE(reserve >= 16);
  Transaction logged = logged_write(written + 1, 16);
  logged.allow_reserve();
  CHECK(machine.submit(std::move(logged)).is_ok());
  CHECK(machine.submit(logged_write(written + 2, 16)).code() == ErrorCode::no_space);
  const Usage usage = machine.store->usage();
  const auto left =
      static_cast<std::uint32_t>((usage.total_bytes - usage.used_bytes) / kBlockBytes);
  Transaction last = logged_write(written + 2, left);
  last.allow_reserve();
  CHECK(machine.submit(std::move(last)).is_ok());
  Transaction beyond = logged_write(written + 3, 1);
  beyond.allow_reserve();
  CHECK(machine.submit(std::move(beyond)).code() == ErrorCode::no_space);
  CHECK(!machine.store->failed());
  Transaction removal;
  removal.remove(kPg, object(written + 2));
  CHECK(machine.submit(std::move(removal)).is_ok());
  CHECK(machine.close().is_ok());
}

TEST_CASE("room_for counts what is submitted and not yet applied") {
  Machine machine(formatted_image(512));
  machine.must_open();
  REQUIRE(machine.submit(logged_write(1, 1)).is_ok());
  REQUIRE(machine.close().is_ok());
  // Cold: transactions wait for their metadata.
  Machine again(machine.disk.image());
  again.must_open();
  std::uint64_t taken = 0;
  while (again.store->room_for(64 * kBlockBytes, 100) && taken < 100) {
    ++taken;
    again.store->submit(logged_write(taken + 1, 64),
                        [](Status status) { CHECK_MESSAGE(status.is_ok(), status.to_string()); });
  }
  CHECK(taken == (512 - 1 - 32) / 64);
  again.executor.run_for(kForever);
  CHECK(again.store->counters().pending_transactions == 0);
}

TEST_CASE("a full key-value region: room_for says so, removals work, then there is room again") {
  Machine machine(formatted_image(512));
  machine.must_open();
  const ObjectId big = object(1);
  std::uint64_t number = 0;
  Status room;
  while (number < 10'000 && (room = machine.store->room_for(0, 10'000))) {
    ++number;
    Transaction transaction;
    transaction.log_append(kPg, number, std::vector<std::byte>(40));
    for (std::uint64_t key = 0; key < 20; ++key)
      transaction.omap_set(kPg, big, "key" + std::to_string(number * 20 + key),
                           std::string(500, 'v'), {1, number});
    transaction.allow_reserve();
    const Status status = machine.submit(std::move(transaction));
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  CHECK(room.code() == ErrorCode::no_space);
  Transaction removal;
  removal.log_append(kPg, number + 1, std::vector<std::byte>(40));
  removal.log_trim(kPg, number / 2);
  removal.omap_remove(kPg, big, "key20", {1, number + 1});
  removal.remove(kPg, big);
  CHECK(machine.submit(std::move(removal)).is_ok());
  machine.executor.run_for(3 * kForever);
  const Status again = machine.store->room_for(0, 10'000);
  CHECK_MESSAGE(again.is_ok(), again.to_string());
  CHECK(!machine.store->failed());
  CHECK(machine.close().is_ok());
}
