// Watchers and notifications: the table by itself, then through an objecter.
#include "pg/watch.hh"

#include "objecter/watch_client.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

Watcher watcher(ClientId client, std::uint64_t seen_ns) {
  return {client, "lock", client * 10, "somebody", 10 * kSecondNs, seen_ns};
}

Step watch_step(std::uint64_t timeout_ms) {
  return {StepCode::watch, 0, timeout_ms, "lock", "host1 pid 7"};
}

std::vector<std::pair<std::string, std::string>> list(SimOsds& cluster) {
  return cluster.operate("header", {{StepCode::list_watchers, 0, 0, {}, {}}}, {}).omap;
}

}  // namespace

TEST_CASE("watch table: a watch lasts for its timeout from its last renewal") {
  WatchTable table;
  CHECK(*table.watch("o", watcher(1, 0)));
  CHECK_FALSE(*table.watch("o", watcher(1, 9 * kSecondNs)));
  CHECK(table.watchers("o", 19 * kSecondNs).size() == 1);
  CHECK(table.watchers("other", 19 * kSecondNs).empty());
  CHECK(table.watchers("o", 19 * kSecondNs + 1).empty());
  CHECK(*table.watch("o", watcher(1, 20 * kSecondNs)));
  table.unwatch("o", 1, "another cookie");
  CHECK(table.watchers("o", 20 * kSecondNs).size() == 1);
  table.unwatch("o", 1, "lock");
  CHECK(table.watchers("o", 20 * kSecondNs).empty());
  CHECK(*table.watch("o", watcher(1, 0)));
  table.restart_timeouts(100 * kSecondNs);
  CHECK(table.watchers("o", 105 * kSecondNs).size() == 1);
}

TEST_CASE("watch table: a notification ends when all have answered, or its time is over") {
  WatchTable table;
  std::vector<NotifyAnswer> answers;
  int ended = 0;
  const auto done = [&](std::vector<NotifyAnswer> all) {
    answers = std::move(all);
    ++ended;
  };
  const std::vector<Watcher> both = {watcher(1, 0), watcher(2, 0)};
  auto id = table.begin_notify(both, done);
  REQUIRE(id.is_ok());
  table.acknowledge(*id, 2, "lock", "two");
  table.acknowledge(*id, 2, "lock", "again");
  table.acknowledge(*id, 3, "lock", "stranger");
  table.acknowledge(*id + 1, 1, "lock", "another notification");
  CHECK(ended == 0);
  table.acknowledge(*id, 1, "lock", "one");
  REQUIRE(ended == 1);
  CHECK(answers[0].reply == "one");
  CHECK(answers[1].reply == "two");
  id = table.begin_notify(both, done);
  table.acknowledge(*id, 1, "lock", "one");
  table.end_notify(*id);
  table.end_notify(*id);
  REQUIRE(ended == 2);
  CHECK(answers[0].reply == "one");
  CHECK_FALSE(answers[1].reply.has_value());
  id = table.begin_notify({}, done);
  CHECK(ended == 3);
}

TEST_CASE("watch table: all watches of a client are forgotten, and no other's") {
  WatchTable table;
  for (const char* object : {"o", "p"}) {
    for (const ClientId client : {1U, 2U}) CHECK(*table.watch(object, watcher(client, 0)));
  }
  CHECK(*table.watch("q", watcher(1, 0)));
  table.forget_client(1);
  for (const char* object : {"o", "p"}) {
    const std::vector<Watcher> left = table.watchers(object, 0);
    REQUIRE(left.size() == 1);
    CHECK(left[0].client == 2);
  }
  CHECK(table.watchers("q", 0).empty());
}

TEST_CASE("watch table: it is bounded") {
  WatchTable table;
  for (ClientId client = 1; client <= WatchTable::kMaxWatchersPerObject; ++client) {
    REQUIRE(table.watch("o", watcher(client, 0)).is_ok());
  }
  CHECK(table.watch("o", watcher(1000, 0)).status().code() == ErrorCode::busy);
  CHECK(table.watch("o", watcher(1, 0)).is_ok());
  // Those whose time is over make room.
  CHECK(table.watch("o", watcher(1000, 11 * kSecondNs)).is_ok());
}

TEST_CASE("watch: a watcher is listed with its age, and is notified and answers") {
  SimOsds cluster(70);
  cluster.new_interval({0, 1, 2});
  CHECK(cluster.operate("header", {watch_step(10'000)}, {}).omap.front().second == "new");
  CHECK(cluster.operate("header", {watch_step(10'000)}, {}).omap.front().second == "renewed");
  const auto watchers = list(cluster);
  REQUIRE(watchers.size() == 2);
  CHECK(watchers[0].first.empty());
  CHECK(watchers[1].first == "000000000000004d/lock");
  CHECK(watchers[1].second.ends_with("host1 pid 7"));
  cluster.client->on_notify([&cluster](net::ConnectionId connection, net::WatchNotify notify) {
    CHECK(notify.payload == "hello");
    cluster.client->answer_notify(
        connection, {notify.pg, notify.notify_id, notify.object, notify.cookie, "reply"});
  });
  const auto answers =
      cluster.operate("header", {{StepCode::notify, 0, 5'000, {}, "hello"}}, {}).omap;
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].first == "000000000000004d/lock");
  CHECK(answers[0].second == "\1reply");
}

TEST_CASE("watch: a watcher that does not answer holds a notification up to its timeout only") {
  SimOsds cluster(71);
  cluster.new_interval({0, 1, 2});
  cluster.operate("header", {watch_step(10'000)}, {});
  cluster.client->on_notify([](net::ConnectionId, const net::WatchNotify&) {});
  const std::uint64_t before = cluster.executor.now_ns();
  const auto answers =
      cluster.operate("header", {{StepCode::notify, 0, 3'000, {}, "hello"}}, {}).omap;
  CHECK(cluster.executor.now_ns() - before >= 3 * kSecondNs);
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].second == std::string(1, '\0'));
}

TEST_CASE("watch: a client on the blocklist watches nothing any more") {
  SimOsds cluster(73);
  cluster.new_interval({0, 1, 2});
  cluster.operate("header", {watch_step(10'000)}, {});
  CHECK(list(cluster).size() == 2);
  for (const std::vector<ClientId>& blocked :
       {std::vector<ClientId>{77}, std::vector<ClientId>{}}) {
    for (auto& [id, osd] : cluster.osds) osd->core->set_blocklist(blocked);
  }
  CHECK(list(cluster).size() == 1);
}

TEST_CASE("watch: it ends without renewal, and a new primary knows its age, not its watchers") {
  SimOsds cluster(72);
  cluster.new_interval({0, 1, 2});
  cluster.operate("header", {watch_step(2'000)}, {});
  CHECK(list(cluster).size() == 2);
  cluster.new_interval({1, 0, 2});
  const auto watchers = list(cluster);
  REQUIRE(watchers.size() == 1);
  Reader age(as_bytes(watchers[0].second));
  CHECK(age.get<std::uint64_t>() < 2'000);
  cluster.operate("header", {watch_step(2'000)}, {});
  // An interval with the same primary keeps them.
  cluster.new_interval({1, 2, 0});
  CHECK(list(cluster).size() == 2);
  const std::uint64_t until = cluster.executor.now_ns() + 2 * kSecondNs + 1;
  cluster.executor.run_after(2 * kSecondNs + 2, [] {});
  cluster.run_until([&] { return cluster.executor.now_ns() >= until; });
  CHECK(list(cluster).size() == 1);
}

TEST_CASE("watch client: it registers, renews over a change of the primary, answers, and ends") {
  SimOsds cluster(73);
  cluster.new_interval({0, 1, 2});
  std::string trace;
  objecter::WatchEvents events;
  objecter::WatchClient* watches = nullptr;
  events.on_notify = [&](objecter::WatchId id, std::uint64_t answer, const std::string& payload) {
    trace += "notify" + std::to_string(id) + payload + " ";
    watches->answer(answer, "soon");
  };
  events.on_lapse = [&trace](objecter::WatchId id) { trace += "lapse" + std::to_string(id) + " "; };
  events.on_end = [&trace](objecter::WatchId, const Status& why) {
    trace += why.to_string() + " ";
  };
  objecter::WatchClient client(cluster.executor, *cluster.client, events);
  watches = &client;
  Status outcome;
  bool answered = false;
  const auto done = [&](Status status) {
    outcome = std::move(status);
    answered = true;
  };
  const auto pass = [&cluster](std::uint64_t time_ns) {
    const std::uint64_t until = cluster.executor.now_ns() + time_ns;
    cluster.executor.run_after(time_ns, [] {});
    cluster.run_until([&] { return cluster.executor.now_ns() >= until; });
  };
  client.watch(1, {kTestPg.pool, "header", "lock", "host1 pid 7", 2'000}, done);
  cluster.run_until([&answered] { return answered; });
  CHECK(outcome.code() == ErrorCode::not_found);
  cluster.operate("header", {{StepCode::touch, 0, 0, {}, {}}}, {});
  answered = false;
  client.watch(2, {kTestPg.pool, "header", "lock", "host1 pid 7", 2'000}, done);
  cluster.run_until([&answered] { return answered; });
  CHECK(outcome.is_ok());
  pass(5 * kSecondNs);
  CHECK(list(cluster).size() == 2);
  cluster.new_interval({1, 0, 2});
  pass(kSecondNs);
  CHECK(list(cluster).size() == 2);
  const auto answers = cluster.operate("header", {{StepCode::notify, 0, 5'000, {}, "hi"}}, {}).omap;
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].second == "\1soon");
  CHECK(trace == "notify2hi ");
  // The cluster is away for longer than the timeout: others may have counted us for dead.
  for (OsdId osd = 0; osd < 3; ++osd) cluster.kill(osd);
  pass(3 * kSecondNs);
  for (OsdId osd = 0; osd < 3; ++osd) cluster.restart(osd);
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&trace] { return trace == "notify2hi lapse2 "; });
  answered = false;
  client.unwatch(2, done);
  cluster.run_until([&answered] { return answered; });
  CHECK(list(cluster).size() == 1);
}

}  // namespace cairn::pg
