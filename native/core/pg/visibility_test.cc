// What may be shown when: a read waits for each write that it overlaps, for the activation of all
// members, and an operation of an older interval is carried out nowhere.
#include <algorithm>
#include <cstring>

#include "base/planted_bug.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

const Step kWriteFirstBlock{StepCode::write, 0, kBlockBytes, {}, {}};

void write(SimOsds& cluster, const std::string& object, int value) {
  cluster.operate(object, {kWriteFirstBlock}, block_of(value));
}

// One of each step that shows something of the object.
std::vector<Step> reading_steps() {
  return {{StepCode::read, 0, kBlockBytes, {}, {}}, {StepCode::extents, 0, kBlockBytes, {}, {}},
          {StepCode::stat, 0, 0, {}, {}},           {StepCode::assert_exists, 0, 0, {}, {}},
          {StepCode::assert_absent, 0, 0, {}, {}},  {StepCode::omap_get, 0, 0, "k", {}},
          {StepCode::omap_list, 0, 9, {}, {}},      {StepCode::omap_compare, 0, 0, "k", "v"}};
}

std::vector<std::shared_ptr<Watched>> read_all_ways(SimOsds& cluster, const std::string& object) {
  std::vector<std::shared_ptr<Watched>> watched;
  for (const Step& step : reading_steps())
    watched.push_back(watch(*cluster.client, object, {step}));
  return watched;
}

std::size_t answered(const std::vector<std::shared_ptr<Watched>>& operations) {
  return static_cast<std::size_t>(std::count_if(operations.begin(), operations.end(),
                                                [](const auto& one) { return one->answered; }));
}

}  // namespace

TEST_CASE("visibility: whatever reads an object waits for the write that it overlaps") {
  SimOsds cluster(70);
  cluster.new_interval({0, 1, 2});
  write(cluster, "a", 1);
  cluster.operate("other", {{StepCode::omap_set, 0, 0, "k", "v"}}, {});
  const auto lease = watch_read(*cluster.client, "a");
  cluster.run_until([&lease] { return lease->answered; });
  // From here on nothing can be replicated; the lease lasts a while.
  cluster.cut_between("osd0", "osd2");
  const auto creation = watch(*cluster.client, "new", {{StepCode::omap_set, 0, 0, "k", "v"}});
  const auto change = watch(*cluster.client, "a", {kWriteFirstBlock}, block_of(2));
  const Step far{StepCode::write, 5 * kBlockBytes, kBlockBytes, {}, {}};
  const auto far_creation = watch(*cluster.client, "far", {far}, block_of(2));
  cluster.executor.run_for(2 * kMillisecond);
  const auto stat_of_far = watch(*cluster.client, "far", {{StepCode::stat, 0, 0, {}, {}}});
  const auto of_new = read_all_ways(cluster, "new");
  const auto of_other = read_all_ways(cluster, "other");
  const auto beside =
      watch(*cluster.client, "a", {{StepCode::read, kBlockBytes, kBlockBytes, {}, {}}});
  const auto overlapping = watch_read(*cluster.client, "a");
  cluster.executor.run_for(50 * kMillisecond);
  CHECK_FALSE(creation->answered);
  CHECK_FALSE(change->answered);
  CHECK(answered(of_new) == 0);
  // Also a change of other blocks shows in whether the object exists.
  CHECK_FALSE(far_creation->answered);
  CHECK_FALSE(stat_of_far->answered);
  CHECK_FALSE(overlapping->answered);
  // It is the writes that they wait for, not the lease.
  CHECK(answered(of_other) == of_other.size());
  CHECK(beside->answered);
  cluster.network->heal_all();
  cluster.run_until([&] { return answered(of_new) == of_new.size() && overlapping->answered; });
  CHECK(overlapping->value == 2);
  for (std::size_t i = 0; i < of_new.size(); ++i) {
    const bool absent = reading_steps()[i].code == StepCode::assert_absent;
    CHECK(of_new[i]->status.code() == (absent ? ErrorCode::already_exists : ErrorCode::ok));
  }
}

// osd.0 leads with a cold cache: of the object "a" (1 MiB of ones) only what a read of its first
// block needs is loaded.
void start_cold(SimOsds& cluster) {
  cluster.new_interval({0, 1, 2});
  Buffer large = Buffer::allocate(1 << 20);
  std::memset(large.data(), 1, large.size());
  cluster.operate("a", {{StepCode::write, 0, large.size(), {}, {}}}, large);
  cluster.kill(0);
  cluster.restart(0);
  cluster.new_interval({0, 1, 2});
  const auto first = watch_read(*cluster.client, "a");
  cluster.run_until([&first] { return first->answered; });
}

TEST_CASE("visibility: a read shows nothing of a write that began while the store was reading") {
  std::uint64_t met = 0;
  for (std::uint64_t seed = 100; seed < 110; ++seed) {
    INFO("seed ", seed);
    SimOsds cluster(seed);
    start_cold(cluster);
    cluster.cut_between("osd0", "osd2");
    const std::uint64_t before = hits_of("pg_read_met_write");
    const auto whole = watch(*cluster.client, "a", {{StepCode::read, 0, 1 << 20, {}, {}}});
    const auto change = watch(*cluster.client, "a", {kWriteFirstBlock}, block_of(2));
    cluster.executor.run_for(50 * kMillisecond);
    CHECK_FALSE(change->answered);
    // Either the read was over before the write began, or it waits for it.
    const bool has_met = hits_of("pg_read_met_write") > before;
    CHECK(whole->answered == !has_met);
    if (has_met) ++met;
    cluster.network->heal_all();
    cluster.run_until([&] { return whole->answered && change->answered; });
    CHECK(whole->value == (has_met ? 2 : 1));
  }
  CHECK(met > 0);
}

TEST_CASE("visibility: nothing is shown or acked before all members have activated") {
  SimOsds cluster(72);
  cluster.new_interval({0, 1, 2});
  cluster.operate("a", {kWriteFirstBlock, {StepCode::omap_set, 0, 0, "k", "v"}}, block_of(1));
  cluster.begin_interval({1, 0});
  const auto reads = read_all_ways(cluster, "a");
  const auto change = watch(*cluster.client, "b", {kWriteFirstBlock}, block_of(2));
  cluster.executor.run_for(5 * kSecond);
  CHECK(answered(reads) == 0);
  CHECK_FALSE(change->answered);
  cluster.finish_interval();
  cluster.run_until([&] { return answered(reads) == reads.size() && change->answered; });
}

TEST_CASE("visibility: an operation that was sent in an older interval is refused") {
  SimOsds cluster(73);
  cluster.new_interval({0, 1, 2});
  SimClient behind = cluster.add_client(78);
  cluster.new_interval({0, 1});
  const auto change = watch(*behind.objecter, "a", {kWriteFirstBlock}, block_of(2));
  const auto read = watch_read(*behind.objecter, "a");
  cluster.executor.run_for(kSecond);
  CHECK(change->answered == planted(PlantedBug::stale_interval_op));
  CHECK(read->answered == planted(PlantedBug::stale_interval_op));
}

TEST_CASE("visibility: a replica takes nothing of a primary of an older interval") {
  SimOsds cluster(74);
  cluster.new_interval({0, 1, 2});
  write(cluster, "a", 1);
  SimClient behind = cluster.add_client(78);
  cluster.cut_off(0);
  cluster.new_interval({1, 2});
  const auto change = watch(*behind.objecter, "a", {kWriteFirstBlock}, block_of(2));
  cluster.executor.run_for(kSecond);
  CHECK_FALSE(change->answered);
  CHECK(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == 2);
  CHECK(cluster.osds[1]->core->find_pg(kTestPg)->log().head_number() == 1);
  CHECK(cluster.osds[2]->core->find_pg(kTestPg)->log().head_number() == 1);
  const bool takes = planted(PlantedBug::stale_interval_op);
  CHECK((cluster.digest(1, "a") == cluster.digest(2, "a")) == !takes);
}

TEST_CASE("visibility: an interval is reported only when what was submitted before is durable") {
  SimOsds cluster(75);
  cluster.new_interval({0, 1, 2});
  std::vector<std::shared_ptr<Watched>> writes;
  for (int i = 0; i < 20; ++i) {
    writes.push_back(watch(*cluster.client, "a", {kWriteFirstBlock}, block_of(i)));
  }
  const Pg& pg = *cluster.osds[0]->core->find_pg(kTestPg);
  cluster.run_until([&pg] { return pg.log().head_number() >= 3; });
  REQUIRE(cluster.osds[0]->store->counters().pending_transactions > 0);
  cluster.begin_interval({0, 1, 2});
  CHECK(cluster.osds[0]->store->counters().pending_transactions == 0);
  const Version reported = cluster.osds[0]->info.last_update;
  cluster.executor.run_for(kSecond);
  CHECK(pg.info().last_update == reported);
}

}  // namespace cairn::pg
