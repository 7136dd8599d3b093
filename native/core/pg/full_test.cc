// A full OSD: what allocates is refused, what makes room or needs none goes on.
#include <cstring>

#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kBlock = 4096;

Status outcome_of(SimOsds& cluster, const std::string& object, const Step& step) {
  const bool writes = step.code == StepCode::write;
  Buffer data = Buffer::allocate(writes ? step.length : 0);
  if (writes) std::memset(data.data(), 7, step.length);
  Status status;
  cluster.operate(object, {step}, std::move(data), &status);
  return status;
}

}  // namespace

TEST_CASE("pg: a full primary refuses writes, and takes removals, discards and key-values") {
  SimOsds cluster(11);
  cluster.new_interval({0, 1, 2});
  const Step write{StepCode::write, 0, 2 * kBlock, {}, {}};
  for (const char* object : {"a", "b"}) CHECK(outcome_of(cluster, object, write).is_ok());
  cluster.osds[0]->core->set_full(true);
  const Step partial{StepCode::write, 100, 200, {}, {}};
  for (const Step& step : {write, partial}) {
    CHECK(outcome_of(cluster, "a", step).code() == ErrorCode::no_space);
    CHECK(outcome_of(cluster, "new", step).code() == ErrorCode::no_space);
  }
  const std::vector<Step> taken = {
      {StepCode::read, 0, 2 * kBlock, {}, {}},          {StepCode::punch, 0, kBlock, {}, {}},
      {StepCode::write_zeroes, kBlock, kBlock, {}, {}}, {StepCode::omap_set, 0, 0, "key", "value"},
      {StepCode::omap_remove, 0, 0, "key", {}},         {StepCode::remove, 0, 0, {}, {}}};
  for (const Step& step : taken) CHECK(outcome_of(cluster, "b", step).is_ok());
  CHECK(cluster.digest(1, "b") == cluster.digest(0, "b"));
  CHECK_FALSE(cluster.digest(0, "b").starts_with("exists"));
  cluster.osds[0]->core->set_full(false);
  CHECK(outcome_of(cluster, "new", write).is_ok());
}

TEST_CASE("pg: an OSD that is full takes the writes that another primary sends") {
  SimOsds cluster(12);
  cluster.new_interval({0, 1, 2});
  cluster.osds[1]->core->set_full(true);
  CHECK(outcome_of(cluster, "a", {StepCode::write, 0, kBlock, {}, {}}).is_ok());
  CHECK(cluster.digest(1, "a") == cluster.digest(0, "a"));
}

}  // namespace cairn::pg
