// Recovery of objects that are large, in blocks or in key-values, over links that break.
#include <cstring>

#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

void write(SimOsds& cluster, const std::string& object, std::uint64_t offset, std::size_t length,
           int value) {
  Buffer data = Buffer::allocate(length);
  std::memset(data.data(), value, length);
  cluster.operate(object, {{StepCode::write, offset, length, {}, {}}}, data);
}

// Three values of 1 MiB: several parts of a push.
void write_large_omap(SimOsds& cluster, const std::string& object) {
  const std::string value(net::kMaxOmapValueBytes - 1, 'v');
  for (int i = 0; i < 3; ++i) {
    cluster.operate(object, {{StepCode::omap_set, 0, 0, "key" + std::to_string(i), value}}, {});
  }
}

void check_copies(SimOsds& cluster, const std::string& object) {
  const std::string expected = cluster.digest(0, object);
  CHECK(expected.starts_with("exists"));
  CHECK(cluster.digest(1, object) == expected);
  CHECK(cluster.digest(2, object) == expected);
}

}  // namespace

TEST_CASE("pg: key-values beyond one reply are refused; a list has the asked length") {
  SimOsds cluster(20);
  cluster.new_interval({0, 1, 2});
  write_large_omap(cluster, "directory");
  Status status;
  std::vector<Step> gets;
  for (int i = 0; i < 9; ++i) gets.push_back({StepCode::omap_get, 0, 0, "key1", ""});
  cluster.operate("directory", gets, {}, &status);
  CHECK(status.code() == ErrorCode::too_large);
  const net::OpReply page =
      cluster.operate("directory", {{StepCode::omap_list, 0, 1, "key", "key0"}}, {});
  REQUIRE(page.omap.size() == 1);
  CHECK(page.omap[0].first == "key1");
}

TEST_CASE("pg: key-values beyond one part are recovered, before and beside the blocks") {
  SimOsds cluster(21);
  cluster.new_interval({0, 1, 2});
  cluster.kill(2);
  cluster.new_interval({0, 1});
  write_large_omap(cluster, "directory");
  write(cluster, "directory", 0, 3 << 20, 1);
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&cluster] { return cluster.clean(); });
  check_copies(cluster, "directory");
}

TEST_CASE("pg: links that break during recovery leave equal copies, and newer writes stay") {
  for (std::uint64_t seed = 30; seed < 36; ++seed) {
    INFO("seed ", seed);
    SimOsds cluster(seed);
    cluster.new_interval({0, 1, 2});
    cluster.kill(2);
    cluster.new_interval({0, 1});
    for (int i = 0; i < 4; ++i) write(cluster, "object" + std::to_string(i), 0, 4 << 20, 1);
    cluster.restart(2);
    net::SimNetworkConfig network;
    network.resets_per_million = 50'000;
    cluster.network->set_config(network);
    cluster.new_interval({0, 1, 2});
    int answered = 0;
    for (int i = 0; i < 32; ++i) {
      Buffer data = Buffer::allocate(kBlockBytes);
      std::memset(data.data(), 100 + i, kBlockBytes);
      const auto offset = kBlockBytes * 31U * static_cast<unsigned>(i);
      cluster.submit("object" + std::to_string(i % 4),
                     {{StepCode::write, offset, kBlockBytes, {}, {}}}, data,
                     [&answered](Status status, net::OpReply, Buffer) {
                       CHECK(status.to_string() == "ok");
                       ++answered;
                     });
    }
    cluster.run_until([&] { return answered == 32 && cluster.clean(); });
    cluster.network->set_config({});
    cluster.executor.run_for(1'000'000'000);
    for (int i = 0; i < 4; ++i) check_copies(cluster, "object" + std::to_string(i));
  }
}

TEST_CASE("pg: what a client waits for is recovered first, also while recovery is paused") {
  constexpr int kObjects = 20;
  SimOsds cluster(70);
  cluster.new_interval({0, 1, 2});
  cluster.kill(2);
  cluster.new_interval({0, 1});
  for (int i = 0; i < kObjects; ++i) {
    write(cluster, "object" + std::to_string(10 + i), 0, kBlockBytes, 1);
  }
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  cluster.osds[0]->core->set_recovery(kTestPg, cluster.epoch, 0);
  cluster.executor.run_for(5 * kSecond);
  const auto& missing = cluster.osds[2]->core->find_pg(kTestPg)->missing();
  const std::size_t before = missing.size();
  REQUIRE(before >= kObjects - 4);
  // The last by name; its write is answered when this one alone is whole.
  write(cluster, "object29", 0, kBlockBytes, 2);
  CHECK(missing.size() == before - 1);
  CHECK_FALSE(missing.contains("object29"));
  cluster.osds[0]->core->set_recovery(kTestPg, cluster.epoch, 4);
  cluster.run_until([&cluster] { return cluster.clean(); });
  check_copies(cluster, "object29");
}

TEST_CASE("pg: an object whose source goes down is fetched from the next one") {
  SimOsds cluster(50);
  cluster.new_interval({0, 1, 2});
  write(cluster, "object", 0, kBlockBytes, 1);
  const std::vector<OsdId> acting{0, 1, 2};
  const Epoch interval = ++cluster.epoch;
  for (const OsdId id : acting) {
    OsdCore& core = *cluster.osds[id]->core;
    core.start_interval(kTestPg, {interval, acting, 1, id == 0 ? Role::primary : Role::replica});
    core.set_map_epoch(interval);
  }
  cluster.run_until([&] { return cluster.osds[0]->started_interval == interval; });
  // OSD 0 leads and lacks the object; 1 is asked for it first, and does not answer any more.
  OsdCore& primary = *cluster.osds[0]->core;
  Activation activation;
  activation.interval = interval;
  activation.rewind_to = primary.find_pg(kTestPg)->log().head_number();
  activation.missing = {{"object", {}}};
  activation.sources = {1, 2};
  primary.activate(kTestPg, std::move(activation));
  cluster.run_until([&] { return cluster.osds[0]->activated_interval == interval; });
  cluster.network->freeze("osd1");
  primary.go_active(kTestPg, interval);
  primary.set_recovery(kTestPg, interval, 4);
  cluster.executor.run_for(1'000'000'000);
  REQUIRE(primary.find_pg(kTestPg)->missing().size() == 1);
  primary.set_peers({{2, {"osd2", 6800}, cluster.osds[2]->incarnation}});
  cluster.run_until([&] { return primary.find_pg(kTestPg)->missing().empty(); });
  CHECK(cluster.digest(0, "object") == cluster.digest(2, "object"));
}

TEST_CASE("pg: a copy that dies in the middle of an object still knows that it lacks it") {
  SimOsds cluster(40);
  cluster.new_interval({0, 1, 2});
  write(cluster, "object", 0, 4 << 20, 1);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  write(cluster, "object", 0, 4 << 20, 2);
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  const object_store::Counters& counters = cluster.osds[2]->store->counters();
  const std::uint64_t before = counters.transactions;
  cluster.run_until([&] { return counters.transactions > before; });
  REQUIRE_FALSE(cluster.clean());
  cluster.kill(2);
  cluster.restart(2);
  const auto& missing = cluster.osds[2]->core->find_pg(kTestPg)->missing();
  REQUIRE(missing.size() == 1);
  // It knows which version: that of the second write.
  CHECK(missing.at("object") == Missing{{2, 2}, false});
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&cluster] { return cluster.clean(); });
  check_copies(cluster, "object");
}

}  // namespace cairn::pg
