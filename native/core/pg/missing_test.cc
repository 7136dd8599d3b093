// Recovery of objects whose needed version is known: from whoever has it, from nobody else, and
// deletions stay deletions.
#include "pg/missing.hh"

#include "base/planted_bug.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::StepCode;

namespace {

void write(SimOsds& cluster, const std::string& object, int value) {
  cluster.operate(object, {{StepCode::write, 0, kBlockBytes, {}, {}}}, block_of(value));
}

// osd.0 leads and lacks "o", osd.1 follows it, osd.2 is outside. All have the same "o", [1, 1].
struct Lacking {
  explicit Lacking(std::uint64_t seed) : cluster(seed) {
    cluster.new_interval({0, 1, 2});
    write(cluster, "o", 1);
    cluster.begin_interval({0, 1});
    cluster.osds[2]->core->start_interval(kTestPg, {cluster.epoch, {0, 1}, 1, Role::stray});
    for (const OsdId osd : {0, 1}) {
      activation[osd].interval = cluster.epoch;
      activation[osd].rewind_to = 1;
    }
  }

  void go_active() {
    for (const OsdId osd : {0, 1}) {
      cluster.osds[osd]->core->activate(kTestPg, std::move(activation[osd]));
    }
    cluster.run_until([this] {
      return cluster.osds[0]->activated_interval == cluster.epoch &&
             cluster.osds[1]->activated_interval == cluster.epoch;
    });
    cluster.osds[0]->core->go_active(kTestPg, cluster.epoch);
    cluster.osds[0]->core->set_recovery(kTestPg, cluster.epoch, 4);
    read = watch_read(*cluster.client, "o");
    cluster.executor.run_for(3 * kSecond);
  }

  void check_unfound() {
    CHECK(cluster.osds[0]->unfound.contains("o"));
    CHECK_FALSE(cluster.clean());
    CHECK_FALSE(read->answered);
    CHECK(cluster.osds[0]->core->find_pg(kTestPg)->missing().contains("o"));
  }

  SimOsds cluster;
  std::map<OsdId, Activation> activation;
  std::shared_ptr<Watched> read;
};

}  // namespace

TEST_CASE("missing: what is stored comes back; a value without a version means not known") {
  const Missing missing{{7, 12}, true};
  CHECK(*decode_missing(encode_missing(missing)) == missing);
  CHECK(*decode_missing("") == Missing{});
  CHECK(decode_missing(encode_missing(missing) + "x").status().code() == ErrorCode::corrupt);
  CHECK(decode_missing("short").status().code() == ErrorCode::corrupt);
}

TEST_CASE("missing: which copy has what is needed") {
  const Missing changed{{7, 12}, false};
  CHECK(changed.is_met_by(true, {7, 12}));
  CHECK_FALSE(changed.is_met_by(true, {8, 12}));
  CHECK_FALSE(changed.is_met_by(false, {7, 12}));
  const Missing removed{{7, 12}, true};
  CHECK(removed.is_met_by(false, {}));
  CHECK_FALSE(removed.is_met_by(true, {7, 12}));
  CHECK(Missing{}.is_met_by(true, {1, 1}));
}

TEST_CASE("missing: an object comes from the copy that has its version") {
  Lacking lacking(90);
  lacking.activation[0].missing = {{"o", {{1, 1}, false}}};
  lacking.activation[0].sources = {1};
  lacking.go_active();
  CHECK(lacking.cluster.clean());
  CHECK(lacking.read->value == 1);
  CHECK(lacking.cluster.osds[0]->unfound.empty());
}

TEST_CASE("missing: a copy outside the acting set may give what is asked for by version") {
  Lacking lacking(91);
  lacking.activation[0].missing = {{"o", {{1, 1}, false}}};
  lacking.activation[0].peer_missing = {{1, {"o"}}};
  lacking.activation[1].missing = {{"o", {{1, 1}, false}}};
  lacking.activation[0].sources = {1};
  lacking.activation[0].other_sources = {2};
  lacking.go_active();
  CHECK(lacking.cluster.clean());
  CHECK(lacking.read->value == 1);
  CHECK(lacking.cluster.osds[1]->core->find_pg(kTestPg)->missing().empty());
}

TEST_CASE("missing: without a known version such a copy is not asked") {
  Lacking lacking(92);
  lacking.activation[0].missing = {{"o", {}}};
  lacking.activation[0].other_sources = {2};
  lacking.go_active();
  lacking.check_unfound();
}

TEST_CASE("missing: another version is never taken for it, and the object reads as nothing") {
  const std::uint64_t before = hits_of("pg_source_had_other_version");
  Lacking lacking(93);
  lacking.activation[0].missing = {{"o", {{1, 9}, false}}};
  lacking.activation[0].sources = {1};
  lacking.activation[0].other_sources = {2};
  lacking.go_active();
  if (planted(PlantedBug::resurrect_delete)) return;
  lacking.check_unfound();
  CHECK(hits_of("pg_source_had_other_version") > before);
}

TEST_CASE("missing: a deletion is carried out everywhere, whatever the sources still have") {
  Lacking lacking(94);
  const Missing removed{{1, 1}, true};
  lacking.activation[0].missing = {{"o", removed}};
  lacking.activation[1].missing = {{"o", removed}};
  lacking.activation[0].peer_missing = {{1, {"o"}}};
  lacking.activation[0].sources = {1};
  lacking.activation[0].other_sources = {2};
  lacking.go_active();
  const bool is_back = planted(PlantedBug::resurrect_delete);
  CHECK(lacking.cluster.clean());
  CHECK(lacking.read->reply.exists == is_back);
  CHECK(lacking.cluster.digest(0, "o").starts_with(is_back ? "exists" : "absent"));
  CHECK(lacking.cluster.digest(1, "o").starts_with(is_back ? "exists" : "absent"));
}

TEST_CASE("missing: objects of divergent entries are fetched, not kept") {
  SimOsds cluster(95);
  cluster.new_interval({0, 1, 2});
  write(cluster, "o", 1);
  // osd.0 applies a write that nobody else gets, and dies.
  cluster.cut_between("osd0", "osd1");
  cluster.cut_between("osd0", "osd2");
  watch(*cluster.client, "o", {{StepCode::write, 0, kBlockBytes, {}, {}}}, block_of(2));
  cluster.executor.run_for(20 * kMillisecond);
  REQUIRE(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == 2);
  cluster.client->cancel_all(Status(ErrorCode::canceled, "the client dies too"));
  cluster.kill(0);
  cluster.network->heal_all();
  cluster.new_interval({1, 2});
  write(cluster, "other", 3);
  cluster.restart(0);
  cluster.new_interval({1, 2, 0});
  cluster.run_until([&cluster] { return cluster.clean(); });
  const bool forgets = planted(PlantedBug::forget_divergent);
  CHECK((cluster.digest(0, "o") == cluster.digest(1, "o")) == !forgets);
}

}  // namespace cairn::pg
