// Snap sets: which layer a snapshot shows, when a clone is made, what a trim takes, and the bytes.
#include "pg/snapset.hh"

#include <doctest/doctest.h>

#include "io/random.hh"

namespace cairn::pg {

namespace {

using Layer = std::optional<std::uint64_t>;
constexpr Layer kAbsent = std::nullopt;

// Snapshots 2, 3 and 5 in clone 5, snapshot 8 in clone 9; 4, 7 and 9 have been removed.
SnapSet some_set() { return {.seq = 11, .whiteout = {}, .clones = {{5, {2, 3, 5}}, {9, {8}}}}; }

std::vector<std::uint64_t> served_by(const SnapSet& set, std::uint64_t id) {
  for (const SnapSet::Clone& clone : set.clones)
    if (clone.id == id) return clone.snaps;
  return {};
}

}  // namespace

TEST_CASE("snap set: which layer a snapshot shows") {
  const SnapSet set = some_set();
  const std::vector<std::pair<std::uint64_t, Layer>> table = {
      {1, kAbsent},  {2, 5},       {3, 5},        {4, kAbsent}, {5, 5},
      {6, kAbsent},  {7, kAbsent}, {8, 9},        {9, kAbsent}, {10, kAbsent},
      {11, kAbsent}, {12, kHead},  {kHead, kHead}};
  for (const auto& row : table) {
    INFO(row.first);
    CHECK(set.resolve(row.first) == row.second);
  }
  CHECK(SnapSet{}.resolve(1) == Layer(kHead));
}

TEST_CASE("snap set: the first change after a snapshot makes a clone, the next one none") {
  SnapSet set;
  SnapChange change = prepare_change(set, {4, {4, 2}}, true, {});
  CHECK(change.clone == 4);
  CHECK(change.changed);
  CHECK(set.seq == 4);
  CHECK(served_by(set, 4) == std::vector<std::uint64_t>{2, 4});
  change = prepare_change(set, {4, {4, 2}}, true, {});
  CHECK(change.clone == 0);
  CHECK_FALSE(change.changed);
  // Only the snapshots that are newer than the last change.
  change = prepare_change(set, {9, {9, 7, 4, 2}}, true, {});
  CHECK(change.clone == 9);
  CHECK(served_by(set, 9) == std::vector<std::uint64_t>{7, 9});
}

TEST_CASE("snap set: an object that did not exist is in no older snapshot") {
  SnapSet set;
  const SnapChange change = prepare_change(set, {4, {4, 2}}, false, {});
  CHECK(change.changed);
  CHECK(change.clone == 0);
  CHECK(set.resolve(4) == kAbsent);
  CHECK(set.resolve(5) == Layer(kHead));
}

TEST_CASE("snap set: removed snapshots count as not there, an old context changes nothing") {
  SnapSet set;
  SnapChange change = prepare_change(set, {6, {6, 5}}, true, {5});
  CHECK(change.clone == 6);
  CHECK(served_by(set, 6) == std::vector<std::uint64_t>{6});
  change = prepare_change(set, {8, {8, 7}}, true, {7, 8});
  CHECK(change.clone == 0);
  CHECK(change.changed);
  CHECK(set.seq == 8);
  change = prepare_change(set, {7, {7}}, true, {});
  CHECK_FALSE(change.changed);
  CHECK(set.seq == 8);
  CHECK_FALSE(prepare_change(set, {}, true, {}).changed);
}

TEST_CASE("snap set: a trim takes snapshots, then clones that serve none, then a lone whiteout") {
  SnapSet set = some_set();
  SnapTrim trimmed = trim(set, true, {1, 4, 10});
  CHECK_FALSE(trimmed.changed);
  trimmed = trim(set, true, {2, 5});
  CHECK(trimmed.changed);
  CHECK(trimmed.clones.empty());
  CHECK(served_by(set, 5) == std::vector<std::uint64_t>{3});
  CHECK(set.resolve(3) == Layer(5));
  trimmed = trim(set, false, {3});
  CHECK(trimmed.clones == std::vector<std::uint64_t>{5});
  CHECK_FALSE(trimmed.head_goes);
  SnapSet of_head = set;
  CHECK_FALSE(trim(of_head, true, {8}).head_goes);
  trimmed = trim(set, false, {8});
  CHECK(trimmed.clones == std::vector<std::uint64_t>{9});
  CHECK(trimmed.head_goes);
  CHECK(set.seq == 11);
}

TEST_CASE("snap set: a whiteout ends with the head's next version") {
  SnapSet set = some_set();
  CHECK(head_exists(set, true, {}));
  CHECK_FALSE(head_exists(set, false, {3, 7}));
  set.whiteout = {3, 7};
  CHECK_FALSE(head_exists(set, true, {3, 7}));
  CHECK(head_exists(set, true, {3, 8}));
}

TEST_CASE("snap set: the bytes") {
  CHECK(encode_snap_set(SnapSet{}) == std::string("\1\0\0\0\0", 5));
  SnapSet set = some_set();
  set.whiteout = {3, 300};
  CHECK(encode_snap_set(set) == std::string("\1\x0b\3\xac\2\2"
                                            "\5\3\2\1\2"
                                            "\4\1\3",
                                            14));
  CHECK(decode_snap_set(encode_snap_set(set)).value() == set);
  CHECK(decode_snap_set("").value() == SnapSet{});
}

TEST_CASE("snap set: what breaks a rule is refused") {
  const auto refused = [](const std::string& bytes) {
    return decode_snap_set(bytes).status().code() == ErrorCode::corrupt;
  };
  const std::string good = encode_snap_set(some_set());
  for (std::size_t length = 1; length < good.size(); ++length)
    CHECK(refused(good.substr(0, length)));
  CHECK(refused(good + '\0'));
  CHECK(refused("\2\1\0\0\0"));
  CHECK_FALSE(refused(std::string("\1\3\0\0\1\3\1\2", 8)));
  CHECK(refused(std::string("\1\2\0\0\1\3\1\2", 8)));         // a clone above seq
  CHECK(refused(std::string("\1\3\0\0\1\3\1\4", 8)));         // it serves what is newer than itself
  CHECK(refused(std::string("\1\3\0\0\1\3\0", 7)));           // it serves nothing
  CHECK(refused(std::string("\1\3\0\0\1\3\2\2\0", 9)));       // the same snapshot twice
  CHECK(refused(std::string("\1\3\0\0\2\3\1\2\0\1\1", 11)));  // the same clone twice
  std::string huge("\1\3\0\0", 4);
  huge += "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1";
  CHECK(refused(huge));
}

TEST_CASE("snap set: as many snapshots as a context can have fit the store's attribute") {
  io::Random random(3);
  SnapSet set;
  std::uint64_t id = std::uint64_t{1} << 40;
  std::vector<std::uint64_t> snaps;
  for (std::size_t i = 0; i < net::kMaxContextSnaps; ++i) {
    id += 1 + (random.next() >> 12);
    snaps.insert(snaps.begin(), id);
    CHECK(prepare_change(set, {id, snaps}, true, {}).clone == id);
  }
  const std::string bytes = encode_snap_set(set);
  CHECK(bytes.size() <= net::kMaxSnapSetBytes);
  CHECK(decode_snap_set(bytes).value() == set);
  for (const std::uint64_t snap : snaps) CHECK(set.resolve(snap) == Layer(snap));
}

}  // namespace cairn::pg
