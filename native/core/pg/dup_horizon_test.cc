// What is remembered of requests beyond the log, and what becomes of a resend from before that.
#include "pg/dup_horizon.hh"

#include "base/planted_bug.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

net::LogEntry entry_of(ClientId client, std::uint64_t sequence, std::uint64_t number) {
  return {{1, number}, {client, sequence}, "o", false};
}

// Many small changes by the first client, some at a time.
void fill_log(SimOsds& cluster, int count) {
  if (count > 100) {
    fill_log(cluster, 100);
    return fill_log(cluster, count - 100);
  }
  int answered = 0;
  for (int i = 0; i < count; ++i) {
    cluster.submit("filler", {{StepCode::touch, 0, 0, {}, {}}}, {},
                   [&answered](Status status, net::OpReply, Buffer) {
                     CHECK(status.to_string() == "ok");
                     ++answered;
                   });
  }
  cluster.run_until([&answered, count] { return answered == count; });
}

// A change of another client whose answer is lost; it then knows nothing of the OSDs any more.
SimClient change_and_lose_answer(SimOsds& cluster, const std::string& object) {
  SimClient lost = cluster.add_client(78);
  const auto before = cluster.osds[0]->core->find_pg(kTestPg)->log().head_number();
  // The connection needs both ways: it is made before the cut takes the answers.
  const auto first = watch(*lost.objecter, "greeting", {{StepCode::touch, 0, 0, {}, {}}});
  cluster.run_until([&first] { return first->answered; });
  cluster.network->partition("osd0", "client78");
  watch(*lost.objecter, object, {{StepCode::omap_set, 0, 0, "k", "first"}});
  cluster.run_until([&cluster, before] {
    return cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == before + 2;
  });
  return lost;
}

std::string value_of(SimOsds& cluster, const std::string& object) {
  const net::OpReply reply = cluster.operate(object, {{StepCode::omap_get, 0, 0, "k", {}}}, {});
  return reply.omap.empty() ? "" : reply.omap[0].second;
}

}  // namespace

TEST_CASE("dup horizon: up to a client's floor a request may have been applied, above not") {
  DupHorizon horizon;
  horizon.trimmed(entry_of(7, 20, 1));
  horizon.trimmed(entry_of(7, 10, 2));
  horizon.trimmed(entry_of(0, 99, 3));  // not of a client
  for (const bool resent : {false, true}) {
    CHECK(horizon.may_have_been_applied({7, 10}, resent));
    CHECK(horizon.may_have_been_applied({7, 20}, resent));
    CHECK_FALSE(horizon.may_have_been_applied({7, 21}, resent));
    CHECK_FALSE(horizon.may_have_been_applied({8, 1}, resent));
    CHECK_FALSE(horizon.may_have_been_applied({0, 1}, resent));
  }
}

TEST_CASE("dup horizon: what a client waits for no more has been answered, in this interval") {
  DupHorizon horizon;
  CHECK_FALSE(horizon.was_answered({7, 1}));
  horizon.heard(7, 20);
  horizon.heard(7, 10);  // sent before
  CHECK(horizon.was_answered({7, 19}));
  CHECK_FALSE(horizon.was_answered({7, 20}));
  CHECK_FALSE(horizon.was_answered({8, 1}));
  horizon.start_interval();
  CHECK_FALSE(horizon.was_answered({7, 19}));
}

TEST_CASE("dup horizon: when too many clients are known the oldest goes, and that is remembered") {
  DupHorizon horizon;
  const std::uint64_t given_up = hits_of("pg_dup_floor_given_up");
  for (std::uint64_t i = 1; i <= DupHorizon::kMaxClients; ++i) horizon.trimmed(entry_of(i, 5, i));
  CHECK_FALSE(horizon.has_given_up());
  CHECK_FALSE(horizon.may_have_been_applied({999'999, 1}, true));
  horizon.trimmed(entry_of(1, 6, 100'000));  // client 1 is young again
  horizon.trimmed(entry_of(888'888, 1, 100'001));
  CHECK(horizon.has_given_up());
  CHECK(hits_of("pg_dup_floor_given_up") == given_up + 1);
  CHECK(horizon.may_have_been_applied({1, 6}, false));
  // Client 2 went: what it sends again can't be told from something new, except by its own word.
  CHECK(horizon.may_have_been_applied({2, 5}, true));
  CHECK_FALSE(horizon.may_have_been_applied({2, 6}, false));
}

TEST_CASE("dup horizon: encoded and decoded it knows the same; anything malformed is refused") {
  DupHorizon horizon;
  for (std::uint64_t i = 1; i <= 3; ++i) horizon.trimmed(entry_of(i, 5 * i, i));
  const std::vector<std::byte> bytes = horizon.encode();
  auto decoded = DupHorizon::decode(bytes);
  REQUIRE(decoded.is_ok());
  CHECK(decoded->encode() == bytes);
  CHECK(decoded->may_have_been_applied({3, 15}, false));
  DupHorizon merged;
  merged.trimmed(entry_of(3, 20, 9));
  merged.merge(*decoded);
  CHECK(merged.may_have_been_applied({3, 20}, false));
  CHECK(merged.may_have_been_applied({1, 5}, false));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    CHECK_FALSE(DupHorizon::decode(ByteSpan(bytes).first(length)).is_ok());
  }
  std::vector<std::byte> twice = bytes;
  std::copy_n(bytes.begin() + 5, 24, twice.begin() + 5 + 24);  // one client two times
  CHECK_FALSE(DupHorizon::decode(twice).is_ok());
}

TEST_CASE("dup horizon: a resend from before the log is refused, also by the next primary") {
  for (const bool restarts : {false, true}) {
    INFO("restarts ", restarts);
    SimOsds cluster(restarts ? 80 : 81);
    cluster.new_interval({0, 1, 2});
    SimClient lost = change_and_lose_answer(cluster, "a");
    CHECK(value_of(cluster, "a") == "first");
    cluster.operate("a", {{StepCode::omap_set, 0, 0, "k", "second"}}, {});
    fill_log(cluster, static_cast<int>(Pg::kMaxLogEntries) + 400);
    if (restarts) {
      cluster.kill(1);
      cluster.restart(1);
    }
    cluster.new_interval({1, 2});
    cluster.network->heal_all();
    // The same client, the same requests: 1 was the greeting, 2 the lost change.
    lost.objecter->cancel_all(Status(ErrorCode::canceled, "over"));
    lost = cluster.add_client(78);
    const auto greeting = watch(*lost.objecter, "b", {{StepCode::touch, 0, 0, {}, {}}});
    const auto again = watch(*lost.objecter, "a", {{StepCode::omap_set, 0, 0, "k", "first"}});
    cluster.run_until([&] { return greeting->answered && again->answered; });
    const bool applies = planted(PlantedBug::no_dedup);
    CHECK(again->status.code() == (applies ? ErrorCode::ok : ErrorCode::too_old));
    CHECK(value_of(cluster, "a") == (applies ? "first" : "second"));
    // What it never sent before is taken.
    const auto fresh = watch(*lost.objecter, "a", {{StepCode::omap_set, 0, 0, "k", "third"}});
    cluster.run_until([&fresh] { return fresh->answered; });
    CHECK(fresh->status.is_ok());
  }
}

TEST_CASE("dup horizon: what a client may still resend stays in the log, up to a limit") {
  SimOsds cluster(82);
  cluster.new_interval({0, 1, 2});
  SimClient lost = change_and_lose_answer(cluster, "a");
  const PgLog& log = cluster.osds[0]->core->find_pg(kTestPg)->log();
  fill_log(cluster, 2000);
  CHECK(log.tail_number() == 0);
  CHECK(log.find(RequestId{78, 2}) != nullptr);
  fill_log(cluster, 2000);
  CHECK(log.size() <= Pg::kMaxLogEntries + Pg::kLogEntriesKept / 8 + 1);
  CHECK(log.find(RequestId{78, 2}) == nullptr);
}

TEST_CASE("dup horizon: a log that a client held goes on when the client is heard again") {
  SimOsds cluster(84);
  cluster.new_interval({0, 1, 2});
  const auto change = [&cluster](SimClient& client) {
    const auto answer = watch(*client.objecter, "b", {{StepCode::touch, 0, 0, {}, {}}});
    cluster.run_until([&answer] { return answer->answered; });
    CHECK(answer->status.is_ok());
  };
  SimClient quiet = cluster.add_client(79);
  change(quiet);
  const PgLog& log = cluster.osds[0]->core->find_pg(kTestPg)->log();
  // The newest entry of one who is not heard any more is held: it may not have got the answer.
  fill_log(cluster, static_cast<int>(Pg::kLogEntriesKept) + 300);
  CHECK(log.tail_number() == 0);
  change(quiet);
  fill_log(cluster, 1);
  const std::uint64_t step = Pg::kLogEntriesKept / 8;
  CHECK(log.tail_number() >= step);
  CHECK(log.size() <= Pg::kLogEntriesKept + step);
  // In the next interval nobody is known to hold anything.
  fill_log(cluster, static_cast<int>(Pg::kLogEntriesKept) + 300);
  cluster.new_interval({0, 1, 2});
  fill_log(cluster, 1);
  CHECK(log.size() <= Pg::kLogEntriesKept + step);
}

TEST_CASE("dup horizon: a log that replaces another one brings its horizon along") {
  SimOsds cluster(83);
  cluster.new_interval({0, 1});
  change_and_lose_answer(cluster, "a").objecter->cancel_all(Status(ErrorCode::canceled, "over"));
  cluster.operate("a", {{StepCode::omap_set, 0, 0, "k", "second"}}, {});
  fill_log(cluster, static_cast<int>(Pg::kMaxLogEntries) + 400);
  // osd.2 has nothing: its log starts at the end of osd.0's.
  const Pg& full = *cluster.osds[0]->core->find_pg(kTestPg);
  auto horizon = DupHorizon::decode(full.horizon().encode());
  REQUIRE(horizon.is_ok());
  cluster.begin_interval({2});
  Activation activation;
  activation.interval = cluster.epoch;
  activation.reset_log = true;
  activation.log_base = full.log().head();
  activation.rewind_to = activation.log_base.number;
  activation.horizon = std::move(*horizon);
  cluster.osds[2]->core->activate(kTestPg, std::move(activation));
  cluster.run_until([&] { return cluster.osds[2]->activated_interval == cluster.epoch; });
  cluster.kill(2);
  cluster.restart(2);
  const Pg* copy = cluster.osds[2]->core->find_pg(kTestPg);
  REQUIRE(copy != nullptr);
  CHECK(copy->horizon().may_have_been_applied({78, 2}, true));
  CHECK_FALSE(copy->horizon().may_have_been_applied({78, 3}, true));
  CHECK(copy->horizon().encode() == full.horizon().encode());
}

}  // namespace cairn::pg
