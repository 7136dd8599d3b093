// Heartbeats in virtual time: who is reported, when, and who is not.
#include "pg/heartbeat.hh"

#include <doctest/doctest.h>

#include <set>

#include "io/sim_executor.hh"

namespace cairn::pg {

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

// A clock that can jump ahead of the timers, as that of a process that was stopped (SIGSTOP, a
// paused virtual machine).
class StoppableExecutor final : public io::Executor {
 public:
  std::uint64_t now_ns() const override { return inner.now_ns() + stopped_ns; }
  void post(io::Task task) override { inner.post(std::move(task)); }
  io::TimerId run_after(std::uint64_t delay_ns, io::Task task) override {
    return inner.run_after(delay_ns, std::move(task));
  }
  void cancel(io::TimerId id) override { inner.cancel(id); }

  io::SimExecutor inner;
  std::uint64_t stopped_ns = 0;
};

struct Report {
  std::uint64_t at_ns = 0;
  OsdId osd = kNoOsd;
  std::uint64_t incarnation = 0;
  std::string reason;
};

struct Host final : HeartbeatHost {
  StoppableExecutor clock;
  std::vector<Report> reports;
  std::vector<OsdId> recovered;
  std::set<OsdId> answering;  // those whose pong comes a millisecond later
  net::Ping answer;
  std::uint64_t pings = 0;
  Heartbeat heartbeat{*this};

  io::Executor& executor() override { return clock; }
  net::Ping current_ping() override { return {clock.now_ns(), 1, 0, 0}; }
  void send_ping(OsdId osd, const net::Ping& ping) override {
    ++pings;
    if (!answering.contains(osd)) return;
    net::Ping pong = answer;
    pong.sent_ns = ping.sent_ns;
    clock.run_after(1'000'000, [this, osd, pong] { heartbeat.on_pong(osd, 50, pong); });
  }
  void peer_failed(OsdId osd, std::uint64_t incarnation, const std::string& reason) override {
    reports.push_back({clock.now_ns(), osd, incarnation, reason});
  }
  void peer_recovered(OsdId osd, std::uint64_t incarnation) override {
    CHECK(incarnation == 50);
    recovered.push_back(osd);
  }

  void watch(const std::vector<OsdId>& osds) {
    std::vector<Peer> peers;
    for (const OsdId osd : osds) peers.push_back({osd, {}, 50});
    heartbeat.set_peers(peers);
  }
};

}  // namespace

TEST_CASE("heartbeat: a peer that answers is not reported, and its round trip is known") {
  Host host;
  host.answering = {1};
  host.watch({1});
  host.clock.inner.run_for(60 * kSecondNs);
  CHECK(host.reports.empty());
  CHECK(host.pings >= 239);
  CHECK(host.pings <= 240);
  CHECK(host.heartbeat.round_trip_ns(1) == 1'000'000);
  CHECK(host.heartbeat.round_trip_ns(2) == 0);
}

TEST_CASE("heartbeat: a silent peer is reported within grace and an interval, then again") {
  Host host;
  host.answering = {1, 2};
  host.watch({1, 2});
  host.clock.inner.run_for(10 * kSecondNs);
  host.answering = {1};
  const std::uint64_t silent_since = host.clock.now_ns();
  host.clock.inner.run_for(2 * Heartbeat::kGraceNs);
  REQUIRE(host.reports.size() == 1);
  CHECK(host.reports[0].osd == 2);
  CHECK(host.reports[0].incarnation == 50);
  CHECK(host.reports[0].reason == "heartbeat_timeout");
  CHECK(host.reports[0].at_ns <= silent_since + Heartbeat::kGraceNs + Heartbeat::kIntervalNs);
  host.clock.inner.run_for(10 * Heartbeat::kGraceNs);
  CHECK(host.reports.size() >= 9);
  CHECK(host.reports.size() <= 12);
  CHECK(host.recovered.empty());
  // It answers again: that is told once, and nothing more.
  host.answering = {1, 2};
  host.clock.inner.run_for(kSecondNs);
  host.reports.clear();
  host.clock.inner.run_for(10 * kSecondNs);
  CHECK(host.reports.empty());
  CHECK(host.recovered == std::vector<OsdId>{2});
}

TEST_CASE("heartbeat: a refused connection is reported at once, for that incarnation only") {
  Host host;
  host.watch({1});
  host.heartbeat.on_refused(1, 49);
  host.heartbeat.on_refused(2, 50);
  CHECK(host.reports.empty());
  host.heartbeat.on_refused(1, 50);
  host.heartbeat.on_refused(1, 50);
  REQUIRE(host.reports.size() == 1);
  CHECK(host.reports[0].reason == "connection_refused");
  CHECK(host.reports[0].at_ns == host.clock.now_ns());
}

TEST_CASE("heartbeat: the own stop is not blamed on others") {
  Host host;
  host.answering = {1, 2};
  host.watch({1, 2});
  host.clock.inner.run_for(5 * kSecondNs);
  host.clock.stopped_ns += 30 * kSecondNs;
  host.clock.inner.run_for(Heartbeat::kGraceNs);
  CHECK(host.reports.empty());
  // A peer that is gone afterwards is found all the same.
  host.answering = {1};
  host.clock.stopped_ns += 30 * kSecondNs;
  host.clock.inner.run_for(Heartbeat::kGraceNs + 3 * Heartbeat::kIntervalNs);
  REQUIRE(host.reports.size() == 1);
  CHECK(host.reports[0].osd == 2);
}

TEST_CASE("heartbeat: a hung loop or disk is told from the ages that the peer sends") {
  Host host;
  host.answering = {1};
  host.watch({1});
  host.answer.loop_age_ms = Heartbeat::kMaxLoopAgeMs;
  host.clock.inner.run_for(kSecondNs);
  CHECK(host.reports.empty());
  host.answer.loop_age_ms = Heartbeat::kMaxLoopAgeMs + 1;
  host.clock.inner.run_for(kSecondNs);
  REQUIRE(host.reports.size() == 1);
  CHECK(host.reports[0].reason == "loop_hung");
  host.answer = {};
  host.clock.inner.run_for(kSecondNs);
  host.answer.disk_age_ms = Heartbeat::kMaxDiskAgeMs + 1;
  host.clock.inner.run_for(kSecondNs);
  REQUIRE(host.reports.size() == 2);
  CHECK(host.reports[1].reason == "disk_hung");
}

TEST_CASE("heartbeat: a new set of peers keeps the history of those it knew") {
  Host host;
  host.watch({1, 2});
  host.clock.inner.run_for(Heartbeat::kGraceNs - Heartbeat::kIntervalNs / 2);
  host.watch({1, 3});
  host.clock.inner.run_for(2 * Heartbeat::kIntervalNs);
  REQUIRE(host.reports.size() == 1);
  CHECK(host.reports[0].osd == 1);
}

TEST_CASE("heartbeat: pongs of an older incarnation do not count") {
  Host host;
  host.answering = {1};
  host.heartbeat.set_peers({{1, {}, 51}});
  host.clock.inner.run_for(Heartbeat::kGraceNs + 2 * Heartbeat::kIntervalNs);
  REQUIRE(host.reports.size() == 1);
  CHECK(host.reports[0].incarnation == 51);
}

}  // namespace cairn::pg
