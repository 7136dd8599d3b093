// What the metadata cache finds, also right after an entry has gone.
#include "object_store/metadata_cache.hh"

#include <doctest/doctest.h>

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
