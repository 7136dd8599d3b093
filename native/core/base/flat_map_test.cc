// FlatMap beside std::map, with keys that crowd.
#include "base/flat_map.hh"

#include <doctest/doctest.h>

#include <map>
#include <random>

namespace cairn {

namespace {

// All keys want one of three places.
struct PoorHash {
  std::size_t operator()(std::uint64_t key) const { return key % 3; }
};

template <typename Hash>
void compare_with_map(std::uint64_t keys, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  FlatMap<std::uint64_t, std::uint64_t, Hash> flat;
  std::map<std::uint64_t, std::uint64_t> expected;
  for (std::uint64_t step = 0; step < 20'000; ++step) {
    const std::uint64_t key = random() % keys;
    // It fills up and empties in turn.
    const bool erases = random() % 100 < (step / 2000 % 2 == 0 ? 30U : 70U);
    if (erases) {
      REQUIRE(flat.erase(key) == (expected.erase(key) == 1));
    } else {
      flat[key] += step;
      expected[key] += step;
    }
    REQUIRE(flat.size() == expected.size());
    const std::uint64_t asked = random() % keys;
    const auto found = expected.find(asked);
    const std::uint64_t* const value = flat.find(asked);
    REQUIRE((value != nullptr) == (found != expected.end()));
    if (value != nullptr) REQUIRE(*value == found->second);
  }
  std::map<std::uint64_t, std::uint64_t> visited;
  flat.for_each(
      [&](std::uint64_t key, std::uint64_t value) { REQUIRE(visited.emplace(key, value).second); });
  REQUIRE(visited == expected);
}

}  // namespace

TEST_CASE("flat map: does what a map does, also when keys want the same places") {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    compare_with_map<std::hash<std::uint64_t>>(500, seed);
    compare_with_map<PoorHash>(24, seed);
  }
}

TEST_CASE("flat map: what was erased or cleared begins anew") {
  FlatMap<std::uint64_t, int> flat;
  CHECK(flat.find(0) == nullptr);
  CHECK(!flat.erase(0));
  flat[0] = 7;
  CHECK(flat.erase(0));
  CHECK(flat[0] == 0);
  flat[1] = 8;
  flat.clear();
  CHECK(flat.empty());
  CHECK(flat.find(1) == nullptr);
  CHECK(flat[1] == 0);
}

}  // namespace cairn
