// Stages of traced requests: they add up, and only what was waited for counts.
#include "objecter/request_trace.hh"

#include <doctest/doctest.h>

#include <numeric>

namespace cairn::objecter {

namespace {

std::uint64_t sum(const StageTimes& times) {
  return std::accumulate(times.ns.begin(), times.ns.end(), std::uint64_t{0});
}

}  // namespace

TEST_CASE("request trace: a write's time is told apart") {
  RequestTrace request(1000, {});
  request.waited(50);
  // Submitted at 1050, sent at 1060, answered at 1560; 400 of that at the primary.
  request.add({1050, 1060, 1560, net::OpTrace{400, 30, 100, 200, 300, 90}});
  const StageTimes times = request.stages(1570);
  CHECK(times[TraceStage::queue] == 50);
  CHECK(times[TraceStage::client] == 20);  // 10 before it was sent, 10 after it was answered
  CHECK(times[TraceStage::network] == 100);
  CHECK(times[TraceStage::primary_queue] == 30);
  CHECK(times[TraceStage::disk] == 100);
  CHECK(times[TraceStage::replicas] == 200);
  CHECK(times[TraceStage::primary] == 70);
  CHECK(times.replica_ns == 300);
  CHECK(times.replica_commit_ns == 90);
  CHECK(sum(times) == 570);
}

TEST_CASE("request trace: of operations side by side the slowest counts, in a row all do") {
  RequestTrace request(0, {});
  request.add({0, 0, 100, net::OpTrace{80, 0, 80, 0, 0, 0}});
  request.add({0, 0, 300, net::OpTrace{200, 0, 200, 0, 0, 0}});  // beside the first one
  request.add({310, 310, 410, net::OpTrace{50, 0, 50, 0, 0, 0}});
  const StageTimes times = request.stages(420);
  CHECK(times[TraceStage::disk] == 250);
  CHECK(times[TraceStage::network] == 150);
  CHECK(times[TraceStage::client] == 20);
  CHECK(sum(times) == 420);
}

TEST_CASE("request trace: a clock that runs faster elsewhere breaks no sum") {
  RequestTrace request(0, {});
  request.add({0, 0, 100, net::OpTrace{500, 200, 400, 300, 300, 1}});
  const StageTimes times = request.stages(100);
  CHECK(sum(times) == 100);
  RequestTrace unanswered(0, {});  // an OSD that knows no traces
  unanswered.add({0, 10, 60, std::nullopt});
  CHECK(unanswered.stages(60)[TraceStage::network] == 50);
}

TEST_CASE("request trace: a collector takes one of so many") {
  TraceCollector collector(3);
  int taken = 0;
  for (int i = 0; i < 9; ++i) taken += collector.samples_next() ? 1 : 0;
  CHECK(taken == 3);
}

}  // namespace cairn::objecter
