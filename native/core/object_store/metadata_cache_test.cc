// What the metadata cache finds, also right after an entry has gone.
#include "object_store/metadata_cache.hh"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>
#include <tuple>

using namespace cairn;
using namespace cairn::object_store;

TEST_CASE("metadata cache: neighbours in all three parts of a key are told apart, in any order") {
  MetadataCache cache(std::uint64_t{1} << 20);
  const ObjectKey keys[] = {
      {1, "object", kHead}, {2, "object", kHead}, {1, "object", 7}, {1, "objects", kHead}};
  Onode* onodes[4];
  for (std::size_t i = 0; i < 4; ++i) onodes[i] = &cache.insert(keys[i]);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t k = 0; k < 4; ++k) {
      CHECK(cache.find(keys[i]) == onodes[i]);
      CHECK(cache.find(keys[k]) == onodes[k]);
    }
  CHECK(cache.find({1, "another", kHead}) == nullptr);
  CHECK(cache.find(keys[0]) == onodes[0]);
}

TEST_CASE("metadata cache: an entry that made room is not found, though it was found last") {
  MetadataCache cache(0);
  const ObjectKey key{1, "object", kHead};
  cache.insert(key);
  REQUIRE(cache.find(key) != nullptr);
  cache.evict();  // takes the mark of its use
  cache.evict();  // lets it rest
  REQUIRE(cache.used_bytes() > 0);
  cache.evict();
  REQUIRE(cache.used_bytes() == 0);
  CHECK(cache.find(key) == nullptr);
  Onode& again = cache.insert(key);
  CHECK(cache.find(key) == &again);
}

TEST_CASE("metadata cache: as a map would, while entries come, go and make the table grow") {
  using Name = std::tuple<keys::Collection, std::string, std::uint64_t>;
  MetadataCache cache(100'000);
  std::map<Name, Onode*> seen;
  std::mt19937_64 random(1);
  std::size_t gone = 0;
  for (int step = 0; step < 20'000; ++step) {
    const Name name{random() % 3, "object " + std::to_string(random() % 500), random() % 2};
    const ObjectKey key{std::get<0>(name), std::get<1>(name), std::get<2>(name)};
    Onode* const found = cache.find(key);
    if (found == nullptr) {
      if (seen.contains(name)) ++gone;
      seen[name] = &cache.insert(key);
    } else {
      REQUIRE(found == seen[name]);
      REQUIRE(found->key() == key);
    }
    cache.evict();
  }
  CHECK(gone > 1000);
  std::size_t left = 0;
  for (const auto& [name, onode] : seen)
    left += cache.find({std::get<0>(name), std::get<1>(name), std::get<2>(name)}) == onode;
  CHECK(left > 100);
}

TEST_CASE("metadata cache: what a checkpoint has cleaned may go before it has cleaned all") {
  MetadataCache cache(0);
  CheckpointSet set;
  constexpr keys::Collection kCollection = 5;
  for (int i = 0; i < 4; ++i) {
    const std::string name = "object " + std::to_string(i);
    Onode& onode = cache.insert({kCollection, name, kHead});
    onode.exists = true;
    set.touch(onode);
  }
  const auto dirty = [&] {
    std::size_t count = 0;
    set.for_each_dirty_of(kCollection, [&](CheckpointEntry& entry) {
      CHECK(entry.group() == kCollection);
      ++count;
    });
    return count;
  };
  set.freeze();
  while (!set.encode_some(1)) {
  }
  CHECK(dirty() == 4);
  REQUIRE(!set.finish_some(1));
  for (int i = 0; i < 10; ++i) cache.evict();
  CHECK(dirty() == 0);  // the region has them
  while (!set.finish_some(1)) {
  }
}

TEST_CASE("metadata cache: of an object that a checkpoint has yet to write, clean shards go") {
  constexpr std::uint64_t kLimit = 2000;
  MetadataCache cache(kLimit);
  CheckpointSet set;
  const ObjectKey key{1, "object", kHead};
  Onode& onode = cache.insert(key);
  onode.exists = onode.is_whole = true;
  onode.header.id = 7;
  constexpr std::uint32_t kShards = 64;
  for (std::uint32_t index = 0; index < kShards; ++index) {
    ShardBlocks& blocks = cache.make_shard(onode, index).blocks;
    for (BlockEntry& block : blocks) block = {.number = index, .crc = 9, .state = BlockState::data};
  }
  set.touch(onode);
  set.touch(*onode.shard(5));
  const auto make_room = [&] {
    for (int i = 0; i < 100; ++i) cache.shrink(1);
  };
  ++onode.pins;
  make_room();
  CHECK(onode.is_whole);
  CHECK(onode.knows_shard(6));
  --onode.pins;
  make_room();
  CHECK(cache.used_bytes() <= kLimit);
  REQUIRE(cache.find(key) == &onode);
  CHECK(!onode.is_whole);
  for (std::uint32_t index = 0; index < kShards; ++index)
    CHECK(onode.knows_shard(index) == (index == 5));
  CHECK(onode.shard(5)->blocks[15].number == 5);
}

TEST_CASE(
    "metadata cache: in a pause what is clean and not in use rests, and comes back as it was") {
  MetadataCache cache(std::uint64_t{1} << 30);
  CheckpointSet set;
  constexpr std::uint32_t kShards = 64;
  const auto key_of = [](const std::string& name) { return ObjectKey{1, name, kHead}; };
  const std::string names[] = {"unused", "used", "dirty", "pinned", "other"};
  for (const std::string& name : names) {
    Onode& onode = cache.insert(key_of(name));
    onode.exists = true;
    onode.is_whole = name == "other";
    for (std::uint32_t index = 0; index < kShards; index += 2)
      for (BlockEntry& block : cache.make_shard(onode, index).blocks)
        block = {.number = index, .crc = 9, .state = BlockState::data};
    cache.find(key_of(name));
  }
  set.touch(*cache.find(key_of("dirty"))->shard(2));
  ++cache.find(key_of("pinned"))->pins;
  const auto look_at_all = [&cache] {
    // Shards count as looks, and an object is always finished.
    for (std::size_t left = cache.awake_count(); left > 0;) left -= cache.rest_unused(1);
  };
  look_at_all();  // takes the marks
  const std::uint64_t awake_bytes = cache.used_bytes();
  cache.find(key_of("used"));
  look_at_all();
  CHECK(cache.awake_count() == 3);
  CHECK(cache.used_bytes() < awake_bytes * 3 / 4);
  look_at_all();
  CHECK(cache.awake_count() == 2);
  for (const std::string& name : names) {
    CAPTURE(name);
    Onode* const onode = cache.find(key_of(name));
    REQUIRE(onode != nullptr);
    CHECK(onode->is_whole == (name == "other"));
    for (std::uint32_t index = 0; index < kShards; ++index) {
      REQUIRE(onode->knows_shard(index) == (index % 2 == 0));
      if (index % 2 == 0) CHECK(onode->shard(index)->blocks[15].number == index);
    }
  }
  CHECK(cache.awake_count() == 5);
  --cache.find(key_of("pinned"))->pins;
}
