// Shards in use and as their values: what an object knows stays the same, and what it takes is
// counted to the byte.
#include "object_store/shard.hh"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "object_store/metadata.hh"

using namespace cairn;
using namespace cairn::object_store;

namespace {

constexpr std::uint32_t kShards = kMaxObjectBlocks / kShardBlocks;

ShardBlocks random_blocks(std::mt19937_64& random) {
  ShardBlocks blocks;
  for (BlockEntry& block : blocks) {
    block.state = static_cast<BlockState>(random() % 3);
    if (block.state == BlockState::absent) continue;
    block.number = random() >> (random() % 64);
    block.epoch = static_cast<Epoch>(random());
    block.shared = random() % 2 == 0;
    if (block.state != BlockState::data) continue;
    block.crc = static_cast<std::uint32_t>(random());
    block.physical = static_cast<std::uint32_t>(random());
  }
  return blocks;
}

// An object whose bytes are counted, with random shards: those with an even index.
struct Counted {
  std::uint64_t account = 0;
  std::vector<ShardBlocks> blocks{kShards};
  Onode onode{1, "rbd_data.1.0000", kHead};

  explicit Counted(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    onode.charge_to(&account);
    onode.recharge();
    onode.exists = true;
    onode.header.id = 7;
    for (std::uint32_t index = 0; index < kShards; index += 2)
      onode.add_shard(index).blocks = blocks[index] = random_blocks(random);
  }
  void check_all(Onode& of) {
    for (std::uint32_t index = 0; index < kShards; ++index) {
      REQUIRE(of.knows_shard(index) == (index % 2 == 0));
      if (index % 2 == 0) CHECK(of.shard(index)->blocks == blocks[index]);
    }
  }
  bool is_exact() const {
    return account == onode.memory_bytes() && account == onode.charged_bytes();
  }
};

void clean(CheckpointSet& set) {
  set.freeze();
  while (!set.encode_some(1)) {
  }
  while (!set.finish_some(1)) {
  }
}

}  // namespace

TEST_CASE("shard: the longest value") {
  ShardBlocks blocks;
  for (std::uint32_t i = 0; i < kShardBlocks; ++i) {
    // The base is the smallest number and the largest epoch; distances go from one end to the
    // other.
    blocks[i].number = i == 0 ? 0 : ~std::uint64_t{0};
    blocks[i].epoch = i == 0 ? ~Epoch{0} : 0;
    blocks[i].crc = ~std::uint32_t{0};
    blocks[i].physical = i % 2 == 0 ? ~std::uint32_t{0} : 0;
    blocks[i].state = BlockState::data;
    blocks[i].shared = true;
  }
  const ShardValue value(blocks);
  CHECK(value.view().size() > 375);
  ShardBlocks again;
  REQUIRE(decode_shard(value.view(), again));
  CHECK(again == blocks);
}

TEST_CASE("shard: packed and unpacked it is the same, in less memory") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Counted object(seed);
    const std::uint64_t in_use = object.account;
    CHECK(object.is_exact());
    CHECK(object.onode.pack_shards() == kShards / 2);
    CHECK(object.is_exact());
    CHECK(object.account < in_use * 2 / 3);  // random numbers are long ones
    CHECK(object.onode.pack_shards() == 0);
    object.check_all(object.onode);
    CHECK(object.account == in_use);
    CHECK(object.is_exact());
  }
}

TEST_CASE("shard: what a checkpoint has yet to write is not packed") {
  Counted object(1);
  CheckpointSet set;
  set.touch(*object.onode.shard(4));
  set.touch(*object.onode.shard(8));
  Shard* const dirty = object.onode.shard(4);
  CHECK(object.onode.dirty_parts == 2);
  CHECK(object.onode.pack_shards() == kShards / 2 - 2);
  CHECK(object.onode.shard(4) == dirty);
  set.freeze();
  CHECK(object.onode.pack_shards() == 0);
  set.touch(*object.onode.shard(4));  // in the next period already
  while (!set.encode_some(1)) {
  }
  while (!set.finish_some(1)) {
  }
  CHECK(object.onode.pack_shards() == 1);
  clean(set);
  CHECK(object.onode.pack_shards() == 1);
  CHECK(object.onode.dirty_parts == 0);
  object.check_all(object.onode);
}

TEST_CASE("shard: that it has no block is remembered, unless all of the object is known") {
  Onode onode(1, "object", kHead);
  onode.exists = true;
  onode.header.id = 7;
  onode.add_shard(3);
  CHECK(onode.pack_shards() == 1);
  CHECK(onode.knows_shard(3));
  REQUIRE(onode.shard(3) != nullptr);
  CHECK(!has_block(onode.shard(3)->blocks));
  onode.is_whole = true;
  CHECK(onode.pack_shards() == 1);
  CHECK(!onode.knows_shard(3));
  CHECK(onode.shard(3) == nullptr);
}

TEST_CASE("shard: an object rests with some packed and some in use, and wakes") {
  Counted object(2);
  CHECK(object.onode.pack_shards() == kShards / 2);
  for (std::uint32_t index = 0; index < 20; index += 2) object.onode.shard(index);
  object.onode.rest();
  CHECK(object.is_exact());
  CHECK(object.onode.shard_end() == 0);
  object.onode.wake();
  CHECK(object.is_exact());
  object.check_all(object.onode);
}

TEST_CASE("shard: another object takes over packed ones and those that wait") {
  Counted object(3);
  CheckpointSet set;
  set.touch(*object.onode.shard(6));
  CHECK(object.onode.pack_shards() == kShards / 2 - 1);
  Onode other(2, "rbd_data.1.0000", kHead);
  std::uint64_t account = 0;
  other.charge_to(&account);
  other.recharge();
  other.take_over(object.onode);
  CHECK(object.onode.dirty_parts == 0);
  CHECK(other.dirty_parts == 1);
  CHECK(object.is_exact());
  CHECK(account == other.memory_bytes());
  CHECK(object.onode.shard_end() == 0);
  object.check_all(other);
  clean(set);
  CHECK(other.dirty_parts == 0);
}
