// What operations ask the key-value region for when an object is not in memory.
#include <random>
#include <vector>

#include "object_store/metadata_cache.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 1};
const ObjectId kObject{7, "rbd_data.1.0000", kHead};
const ObjectId kClone{7, "rbd_data.1.0000", 4};
constexpr std::uint64_t kLastBlock = std::uint64_t{4 << 20} - kBlockBytes;

ObjectId name_of(std::uint64_t index) {
  return {7, "rbd_data.1." + std::to_string(1000 + index), kHead};
}

Buffer block_of(std::uint64_t content) {
  Buffer data = Buffer::allocate(kBlockBytes);
  fill_block(content, data.span());
  return data;
}

Options with_cache(std::uint64_t bytes) {
  Options options = small_options();
  options.metadata_cache_bytes = bytes;
  return options;
}

// The first and the last block of an object of 4 MiB, with nothing of it in memory.
Machine reopened_with_sparse_object() {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, kObject, 0, block_of(1), {1, 1});
  transaction.write(kPg, kObject, kLastBlock, block_of(2), {1, 1});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  CHECK(machine.close().is_ok());
  return Machine(machine.disk.image());
}

Status clone(Machine& machine) {
  Transaction transaction;
  transaction.clone(kPg, kObject, kClone, {1, 2});
  return machine.submit(std::move(transaction));
}

std::uint64_t content_at(Machine& machine, const ObjectId& object, std::uint64_t offset) {
  auto [status, result] = machine.read(kPg, object, offset, kBlockBytes);
  REQUIRE(status.is_ok());
  return load_le<std::uint64_t>(result.data.data());
}

// Fills the cache with names that there are not.
void forget_all_but_head(Machine& machine) {
  for (int i = 0; i < 80; ++i) {
    machine.read(kPg, {7, "rbd_data.2." + std::to_string(1000 + i), kHead}, 0, 0);
    machine.read(kPg, kObject, 0, 0);
    Transaction transaction;
    transaction.store_meta_set("round", std::to_string(i));
    CHECK(machine.submit(std::move(transaction)).is_ok());
  }
}

}  // namespace

TEST_CASE("a clone asks for what its object has, not for what it could have") {
  Machine machine = reopened_with_sparse_object();
  machine.must_open();
  CHECK(clone(machine).is_ok());
  // Two headers, two pieces of the block map, one piece of the reference counts.
  CHECK(machine.store->counters().metadata_values <= 6);
  CHECK(content_at(machine, kClone, 0) == 1);
  CHECK(content_at(machine, kClone, kLastBlock) == 2);
  CHECK(content_at(machine, kClone, kLastBlock / 2) == 0);
}

TEST_CASE("of an object that was made since the start nothing is asked for") {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, kObject, kLastBlock, block_of(1), {1, 1});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  CHECK(machine.checkpoint().is_ok());
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  for (std::uint64_t offset = 0; offset < kLastBlock; offset += std::uint64_t{256} << 10) {
    Transaction next;
    next.write(kPg, kObject, offset, block_of(2), {1, 2});
    CHECK(machine.submit(std::move(next)).is_ok());
  }
  CHECK(machine.store->counters().metadata_loads == loads);
}

TEST_CASE("with a block's piece of the map come the others of its object, while there is room") {
  constexpr std::uint64_t kObjects = 8;
  constexpr std::uint64_t kBlocks = 1024;
  Machine machine(formatted_image(2 * kObjects * kBlocks));
  REQUIRE(machine.open(with_cache(std::uint64_t{1} << 20)).is_ok());
  for (std::uint64_t at = 0; at < kObjects * kBlocks; at += kShardBlocks / 2) {
    Transaction transaction;
    transaction.write(kPg, name_of(at / kBlocks), at % kBlocks * kBlockBytes, block_of(at),
                      {1, at + 1});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
  }
  REQUIRE(machine.close().is_ok());
  REQUIRE(machine.open(with_cache(std::uint64_t{1} << 20)).is_ok());
  const Counters& counters = machine.store->counters();
  const std::uint64_t loads = counters.metadata_loads;
  for (std::uint64_t at = 0; at < kObjects * kBlocks; at += kShardBlocks / 2)
    CHECK(content_at(machine, name_of(at / kBlocks), at % kBlocks * kBlockBytes) == at);
  // The header and the map of each.
  CHECK(counters.metadata_loads - loads == 2 * kObjects);
  REQUIRE(machine.close().is_ok());

  // Each time another object, and memory for one of them: little comes that is not asked for.
  REQUIRE(machine.open(with_cache(std::uint64_t{8} << 10)).is_ok());
  std::uint64_t reads = 0;
  const Counters& few = machine.store->counters();
  const std::uint64_t values = few.metadata_values;
  for (std::uint64_t block = 0; block < kBlocks; block += kShardBlocks)
    for (std::uint64_t index = 0; index < kObjects; ++index, ++reads)
      CHECK(content_at(machine, name_of(index), block * kBlockBytes) == index * kBlocks + block);
  CHECK(few.metadata_values - values > reads / 2);
  CHECK(few.metadata_values - values < reads * 8);
}

TEST_CASE("the second clone of an object in memory asks for nothing") {
  Machine machine = reopened_with_sparse_object();
  machine.must_open();
  CHECK(clone(machine).is_ok());
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  CHECK(loads > 0);
  for (std::uint64_t snap = 5; snap < 20; snap += 3) {
    Transaction transaction;
    transaction.clone(kPg, kObject, {7, kObject.name, snap}, {1, snap});
    transaction.write(kPg, kObject, 0, block_of(snap), {1, snap});
    CHECK(machine.submit(std::move(transaction)).is_ok());
    CHECK(machine.checkpoint().is_ok());
  }
  CHECK(machine.store->counters().metadata_loads == loads);
  CHECK(content_at(machine, {7, kObject.name, 5}, 0) == 1);
  CHECK(content_at(machine, {7, kObject.name, 17}, 0) == 14);
}

TEST_CASE("a clone takes the place of a newer layer, whoever knows of that one") {
  const ObjectId newer{7, kObject.name, 9};
  enum class Made { before_the_start, while_head_is_away, while_head_is_known };
  for (const Made made :
       {Made::before_the_start, Made::while_head_is_away, Made::while_head_is_known}) {
    CAPTURE(static_cast<int>(made));
    const auto make_newer = [&](Machine& machine) {
      Transaction transaction;
      transaction.write(kPg, newer, 2 * kBlockBytes, block_of(3), {1, 1});
      CHECK(machine.submit(std::move(transaction)).is_ok());
    };
    Machine first = reopened_with_sparse_object();
    first.must_open();
    if (made == Made::before_the_start) make_newer(first);
    CHECK(first.close().is_ok());
    Machine machine(first.disk.image());
    machine.must_open();
    if (made == Made::while_head_is_away) make_newer(machine);
    CHECK(clone(machine).is_ok());
    if (made == Made::while_head_is_known) make_newer(machine);
    CHECK(machine.checkpoint().is_ok());
    forget_all_but_head(machine);
    Transaction transaction;
    transaction.clone(kPg, kObject, newer, {1, 3});
    CHECK(machine.submit(std::move(transaction)).is_ok());
    CHECK(machine.store->object_count(kPg) == 3);
    CHECK(content_at(machine, newer, 2 * kBlockBytes) == 0);
    CHECK(content_at(machine, newer, 0) == 1);
    CHECK(machine.close().is_ok());
    Machine again(machine.disk.image());
    again.must_open();
    CHECK(content_at(again, newer, 2 * kBlockBytes) == 0);
    // The block of the newer layer is free again: the object's two are shared by all.
    CHECK(again.store->usage().used_bytes == 2 * kBlockBytes);
  }
}

TEST_CASE("a clone takes the place of a newer layer that came from another PG") {
  const PgId other{7, 2};
  const ObjectId newer{7, kObject.name, 9};
  Machine first = reopened_with_sparse_object();
  first.must_open();
  Transaction away;
  away.write(other, newer, 2 * kBlockBytes, block_of(3), {1, 1});
  CHECK(first.submit(std::move(away)).is_ok());
  CHECK(first.close().is_ok());
  Machine machine(first.disk.image());
  machine.must_open();
  CHECK(clone(machine).is_ok());
  Transaction move;
  move.move(other, newer, kPg);
  CHECK(machine.submit(std::move(move)).is_ok());
  CHECK(content_at(machine, newer, 2 * kBlockBytes) == 3);
  CHECK(machine.checkpoint().is_ok());
  forget_all_but_head(machine);
  Transaction transaction;
  transaction.clone(kPg, kObject, newer, {1, 3});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  CHECK(machine.store->object_count(kPg) == 3);
  CHECK(content_at(machine, newer, 2 * kBlockBytes) == 0);
}

TEST_CASE("what reads bring into memory goes without a write as well") {
  constexpr std::uint64_t kObjects = 200;
  Machine machine(formatted_image(2 * kObjects));
  machine.must_open();
  for (std::uint64_t index = 0; index < kObjects; ++index) {
    Transaction transaction;
    transaction.write(kPg, name_of(index), 0, block_of(index), {1, 1});
    CHECK(machine.submit(std::move(transaction)).is_ok());
  }
  CHECK(machine.close().is_ok());
  machine.must_open();
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t loads = machine.store->counters().metadata_loads;
    for (std::uint64_t index = 0; index < kObjects; ++index)
      CHECK(content_at(machine, name_of(index), 0) == index);
    // They take 80 KiB at least, and there is room for 12: most must have gone since the last
    // round.
    CHECK(machine.store->counters().metadata_loads - loads > kObjects);
  }
}

TEST_CASE("overwrites all over what fits in memory only as values ask for nothing") {
  constexpr std::uint64_t kObjects = 5;
  constexpr std::uint64_t kBlocks = 1024;
  Machine machine(formatted_image(3 * kObjects * kBlocks));
  // In use they would take 140 KiB, as values they take about 62, and 25 those that wait for a
  // checkpoint.
  const Options options = with_cache(std::uint64_t{112} << 10);
  REQUIRE(machine.open(options).is_ok());
  std::vector<std::uint64_t> contents(kObjects * kBlocks);
  const auto write = [&](std::uint64_t at, std::uint64_t content) {
    Transaction transaction;
    transaction.write(kPg, name_of(at / kBlocks), at % kBlocks * kBlockBytes, block_of(content),
                      {1, content});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
    contents[at] = content;
  };
  for (std::uint64_t at = 0; at < contents.size(); ++at) write(at, at + 1);
  // Not from memory alone because nothing has ever been anywhere else.
  REQUIRE(machine.close().is_ok());
  REQUIRE(machine.open(options).is_ok());
  for (std::uint64_t at = 0; at < contents.size(); at += kShardBlocks) write(at, at + 10'000);
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  CHECK(loads > 0);
  std::mt19937_64 random(1);
  for (std::uint64_t i = 0; i < 3000; ++i) write(random() % contents.size(), 20'000 + i);
  CHECK(machine.store->counters().metadata_loads == loads);
  for (std::uint64_t at = 0; at < contents.size(); at += 7)
    CHECK(content_at(machine, name_of(at / kBlocks), at % kBlocks * kBlockBytes) == contents[at]);
  CHECK(machine.store->counters().metadata_loads == loads);
}

TEST_CASE("objects that are not in use are packed before they go") {
  Machine machine(formatted_image(64));
  machine.must_open();
  constexpr std::uint64_t kObjects = 16;
  for (std::uint64_t index = 0; index < kObjects; ++index) {
    Transaction transaction;
    transaction.write(kPg, name_of(index), index * kBlockBytes, block_of(index), {1, index});
    CHECK(machine.submit(std::move(transaction)).is_ok());
  }
  CHECK(machine.checkpoint().is_ok());
  for (std::uint64_t round = 0; round < 4; ++round)
    for (std::uint64_t index = 0; index < kObjects; ++index) {
      Transaction transaction;
      transaction.store_meta_set("round", std::to_string(round));
      CHECK(machine.submit(std::move(transaction)).is_ok());
      CHECK(content_at(machine, name_of(index), index * kBlockBytes) == index);
      CHECK(content_at(machine, name_of(index), (index + 1) * kBlockBytes) == 0);
    }
  CHECK(machine.store->counters().metadata_loads == 0);
}

TEST_CASE("a cache of clean entries shrinks to its limit") {
  constexpr std::uint64_t kLimit = std::uint64_t{12} << 10;
  MetadataCache cache(kLimit);
  for (std::uint32_t i = 0; i < 200; ++i) {
    const std::string name = "object" + std::to_string(i);
    Onode& onode = cache.insert({1, name, kHead});
    onode.exists = true;
    onode.header.id = i + 1;
    cache.make_shard(onode, i % 64);
    CHECK(cache.find({1, name, kHead}) == &onode);
  }
  CHECK(cache.used_bytes() > 10 * kLimit);
  int slices = 0;
  while (cache.shrink(16)) ++slices;
  CHECK(slices >= 200 / 16);
  CHECK(cache.used_bytes() <= kLimit);
  CHECK(cache.used_bytes() > kLimit / 2);
}

TEST_CASE("a pause makes metadata small, and costs no look on the disk") {
  constexpr std::uint64_t kObjects = 20;
  constexpr std::uint64_t kBlocks = 256;
  Machine machine(formatted_image(3 * kObjects * kBlocks));
  REQUIRE(machine.open(with_cache(std::uint64_t{64} << 20)).is_ok());
  const auto write = [&](std::uint64_t index, std::uint64_t block) {
    Transaction transaction;
    transaction.write(kPg, name_of(index), block * kBlockBytes, block_of(index + block), {1, 1});
    CHECK(machine.submit(std::move(transaction)).is_ok());
  };
  for (std::uint64_t block = 0; block < kBlocks; ++block)
    for (std::uint64_t index = 0; index < kObjects; ++index) write(index, block);
  CHECK(machine.checkpoint().is_ok());
  const std::uint64_t used_bytes = machine.store->usage().metadata_bytes;
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  const auto release = [&] {
    machine.store->release_memory();
    machine.executor.run_for(5'000'000'000);
  };
  release();  // not a pause yet: writes came before
  CHECK(machine.store->usage().metadata_bytes == used_bytes);
  release();  // takes the marks of use
  write(3, 7);
  release();
  CHECK(machine.store->usage().metadata_bytes < used_bytes * 2 / 3);
  for (std::uint64_t index = 0; index < kObjects; ++index)
    for (std::uint64_t block = 0; block < kBlocks; block += 5)
      CHECK(content_at(machine, name_of(index), block * kBlockBytes) == index + block);
  CHECK(machine.store->counters().metadata_loads == loads);
}
