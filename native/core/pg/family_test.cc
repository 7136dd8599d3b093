// What snapshots add to a change, and the cache of families.
#include <doctest/doctest.h>

#include "pg/family_cache.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

const Step kWrite{StepCode::write, 0, kBlockBytes, {}, {}};
const Step kRemove{StepCode::remove, 0, 0, {}, {}};
const Step kRestore{StepCode::restore_head, 4, 0, {}, {}};
const net::SnapContext kSeven{7, {7, 4}};

Family with_clone_4(bool head) { return {{.seq = 4, .whiteout = {}, .clones = {{4, {4}}}}, head}; }
Family never_snapshotted() { return {{}, true}; }

}  // namespace

TEST_CASE("family: the first change under a newer context clones the head and notes the context") {
  const FamilyPlan plan = plan_change(with_clone_4(true), {kWrite}, kSeven, {});
  CHECK(plan.clone == 7);
  CHECK(plan.writes_set);
  CHECK(plan.after->head);
  CHECK(plan.after->set.clones.size() == 2);
  const FamilyPlan again = plan_change(*plan.after, {kWrite}, kSeven, {});
  CHECK(again.clone == 0);
  CHECK_FALSE(again.writes_set);
}

TEST_CASE("family: what a removal leaves") {
  // No clone, before or now: nothing.
  FamilyPlan plan = plan_change(never_snapshotted(), {kRemove}, {}, {});
  CHECK(plan.clone == 0);
  CHECK_FALSE(plan.writes_set);
  CHECK(*plan.after == Family{});
  // A clone is made by it: a whiteout.
  plan = plan_change(never_snapshotted(), {kRemove}, kSeven, {});
  CHECK(plan.clone == 7);
  CHECK(plan.writes_set);
  CHECK_FALSE(plan.after->head);
  // The clone of a snapshot that is removed is not made.
  plan = plan_change(never_snapshotted(), {kRemove}, kSeven, {4, 7});
  CHECK(plan.clone == 0);
  CHECK_FALSE(plan.writes_set);
  // There is a clone already, and no context.
  plan = plan_change(with_clone_4(true), {kRemove}, {}, {});
  CHECK(plan.writes_set);
  CHECK_FALSE(plan.after->head);
  CHECK(plan.after->set.clones.size() == 1);
  // A whiteout, again.
  plan = plan_change(with_clone_4(false), {kRemove}, kSeven, {});
  CHECK(plan.clone == 0);
  CHECK(plan.writes_set);
  CHECK_FALSE(plan.after->head);
  // Nothing was there.
  plan = plan_change({}, {kRemove}, kSeven, {});
  CHECK(plan.clone == 0);
  CHECK_FALSE(plan.writes_set);
}

TEST_CASE("family: what the store forgets with the head is written again") {
  FamilyPlan plan = plan_change(with_clone_4(true), {kRemove, kWrite}, {}, {});
  CHECK(plan.writes_set);
  CHECK(plan.after->head);
  CHECK(plan.after->set == with_clone_4(true).set);
  plan = plan_change(with_clone_4(false), {kRestore}, kSeven, {});
  CHECK(plan.clone == 0);
  CHECK(plan.writes_set);
  CHECK(plan.after->head);
  CHECK(plan.after->set.seq == 7);
  CHECK_FALSE(plan_change(never_snapshotted(), {kRemove, kWrite}, {}, {}).writes_set);
}

TEST_CASE("family: a new object notes the context, so that no older snapshot shows it") {
  const FamilyPlan plan = plan_change({}, {kWrite}, kSeven, {});
  CHECK(plan.clone == 0);
  CHECK(plan.writes_set);
  CHECK(plan.after->resolve(4) == std::nullopt);
  CHECK(plan.after->resolve(8) == std::optional(kHead));
}

TEST_CASE("family: a rollback does what makes the head what the snapshot shows") {
  CHECK_FALSE(rollback_step(never_snapshotted(), 4).has_value());
  CHECK_FALSE(rollback_step(with_clone_4(true), 5).has_value());
  CHECK(rollback_step(with_clone_4(true), 4)->code == StepCode::restore_head);
  CHECK(rollback_step(with_clone_4(false), 4)->offset == 4);
  CHECK(rollback_step(with_clone_4(true), 3)->code == StepCode::remove);
  CHECK_FALSE(rollback_step(with_clone_4(false), 3).has_value());
  CHECK_FALSE(rollback_step(with_clone_4(false), 5).has_value());
  CHECK_FALSE(rollback_step({}, 5).has_value());
}

TEST_CASE("family: the cache forgets what was used least lately, and keeps to its size") {
  FamilyCache cache;
  Family large = never_snapshotted();
  std::vector<std::uint64_t> snaps;
  for (std::uint64_t snap = 1; snap <= 500; ++snap) snaps.push_back(snap);
  large.set = {.seq = 500, .whiteout = {}, .clones = {{500, snaps}}};
  cache.put("used", large);
  for (int i = 0; i < 1000; ++i) {
    cache.put("object" + std::to_string(i), i % 2 == 0 ? large : Family{});
    REQUIRE(cache.find("used") != nullptr);
    CHECK(cache.used_bytes() <= FamilyCache::kMaxBytes);
  }
  CHECK(*cache.find("used") == large);
  CHECK(cache.find("object0") == nullptr);
  CHECK_FALSE(cache.find("object999")->head);
  cache.head_written("object999");
  cache.head_written("object0");
  CHECK(cache.find("object999")->head);
  CHECK(cache.find("object0") == nullptr);
  cache.forget("used");
  CHECK(cache.find("used") == nullptr);
  cache.clear();
  CHECK(cache.used_bytes() == 0);
  CHECK(cache.find("object999") == nullptr);
}

}  // namespace cairn::pg
