// Runs of removed snapshots, against sets of ids.
#include "pg/removed_snaps.hh"

#include <doctest/doctest.h>

#include <set>

#include "base/ids.hh"
#include "io/random.hh"

namespace cairn::pg {

TEST_CASE("removed snapshots: runs that touch are one") {
  RemovedSnaps removed{7, 3, 5};
  CHECK(removed.runs() == 3);
  CHECK_FALSE(removed.contains(4));
  removed.insert(4);
  CHECK(removed.runs() == 2);
  removed.insert_run(6, 9);
  CHECK(removed.runs() == 1);
  CHECK(removed.size() == 7);
  CHECK(removed.contains(3));
  CHECK(removed.contains(9));
  CHECK_FALSE(removed.contains(2));
  CHECK_FALSE(removed.contains(10));
  // The head is no snapshot.
  removed.insert_run(20, kHead);
  CHECK(removed.size() == 7);
}

TEST_CASE("removed snapshots: as a set of ids") {
  io::Random random(5);
  for (int round = 0; round < 200; ++round) {
    RemovedSnaps removed;
    std::set<std::uint64_t> model;
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t first = random.below(60);
      const std::uint64_t last = first + random.below(8);
      removed.insert_run(first, last);
      for (std::uint64_t id = first; id <= last; ++id) model.insert(id);
      REQUIRE(removed.size() == model.size());
      for (std::uint64_t id = 0; id < 70; ++id) REQUIRE(removed.contains(id) == model.contains(id));
    }
    std::size_t runs = 0;
    for (const std::uint64_t id : model) runs += id == 0 || !model.contains(id - 1) ? 1 : 0;
    REQUIRE(removed.runs() == runs);
  }
}

}  // namespace cairn::pg
