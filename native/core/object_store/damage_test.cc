// Decay of the medium: bits that flip in the superblock, the WAL, the key-value region and the
// data, lost and misdirected writes. The store refuses, or reports, or heals; it never shows data
// that was not written.
#include <set>

#include "../../test/budget.hh"
#include "object_store/superblock.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 0};

ObjectId object(int number) { return {7, "object" + std::to_string(number), kHead}; }

Buffer block_of(std::uint64_t content) {
  Buffer data = Buffer::allocate(kBlockBytes);
  fill_block(content, data.span());
  return data;
}

Layout layout_of(io::SimDisk& disk) {
  Result<Superblock> superblock = read_superblock(disk);
  REQUIRE(superblock.is_ok());
  return superblock->layout;
}

constexpr int kObjects = 20;

// Object i has content 100 + i. checkpointed: in its place, else only in the WAL.
io::SimDiskImage written_image(bool checkpointed) {
  Machine machine(formatted_image(256));
  machine.must_open();
  for (int i = 0; i < kObjects; ++i) {
    Transaction transaction;
    transaction.write(kPg, object(i), 0, block_of(100 + static_cast<std::uint64_t>(i)),
                      {1, static_cast<std::uint64_t>(i) + 1});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
  }
  if (checkpointed) REQUIRE(machine.close().is_ok());
  machine.store.reset();
  return machine.disk.image();
}

// Reads all objects: each shows its content, or an error from the list, or (absent_from) nothing.
void check_reads(Machine& machine, int absent_from) {
  for (int i = 0; i < kObjects; ++i) {
    auto [status, result] = machine.read(kPg, object(i), 0, kBlockBytes);
    if (!status) {
      CHECK((status.code() == ErrorCode::checksum_mismatch || status.code() == ErrorCode::corrupt));
      continue;
    }
    if (!result.exists) {
      CHECK(i >= absent_from);
      continue;
    }
    const Buffer expected = block_of(100 + static_cast<std::uint64_t>(i));
    CHECK(std::memcmp(result.data.data(), expected.data(), kBlockBytes) == 0);
  }
}

}  // namespace

TEST_CASE("one good superblock suffices and mends the other") {
  const io::SimDiskImage image = written_image(true);
  Random random(1);
  for (int round = 0; round < cairn::test::budgeted(200); ++round) {
    Machine machine(image);
    const std::uint64_t end = machine.disk.size_bytes();
    const bool first = random.chance(0.5);
    for (std::uint64_t flips = 1 + random.below(3); flips > 0; --flips)
      machine.disk.flip_bit((first ? 0 : end - kBlockBytes) + random.below(kBlockBytes),
                            static_cast<unsigned>(random.below(8)));
    machine.must_open();
    check_reads(machine, kObjects);
    // Now the other copy may go.
    Machine again(machine.disk.image());
    again.disk.flip_bit((first ? end - kBlockBytes : 0) + random.below(kBlockBytes), 3);
    again.must_open();
  }
}

TEST_CASE("an old superblock hides no record of the WAL") {
  // Generation 2 writes one record, which no later one proves.
  Machine before(written_image(false));
  before.must_open();
  Transaction transaction;
  transaction.write(kPg, object(kObjects), 0, block_of(100 + kObjects), {1, kObjects + 1});
  REQUIRE(before.submit(std::move(transaction)).is_ok());
  // Its superblock: the write of the first copy hit the second one.
  Machine machine(before.disk.image());
  Result<Superblock> superblock = read_superblock(machine.disk);
  REQUIRE(superblock->generation == 2);
  REQUIRE(machine.disk
              .write_now(machine.disk.size_bytes() - kBlockBytes,
                         encode_superblock(*superblock, 0).span())
              .is_ok());
  superblock->generation = 1;
  REQUIRE(machine.disk.write_now(0, encode_superblock(*superblock, 0).span()).is_ok());
  machine.must_open();
  check_reads(machine, kObjects);
  auto [status, result] = machine.read(kPg, object(kObjects), 0, kBlockBytes);
  CHECK(status.is_ok());
  CHECK(result.exists);
  // Above that of each record: what is left behind the newest one must never count.
  CHECK(read_superblock(machine.disk)->generation == 3);
}

TEST_CASE("two damaged superblocks are refused with a remedy") {
  Machine machine(written_image(true));
  machine.disk.flip_bit(200, 1);
  machine.disk.flip_bit(machine.disk.size_bytes() - 1, 1);
  const Status status = machine.open();
  CHECK(status.code() == ErrorCode::corrupt);
  CHECK(status.message().find("replace the disk") != std::string::npos);
}

TEST_CASE("an empty disk is no store; a store is not formatted over") {
  Machine machine(io::SimDiskImage(disk_bytes(64)));
  CHECK(machine.open().code() == ErrorCode::not_found);
  Machine formatted(formatted_image(64));
  CHECK(ObjectStore::format(formatted.disk, test_identity(), small_geometry()).code() ==
        ErrorCode::already_exists);
  Machine tiny(io::SimDiskImage(std::uint64_t{1} << 20));
  CHECK(ObjectStore::format(tiny.disk, test_identity(), small_geometry()).code() ==
        ErrorCode::invalid_argument);
}

TEST_CASE("a store of another cluster or OSD is refused by name") {
  Machine machine(formatted_image(64));
  Identity expected;
  expected.osd = 4;
  const Status daemon = machine.open(small_options(), expected);
  CHECK(daemon.code() == ErrorCode::wrong_daemon);
  CHECK(daemon.message().find("osd.3") != std::string::npos);
  CHECK(daemon.message().find("osd.4") != std::string::npos);
  expected = {};
  expected.cluster.fill(9);
  const Status cluster = machine.open(small_options(), expected);
  CHECK(cluster.code() == ErrorCode::wrong_cluster);
  CHECK(cluster.message().find("01010101-0101") != std::string::npos);
  CHECK(cluster.message().find("09090909-0909") != std::string::npos);
  CHECK(machine.open(small_options(), test_identity()).is_ok());
}

TEST_CASE("unknown features: incompatible ones refuse, autoclear ones are cleared") {
  Machine machine(formatted_image(64));
  Result<Superblock> superblock = read_superblock(machine.disk);
  superblock->compatible = 1 << 5;
  superblock->autoclear = 1 << 6;
  CHECK(write_superblock(machine.disk, *superblock).is_ok());
  machine.must_open();
  superblock = read_superblock(machine.disk);
  CHECK(superblock->compatible == 1 << 5);
  CHECK(superblock->autoclear == 0);
  superblock->incompatible = 1 << 7;
  CHECK(write_superblock(machine.disk, *superblock).is_ok());
  Machine again(machine.disk.image());
  const Status status = again.open();
  CHECK(status.code() == ErrorCode::unsupported_feature);
  CHECK(status.message().find("bit 7") != std::string::npos);
}

TEST_CASE("a store from before a feature opens, and an older program refuses it afterwards") {
  constexpr std::uint64_t kAll = kFeatureAttributes | kFeaturePgDataBlocks | kFeatureObjectMoves;
  for (const std::uint64_t before :
       {std::uint64_t{0}, kFeatureAttributes, kFeatureAttributes | kFeaturePgDataBlocks}) {
    INFO("features ", before);
    Machine machine(formatted_image(64));
    Result<Superblock> superblock = read_superblock(machine.disk);
    CHECK(superblock->incompatible == kAll);
    superblock->incompatible = before;
    CHECK(write_superblock(machine.disk, *superblock).is_ok());
    machine.must_open();
    CHECK(read_superblock(machine.disk)->incompatible == kAll);
  }
}

TEST_CASE("a damaged WAL record that was durable refuses; the newest one is cut off") {
  const io::SimDiskImage image = written_image(false);
  Random random(2);
  std::set<ErrorCode> seen;
  for (int round = 0; round < cairn::test::budgeted(300, 100); ++round) {
    Machine machine(image);
    const Layout layout = layout_of(machine.disk);
    // The records take 8 KiB each: the record that the flip hits is known.
    const std::uint64_t offset = random.below(kObjects * 2 * kBlockBytes);
    const auto record = static_cast<int>(offset / (2 * kBlockBytes));
    machine.disk.flip_bit(layout.wal_offset + offset, static_cast<unsigned>(random.below(8)));
    const Status status = machine.open();
    seen.insert(status.code());
    if (!status) {
      CHECK(status.code() == ErrorCode::corrupt);
      CHECK(record < kObjects - 1);
      continue;
    }
    check_reads(machine, kObjects - 1);
    if (record == kObjects - 1) continue;
    // Only padding may be hit without a consequence.
    CHECK(offset % (2 * kBlockBytes) < kBlockBytes);
    check_reads(machine, kObjects);
  }
  CHECK(seen.contains(ErrorCode::corrupt));
  CHECK(seen.contains(ErrorCode::ok));
}

TEST_CASE(
    "the newest record over direct data of the one before is damage, not the end of the log") {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction large;
  large.write(kPg, object(0), 0, Buffer::zeroed(std::size_t{32} << 10), {1, 1});
  REQUIRE(machine.submit(std::move(large)).is_ok());
  Transaction small;
  small.touch(kPg, object(1), {1, 2});
  REQUIRE(machine.submit(std::move(small)).is_ok());
  machine.store.reset();
  // Record 2 lies behind the only block of record 1; its write went astray.
  const Layout layout = layout_of(machine.disk);
  Buffer record = Buffer::allocate(kBlockBytes);
  REQUIRE(machine.disk.read_now(layout.wal_offset + kBlockBytes, record.span()).is_ok());
  REQUIRE(machine.disk.write_now(layout.data_offset + 2 * kBlockBytes, record.span()).is_ok());
  REQUIRE(
      machine.disk.write_now(layout.wal_offset + kBlockBytes, Buffer::zeroed(kBlockBytes).span())
          .is_ok());
  const Status status = machine.open();
  CHECK(status.code() == ErrorCode::corrupt);
  CHECK(status.message().find("record 2 proves") != std::string::npos);
}

TEST_CASE("flipped bits in the data are reported with object and block") {
  Machine machine(written_image(true));
  const Layout layout = layout_of(machine.disk);
  for (int i = 0; i < kObjects; ++i)
    machine.disk.flip_bit(layout.data_offset + static_cast<std::uint64_t>(i) * kBlockBytes + 77, 2);
  machine.must_open();
  for (int i = 0; i < kObjects; ++i) {
    const Status status = machine.read(kPg, object(i), 0, kBlockBytes).first;
    CHECK(status.code() == ErrorCode::checksum_mismatch);
    CHECK(status.message().find("\"object" + std::to_string(i) + "\" block 0") !=
          std::string::npos);
  }
  CHECK(machine.store->counters().checksum_errors == kObjects);
  CHECK(!machine.store->failed());
}

TEST_CASE("a lost or misdirected write in place is reported, never old data") {
  for (const auto action : {io::DiskFault::Action::lose, io::DiskFault::Action::misdirect}) {
    Machine machine(written_image(true));
    const Layout layout = layout_of(machine.disk);
    machine.must_open();
    machine.disk.add_fault({.on = io::DiskFault::On::write,
                            .action = action,
                            .offset = layout.data_offset,
                            .length = 30 * kBlockBytes,
                            .times = 1,
                            .misdirect_offset = layout.data_offset + 100 * kBlockBytes});
    Transaction transaction;
    transaction.write(kPg, object(3), 0, block_of(5000), {1, 100});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
    REQUIRE(machine.checkpoint().is_ok());
    CHECK(machine.read(kPg, object(3), 0, kBlockBytes).first.code() ==
          ErrorCode::checksum_mismatch);
    CHECK(machine.read(kPg, object(4), 0, kBlockBytes).first.is_ok());
  }
}

TEST_CASE("flipped bits in the key-value region are refused, reported or healed") {
  const io::SimDiskImage image = written_image(true);
  Random random(3);
  for (int round = 0; round < cairn::test::budgeted(200); ++round) {
    Machine machine(image);
    const Layout layout = layout_of(machine.disk);
    for (int flips = 0; flips < 20; ++flips)
      machine.disk.flip_bit(layout.kv_offset + random.below(layout.kv_bytes / 8),
                            static_cast<unsigned>(random.below(8)));
    const Status status = machine.open();
    if (!status) {
      CHECK(status.code() == ErrorCode::corrupt);
      continue;
    }
    check_reads(machine, kObjects);
  }
}

TEST_CASE("a damaged value of the OSD itself is an error, never absent") {
  constexpr int kValues = 12;
  const auto key = [](int number) { return "note" + std::to_string(number); };
  const auto value = [](int number) { return std::string(3000, static_cast<char>('a' + number)); };
  Machine writer(formatted_image(64));
  writer.must_open();
  Transaction transaction;
  for (int i = 0; i < kValues; ++i) transaction.store_meta_set(key(i), value(i));
  REQUIRE(writer.submit(std::move(transaction)).is_ok());
  REQUIRE(writer.close().is_ok());
  // The next start brings what the log of the key-value store has into a table.
  writer.must_open();
  REQUIRE(writer.close().is_ok());
  const Layout layout = layout_of(writer.disk);
  int reported = 0;
  for (std::uint64_t at = 0; at < layout.kv_bytes; at += kBlockBytes) {
    CAPTURE(at);
    Machine machine(writer.disk.image());
    machine.disk.flip_bit(layout.kv_offset + at + 100, 3);
    if (const Status status = machine.open(); !status) {
      CHECK(status.code() == ErrorCode::corrupt);
      continue;
    }
    for (int i = 0; i < kValues; ++i) {
      Result<std::optional<std::string>> found = machine.store->store_meta(key(i));
      if (found)
        CHECK((*found == value(i)));
      else
        CHECK(found.status().code() == ErrorCode::corrupt);
      reported += found ? 0 : 1;
    }
  }
  CHECK(reported > 0);
}

namespace {

// Of the closed store's values with keys of this letter, count of them, the last one gets a byte
// too many.
void damage_last(Machine& machine, char letter, std::size_t count) {
  const Layout layout = layout_of(machine.disk);
  kv::Options options = kv::small_options();
  options.unit_bytes = layout.kv_unit_bytes;
  auto region =
      kv::KvStore::open(machine.disk, layout.kv_offset, layout.kv_bytes, machine.executor, options);
  REQUIRE(region.is_ok());
  const std::string begin(1, letter);
  const std::string end(1, static_cast<char>(letter + 1));
  auto values = (*region)->scan_now(begin, end, count + 1);
  REQUIRE(values.is_ok());
  REQUIRE(values->size() == count);
  kv::WriteBatch batch;
  batch.put(values->back().first, values->back().second + "x");
  REQUIRE((*region)->apply_now(std::move(batch), true).is_ok());
}

}  // namespace

TEST_CASE("a block map that cannot be is an error each time, not zeros the second time") {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, object(0), 0, block_of(1), {1, 1});
  REQUIRE(machine.submit(std::move(transaction)).is_ok());
  REQUIRE(machine.close().is_ok());
  damage_last(machine, 's', 1);
  machine.must_open();
  for (int i = 0; i < 3; ++i)
    CHECK(machine.read(kPg, object(0), 0, kBlockBytes).first.code() == ErrorCode::corrupt);
}

TEST_CASE("a piece of a block map that cannot be is no error of the others") {
  constexpr std::uint64_t kShardBytes = 16 * kBlockBytes;
  Machine machine(formatted_image(64));
  machine.must_open();
  for (std::uint64_t at = 0; at < 3; ++at) {
    Transaction transaction;
    transaction.write(kPg, object(0), at * kShardBytes, block_of(at), {1, 1});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
  }
  REQUIRE(machine.close().is_ok());
  damage_last(machine, 's', 3);
  enum class First { read, write, replay };
  for (const First first : {First::read, First::write, First::replay}) {
    CAPTURE(static_cast<int>(first));
    machine.must_open();
    if (first != First::read) {
      Transaction transaction;
      transaction.write(kPg, object(0), 0, block_of(0), {1, 2});
      REQUIRE(machine.submit(std::move(transaction)).is_ok());
    }
    if (first == First::replay) {
      machine.store.reset();
      machine.must_open();
    }
    for (int round = 0; round < 2; ++round) {
      for (std::uint64_t at = 0; at < 2; ++at) {
        auto [status, result] = machine.read(kPg, object(0), at * kShardBytes, kBlockBytes);
        REQUIRE(status.is_ok());
        CHECK(load_le<std::uint64_t>(result.data.data()) == at);
      }
      const Status bad = machine.read(kPg, object(0), 2 * kShardBytes, kBlockBytes).first;
      CHECK(bad.code() == ErrorCode::corrupt);
    }
    CHECK(machine.close().is_ok());
  }
}

TEST_CASE("a reference count that cannot be fails the store, whatever was asked for beside it") {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, object(0), 0, block_of(0), {1, 1});
  transaction.clone(kPg, object(0), {7, object(0).name, 4}, {1, 1});
  transaction.write(kPg, object(1), 0, block_of(1), {1, 1});
  transaction.write(kPg, object(1), 40 * kBlockBytes, block_of(1), {1, 1});
  REQUIRE(machine.submit(std::move(transaction)).is_ok());
  REQUIRE(machine.close().is_ok());
  damage_last(machine, 'r', 1);
  machine.must_open();
  // The block map of the one and the header of the other are in memory then.
  REQUIRE(machine.read(kPg, object(0), 0, kBlockBytes).first.is_ok());
  REQUIRE(machine.read(kPg, object(1), 0, 0).first.is_ok());
  Transaction next;
  next.write(kPg, object(0), 0, block_of(2), {1, 2});
  next.write(kPg, object(1), 0, block_of(2), {1, 2});
  CHECK(machine.submit(std::move(next)).code() == ErrorCode::corrupt);
  CHECK(machine.store->failure().code() == ErrorCode::corrupt);
}

TEST_CASE("a file that was cut off is refused") {
  Machine machine(written_image(true));
  io::SimExecutor executor;
  io::SimDisk shorter(executor, io::SimDiskImage(machine.disk.size_bytes() - 16 * kBlockBytes));
  Buffer bytes = Buffer::allocate(kBlockBytes);
  for (std::uint64_t at = 0; at < shorter.size_bytes(); at += kBlockBytes) {
    REQUIRE(machine.disk.read_now(at, bytes.span()).is_ok());
    REQUIRE(shorter.write_now(at, bytes.span()).is_ok());
  }
  const auto opened = ObjectStore::open(executor, shorter, {}, small_options());
  CHECK(opened.status().code() == ErrorCode::corrupt);
  CHECK(opened.status().message().find("cut off") != std::string::npos);
}
