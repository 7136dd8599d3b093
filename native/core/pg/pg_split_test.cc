// Splits: what parent and child have afterwards, on every copy, and when somebody interrupts them.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "crush/object_hash.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

namespace {

using net::StepCode;

std::string name_of(int index) { return "object" + std::to_string(index); }

std::uint32_t seed_of(const std::string& object, std::uint32_t pg_num) {
  return crush::object_name_hash(as_bytes(object)) & (pg_num - 1);
}

// Of the objects whose names count up, the one behind `after` that the PG gets.
int index_in(std::uint32_t seed, std::uint32_t pg_num, int after = -1) {
  int index = after + 1;
  while (seed_of(name_of(index), pg_num) != seed) ++index;
  return index;
}

ErrorCode write(SimOsds& cluster, const net::Fence& fence, const std::string& object, int value) {
  return cluster
      .operate_fenced(fence, object, {{StepCode::write, 0, kBlockBytes, {}, {}}}, block_of(value))
      .code();
}

int read(SimOsds& cluster, const std::string& object) {
  Buffer data;
  CHECK(cluster.operate_fenced({}, object, {{StepCode::read, 0, kBlockBytes, {}, {}}}, {}, &data)
            .is_ok());
  return data.size() == 0 ? -1 : static_cast<int>(*data.data());
}

std::vector<std::string> listed(SimOsds& cluster, OsdId osd, PgId pg) {
  std::optional<std::vector<std::string>> names;
  cluster.osds[osd]->store->list(pg, std::nullopt, 10000,
                                 [&](Status status, std::vector<object_store::ListedObject> found) {
                                   CHECK(status.is_ok());
                                   names.emplace();
                                   for (const auto& object : found)
                                     names->push_back(object.id.name);
                                 });
  cluster.run_until([&] { return names.has_value(); });
  return *names;
}

void check_divided(SimOsds& cluster, OsdId osd, int objects) {
  std::size_t count = 0;
  for (std::uint32_t seed = 0; seed < cluster.pg_num; ++seed) {
    const PgId pg{kTestPg.pool, seed};
    const Pg* found = cluster.osds[osd]->core->find_pg(pg);
    REQUIRE(found != nullptr);
    CHECK(found->pg_num() == cluster.pg_num);
    for (const std::string& name : listed(cluster, osd, pg)) {
      if (name == kFenceObject) continue;
      CHECK(seed_of(name, cluster.pg_num) == seed);
      CHECK(found->owns(name));
      ++count;
    }
  }
  CHECK(count == static_cast<std::size_t>(objects));
}

// A PG with objects 0..count-1, each with its index as value.
void fill(SimOsds& cluster, int count) {
  cluster.new_interval({0, 1, 2});
  for (int i = 0; i < count; ++i) CHECK(write(cluster, {}, name_of(i), i % 250) == ErrorCode::ok);
}

void split(SimOsds& cluster, std::uint32_t pg_num, const std::vector<OsdId>& acting = {0, 1, 2}) {
  cluster.pg_num = pg_num;
  cluster.new_interval(acting);
  for (std::uint32_t seed = 1; seed < pg_num; ++seed) cluster.activate_child({kTestPg.pool, seed});
}

// What an OSD tells its core when a map raises the number of PGs.
void tell_split(SimOsds& cluster, std::uint32_t pg_num) {
  OsdCore& core = *cluster.osds[0]->core;
  ++cluster.epoch;
  for (std::uint32_t seed = 0; seed < pg_num; ++seed) core.set_pg_num({kTestPg.pool, seed}, pg_num);
  for (std::uint32_t seed = 0; seed < pg_num; ++seed) {
    const PgId pg{kTestPg.pool, seed};
    core.start_interval(pg, IntervalSpec{cluster.epoch, {0}, 1, Role::primary, pg_num});
  }
}

void run_for(SimOsds& cluster, std::uint64_t us) {
  const std::uint64_t until_ns = cluster.executor.now_ns() + us * 1000;
  cluster.run_until([&] { return cluster.executor.now_ns() >= until_ns; });
}

// As fill(), and osd.0 is the only one that is left.
void fill_alone(SimOsds& cluster, int count) {
  fill(cluster, count);
  cluster.kill(1);
  cluster.kill(2);
  cluster.new_interval({0});
}

}  // namespace

TEST_CASE("split: each copy has its objects where they belong, and serves them") {
  SimOsds cluster(60);
  fill(cluster, 40);
  split(cluster, 2);
  for (OsdId osd = 0; osd < 3; ++osd) check_divided(cluster, osd, 40);
  for (int i = 0; i < 40; ++i) CHECK(read(cluster, name_of(i)) == i % 250);
  for (int i = 0; i < 40; ++i) CHECK(write(cluster, {}, name_of(i), 7) == ErrorCode::ok);
  for (int i = 0; i < 40; ++i) CHECK(read(cluster, name_of(i)) == 7);
}

TEST_CASE("split: from 1 to 8 at once, with more objects than a page") {
  SimOsds cluster(61);
  fill(cluster, 300);
  split(cluster, 8);
  for (OsdId osd = 0; osd < 3; ++osd) check_divided(cluster, osd, 300);
  for (int i = 0; i < 300; i += 20) CHECK(read(cluster, name_of(i)) == i % 250);
}

TEST_CASE("split: twice, and the divided copies come back from their disks") {
  SimOsds cluster(62);
  fill(cluster, 30);
  split(cluster, 2);
  for (OsdId osd = 0; osd < 3; ++osd) cluster.kill(osd);
  for (OsdId osd = 0; osd < 3; ++osd) cluster.restart(osd);
  for (OsdId osd = 0; osd < 3; ++osd) check_divided(cluster, osd, 30);
  split(cluster, 4);
  for (OsdId osd = 0; osd < 3; ++osd) check_divided(cluster, osd, 30);
  for (int i = 0; i < 30; ++i) CHECK(read(cluster, name_of(i)) == i);
}

TEST_CASE("split: the child has the log, so it knows the requests of before") {
  SimOsds cluster(63);
  fill(cluster, 20);
  const PgLog before = cluster.osds[1]->core->find_pg(kTestPg)->log();
  split(cluster, 2);
  for (const std::uint32_t seed : {0U, 1U}) {
    const PgLog& log = cluster.osds[1]->core->find_pg({kTestPg.pool, seed})->log();
    CHECK(log.head() == before.head());
    CHECK(log.tail_number() == before.tail_number());
    for (const net::LogEntry& entry : before.entries_after(before.tail_number(), before.size()))
      CHECK(log.find(entry.request) != nullptr);
  }
  // What both do next has its own numbers.
  const int childs = index_in(1, 2);
  CHECK(write(cluster, {}, name_of(childs), 9) == ErrorCode::ok);
  const auto head = [&](std::uint32_t seed) {
    return cluster.osds[0]->core->find_pg({kTestPg.pool, seed})->log().head_number();
  };
  CHECK(head(1) == before.head_number() + 1);
  CHECK(head(0) == before.head_number());
}

TEST_CASE("split: a child refuses the token that its parent has refused, on each copy") {
  const std::vector<std::vector<OsdId>> orders = {{0, 1, 2}, {1, 0, 2}, {2, 1, 0}};
  for (const std::vector<OsdId>& acting : orders) {
    SimOsds cluster(64);
    cluster.new_interval({0, 1, 2});
    CHECK(write(cluster, {"image", 1}, name_of(0), 1) == ErrorCode::ok);
    CHECK(write(cluster, {"image", 2}, name_of(0), 2) == ErrorCode::ok);
    split(cluster, 2, acting);
    for (const std::uint32_t seed : {0U, 1U}) {
      const std::string object = name_of(index_in(seed, 2));
      CHECK(write(cluster, {"image", 1}, object, 3) == ErrorCode::fenced);
      CHECK(write(cluster, {"image", 2}, object, 4) == ErrorCode::ok);
      const std::string tokens = cluster.digest(acting[1], kFenceObject);
      CHECK(tokens.find("image=") != std::string::npos);
    }
  }
}

TEST_CASE("split: a copy that was down while the token rose refuses the old one in the child") {
  SimOsds cluster(65);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, {"image", 1}, name_of(0), 1) == ErrorCode::ok);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  CHECK(write(cluster, {"image", 2}, name_of(0), 2) == ErrorCode::ok);
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&] { return cluster.clean(); });
  split(cluster, 2, {2, 1, 0});
  CHECK(write(cluster, {"image", 1}, name_of(index_in(1, 2)), 3) == ErrorCode::fenced);
}

TEST_CASE("split: what a copy lacks is divided too, and the tokens are lacking in both") {
  SimOsds cluster(66);
  fill(cluster, 20);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  const int mine = index_in(0, 2), childs = index_in(1, 2);
  CHECK(write(cluster, {"image", 1}, name_of(mine), 201) == ErrorCode::ok);
  CHECK(write(cluster, {}, name_of(childs), 202) == ErrorCode::ok);
  cluster.restart(2);
  // It gets the log, but no recovery runs: it lacks three objects when it is split.
  cluster.begin_interval({0, 1, 2});
  cluster.cut_between("osd0", "osd2");
  cluster.cut_between("osd1", "osd2");
  Activation lacks;
  const PgLog& good = cluster.osds[0]->core->find_pg(kTestPg)->log();
  const std::uint64_t own = cluster.osds[2]->core->find_pg(kTestPg)->log().head_number();
  lacks.interval = cluster.epoch;
  lacks.rewind_to = own;
  lacks.entries = good.entries_after(own, 1000);
  for (const net::LogEntry& entry : lacks.entries)
    lacks.missing.push_back({entry.object, {entry.version, false}});
  cluster.osds[2]->core->activate(kTestPg, std::move(lacks));
  cluster.run_until([&] { return cluster.osds[2]->activated_interval == cluster.epoch; });
  OsdCore& core = *cluster.osds[2]->core;
  core.set_pg_num(kTestPg, 2);
  core.start_interval(kTestPg, IntervalSpec{cluster.epoch + 1, {0, 1, 2}, 1, Role::replica, 2});
  cluster.run_until([&] { return cluster.osds[2]->started_interval == cluster.epoch + 1; });
  const auto names = [&](std::uint32_t seed) {
    std::vector<std::string> found;
    for (const auto& [name, missing] : core.find_pg({kTestPg.pool, seed})->missing())
      found.push_back(name);
    return found;
  };
  CHECK(names(0) == std::vector<std::string>{kFenceObject, name_of(mine)});
  CHECK(names(1) == std::vector<std::string>{kFenceObject, name_of(childs)});
  // And so it is on the disk.
  cluster.kill(2);
  cluster.restart(2);
  const Pg* child = cluster.osds[2]->core->find_pg({kTestPg.pool, 1});
  REQUIRE(child != nullptr);
  CHECK(child->missing().size() == 2);
  CHECK(cluster.osds[2]->core->find_pg(kTestPg)->missing().size() == 2);
}

TEST_CASE("split: what scrubs have found is known of both, also after a restart") {
  SimOsds cluster(75);
  fill(cluster, 10);
  cluster.osds[0]->core->set_scrub_record(kTestPg, cluster.epoch, "two bad objects");
  run_for(cluster, 10'000);
  split(cluster, 4);
  for (const bool restarts : {false, true}) {
    if (restarts) cluster.kill(1);
    if (restarts) cluster.restart(1);
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
      const Pg* pg = cluster.osds[1]->core->find_pg({kTestPg.pool, seed});
      REQUIRE(pg != nullptr);
      CHECK(pg->scrub_record() == "two bad objects");
    }
  }
}

TEST_CASE("split: the promise of a lease that the parent gave is the child's") {
  SimOsds cluster(67);
  fill(cluster, 2);
  CHECK(read(cluster, name_of(0)) == 0);
  cluster.pg_num = 2;
  cluster.begin_interval({1, 2});
  const PgInfo child = cluster.osds[1]->core->find_pg({kTestPg.pool, 1})->info();
  CHECK(child.lease_holder == 0);
  CHECK(child.lease_remaining_ns > 100 * kMillisecond);
}

TEST_CASE("split: interrupted anywhere it is gone on with, and a child begun is no PG") {
  std::size_t half_made = 0;
  // A split of so many takes several pages, and about 4 ms here.
  constexpr int kObjects = 200;
  for (std::uint64_t after_us = 0; after_us < 4000; after_us += 200) {
    SimOsds cluster(68);
    fill(cluster, kObjects);
    cluster.kill(1);
    cluster.kill(2);
    cluster.new_interval({0});
    cluster.osds[0]->core->set_pg_num(kTestPg, 4);
    ++cluster.epoch;
    cluster.osds[0]->core->start_interval(kTestPg, {cluster.epoch, {0}, 1, Role::primary, 4});
    const std::uint64_t until_ns = cluster.executor.now_ns() + after_us * 1000;
    cluster.run_until([&] { return cluster.executor.now_ns() >= until_ns; });
    cluster.kill(0);
    cluster.restart(0);
    const PgId child{kTestPg.pool, 1};
    if (cluster.osds[0]->core->find_pg(child) == nullptr && !listed(cluster, 0, child).empty())
      ++half_made;
    split(cluster, 4, {0});
    check_divided(cluster, 0, kObjects);
    CHECK(read(cluster, name_of(kObjects - 1)) == kObjects - 1);
  }
  CHECK(half_made > 0);
}

TEST_CASE("split: the children of a parent that is gone are removed when they were half made") {
  SimOsds cluster(69);
  fill(cluster, 10);
  SimOsd& osd = *cluster.osds[0];
  object_store::Transaction half;
  half.pg_meta_set({kTestPg.pool, 3}, kHalfMadeKey, {});
  bool done = false;
  osd.store->submit(std::move(half), [&](const Status&) { done = true; });
  cluster.run_until([&] { return done; });
  cluster.kill(0);
  cluster.restart(0);
  cluster.kill(0);
  cluster.restart(0);
  auto pgs = cluster.osds[0]->store->load_pgs();
  REQUIRE(pgs.is_ok());
  CHECK(std::none_of(pgs->begin(), pgs->end(),
                     [](const object_store::PgSnapshot& pg) { return pg.pg.seed == 3; }));
}

TEST_CASE("split: raised again and again before it is over, and once more by a restart") {
  for (std::uint64_t after_us = 0; after_us < 4000; after_us += 300) {
    for (const bool restarts : {false, true}) {
      SimOsds cluster(70);
      fill_alone(cluster, 200);
      tell_split(cluster, 2);
      run_for(cluster, after_us);
      tell_split(cluster, 8);
      run_for(cluster, after_us / 2);
      if (restarts) {
        cluster.kill(0);
        cluster.restart(0);
      }
      split(cluster, 16, {0});
      check_divided(cluster, 0, 200);
      CHECK(read(cluster, name_of(199)) == 199);
    }
  }
}

TEST_CASE("split: a pool that is removed while its PGs split leaves nothing") {
  for (std::uint64_t after_us = 0; after_us < 4000; after_us += 150) {
    SimOsds cluster(71);
    fill_alone(cluster, 200);
    tell_split(cluster, 4);
    run_for(cluster, after_us);
    // Children first or parents first.
    for (std::uint32_t at = 0; at < 4; ++at) {
      const std::uint32_t seed = after_us % 300 == 0 ? at : 3 - at;
      cluster.osds[0]->core->remove_pg({kTestPg.pool, seed});
      run_for(cluster, 30);
    }
    run_for(cluster, 500'000);
    auto pgs = cluster.osds[0]->store->load_pgs();
    REQUIRE(pgs.is_ok());
    CHECK(pgs->empty());
    CHECK(cluster.osds[0]->core->pg_statuses().empty());
  }
}

TEST_CASE("split: a PG that is removed before it is made takes nothing of the others along") {
  const std::uint64_t before = hits_of("pg_removed_behind_a_split");
  for (const std::uint32_t removed : {0U, 1U, 3U}) {
    for (std::uint64_t after_us = 0; after_us < 3000; after_us += 400) {
      SimOsds cluster(73);
      fill_alone(cluster, 200);
      tell_split(cluster, 4);
      run_for(cluster, after_us);
      OsdCore& core = *cluster.osds[0]->core;
      const PgId gone{kTestPg.pool, removed};
      core.remove_pg(gone);
      run_for(cluster, 500'000);
      CHECK(core.find_pg(gone) == nullptr);
      for (std::uint32_t seed = 0; seed < 4; ++seed) {
        std::size_t wanted = 0;
        for (int i = 0; i < 200; ++i) wanted += seed_of(name_of(i), 4) == seed ? 1 : 0;
        const PgId pg{kTestPg.pool, seed};
        CHECK(listed(cluster, 0, pg).size() == (seed == removed ? 0 : wanted));
      }
      // It may come here anew, with nothing of before.
      core.start_interval(gone, IntervalSpec{cluster.epoch + 1, {0}, 1, Role::primary, 4});
      run_for(cluster, 1000);
      REQUIRE(core.find_pg(gone) != nullptr);
      CHECK(core.find_pg(gone)->info().last_update == Version{});
    }
  }
  CHECK(hits_of("pg_removed_behind_a_split") > before);
}

TEST_CASE("split: a PG that is removed before it is made, and comes here anew meanwhile") {
  for (const std::uint32_t seed : {0U, 2U}) {
    SimOsds cluster(74);
    fill_alone(cluster, 200);
    tell_split(cluster, 4);
    OsdCore& core = *cluster.osds[0]->core;
    const PgId pg{kTestPg.pool, seed};
    core.remove_pg(pg);
    core.start_interval(pg, IntervalSpec{cluster.epoch + 1, {0}, 1, Role::primary, 4});
    run_for(cluster, 500'000);
    REQUIRE(core.find_pg(pg) != nullptr);
    CHECK(core.find_pg(pg)->spec().interval == cluster.epoch + 1);
    CHECK(core.find_pg(pg)->info().last_update == Version{});
    CHECK(listed(cluster, 0, pg).empty());
  }
}

TEST_CASE("split: a copy that was never activated, so that the store does not have it yet") {
  SimOsds cluster(72);
  tell_split(cluster, 1);
  run_for(cluster, 1000);
  split(cluster, 8, {0});
  check_divided(cluster, 0, 0);
  CHECK(write(cluster, {}, name_of(5), 5) == ErrorCode::ok);
  cluster.kill(0);
  cluster.restart(0);
  split(cluster, 8, {0});
  CHECK(read(cluster, name_of(5)) == 5);
}

}  // namespace cairn::pg
