// Trimming of removed snapshots on three OSDs: what goes, what stays, and what may come between.
#include <cstring>

#include "base/probe.hh"
#include "io/random.hh"
#include "pg/snap_test_client.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr int kObjects = 12;
constexpr std::uint64_t kBlocks = 6;

std::string name_of(int i) { return "object" + std::to_string(100 + i); }

// osd.0 leads the three.
struct TrimCluster : SimOsds {
  explicit TrimCluster(std::uint64_t seed) : SimOsds(seed), image(*this) {
    new_interval({0, 1, 2});
  }

  SimOsd& primary() { return *osds[acting.front()]; }
  void go_on_with(std::vector<OsdId> members) {
    acting = std::move(members);
    new_interval(acting);
  }

  // As a map that lists the snapshots as removed.
  void remove(const std::vector<std::uint64_t>& snaps) {
    removed.insert(snaps.begin(), snaps.end());
    for (const auto& [id, osd] : osds) {
      if (osd->core != nullptr) osd->core->set_removed_snaps(kTestPg.pool, known());
    }
    std::erase_if(image.context.snaps, [this](std::uint64_t id) { return removed.contains(id); });
  }
  RemovedSnaps known() const {
    RemovedSnaps snaps;
    snaps.insert(removed.begin(), removed.end());
    return snaps;
  }
  std::uint64_t start(std::uint64_t objects_per_second = 0) {
    const SnapTrimSpec spec{++trims, {removed.begin(), removed.end()}, 3, objects_per_second};
    primary().core->start_snap_trim(kTestPg, epoch, spec);
    return trims;
  }
  std::string outcome_of(std::uint64_t id) {
    run_until([this, id] { return primary().trims.contains(id); });
    return primary().trims[id];
  }
  std::string trim() { return outcome_of(start()); }

  std::uint64_t used(OsdId osd) { return used_bytes(*this, osd); }
  void check_same_copies() {
    const std::string first = layers_of(*this, 0);
    for (const OsdId osd : {1, 2}) {
      CHECK(layers_of(*this, osd) == first);
      CHECK(used(osd) == used(0));
    }
  }

  SnapTestClient image;
  std::vector<OsdId> acting{0, 1, 2};
  std::set<std::uint64_t> removed;
  std::uint64_t trims = 0;
};

// What each snapshot and the head hold: by object and block.
using Values = std::map<std::string, std::vector<int>>;

struct Model {
  explicit Model(TrimCluster& of_cluster) : cluster(of_cluster) {}

  void change(io::Random& random) {
    const std::string object = name_of(static_cast<int>(random.below(kObjects)));
    std::vector<int>& values = head[object];
    if (random.below(12) == 0) {
      cluster.image.change(object, {StepCode::remove, 0, 0, {}, {}});
      values.clear();
      return;
    }
    if (values.empty()) values.assign(kBlocks, 0);
    const std::uint64_t block = random.below(kBlocks);
    values[block] = 1 + static_cast<int>(random.below(250));
    cluster.image.write(object, block, values[block]);
  }
  void take_snapshot() { snapshots[cluster.image.take_snapshot()] = head; }
  void check_one(const Values& expected, std::uint64_t snap) {
    for (const auto& entry : expected) {
      const auto& [object, values] = entry;
      INFO(entry.first, " at ", snap);
      if (values.empty()) CHECK(cluster.image.value(object, 0, snap) == -1);
      for (std::uint64_t block = 0; block < values.size(); ++block) {
        CHECK(cluster.image.value(object, block, snap) == values[block]);
      }
    }
  }
  void check() {
    check_one(head, kHead);
    for (const auto& [snap, values] : snapshots) {
      if (!cluster.removed.contains(snap)) check_one(values, snap);
    }
  }

  TrimCluster& cluster;
  Values head;
  std::map<std::uint64_t, Values> snapshots;
};

Model fill(TrimCluster& cluster, io::Random& random, int snapshots) {
  Model model(cluster);
  for (int i = 0; i < snapshots; ++i) {
    for (int n = 0; n < 25; ++n) model.change(random);
    model.take_snapshot();
  }
  for (int n = 0; n < 25; ++n) model.change(random);
  return model;
}

}  // namespace

TEST_CASE("trim: the space of removed snapshots is free to the byte, others stay as they are") {
  TrimCluster cluster(100);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1, 8);
  image.write("b", 0, 1, 4);
  const std::uint64_t empty = cluster.used(0);
  const std::uint64_t first = image.take_snapshot();
  image.write("a", 0, 2, 3);
  const std::uint64_t second = image.take_snapshot();
  image.write("a", 2, 3, 3);
  image.write("b", 1, 3);
  const std::uint64_t third = image.take_snapshot();
  image.write("b", 2, 4);
  REQUIRE(cluster.used(0) == empty + (3 + 3 + 1 + 1) * kBlockBytes);
  cluster.remove({second});
  CHECK(cluster.trim() == "ok");
  // Block 2 of `a` as of the second snapshot: the first one shows an older one, the third a newer.
  CHECK(cluster.used(0) == empty + (3 + 3 + 1 + 1 - 1) * kBlockBytes);
  CHECK(image.value("a", 2, first) == 1);
  CHECK(image.value("a", 4, first) == 1);
  CHECK(image.value("a", 2, third) == 3);
  CHECK(image.value("b", 1, first) == 1);
  CHECK(image.value("b", 2, third) == 1);
  cluster.check_same_copies();
  cluster.remove({first, third});
  CHECK(cluster.trim() == "ok");
  CHECK(cluster.used(0) == empty);
  CHECK(image.value("a", 1) == 2);
  CHECK(image.value("b", 2) == 4);
  cluster.check_same_copies();
  CHECK(cluster.osds[0]->store->object_count(kTestPg) == 2);
  CHECK(cluster.osds[0]->core->counters().trimmed_clones == 4);
  // A new change after that: what was removed gets no clone, whatever an old context says.
  image.context.snaps = {third};
  image.context.seq = third + 1;
  image.write("a", 0, 9);
  CHECK(cluster.osds[0]->store->object_count(kTestPg) == 2);
}

TEST_CASE("trim: an object that is there for its clones alone goes with the last of them") {
  TrimCluster cluster(101);
  SnapTestClient& image = cluster.image;
  const std::uint64_t empty = cluster.used(0);
  image.write("a", 0, 1, 4);
  const std::uint64_t first = image.take_snapshot();
  image.write("a", 0, 2);
  const std::uint64_t second = image.take_snapshot();
  image.change("a", {StepCode::remove, 0, 0, {}, {}});
  cluster.remove({second});
  CHECK(cluster.trim() == "ok");
  CHECK(image.value("a", 0) == -1);
  CHECK(image.value("a", 0, first) == 1);
  CHECK(cluster.used(0) == empty + 4 * kBlockBytes);
  // One that is down meanwhile has to lose it all the same.
  cluster.kill(2);
  cluster.go_on_with({0, 1});
  cluster.remove({first});
  CHECK(cluster.trim() == "ok");
  CHECK(cluster.osds[0]->store->object_count(kTestPg) == 0);
  CHECK(cluster.used(0) == empty);
  cluster.restart(2);
  cluster.go_on_with({0, 1, 2});
  cluster.run_until([&cluster] { return cluster.clean(); });
  CHECK(cluster.osds[2]->store->object_count(kTestPg) == 0);
  cluster.check_same_copies();
}

TEST_CASE("trim: many objects and snapshots against a model, on whatever primary") {
  for (std::uint64_t seed = 110; seed < 114; ++seed) {
    INFO("seed ", seed);
    io::Random random(seed);
    TrimCluster cluster(seed);
    Model model = fill(cluster, random, 6);
    model.check();
    cluster.remove({2, 5});
    CHECK(cluster.trim() == "ok");
    model.check();
    cluster.go_on_with({1, 2, 0});
    for (int n = 0; n < 20; ++n) model.change(random);
    cluster.remove({1, 6});
    CHECK(cluster.trim() == "ok");
    model.check();
    cluster.run_until([&cluster] { return cluster.clean(); });
    cluster.check_same_copies();
    cluster.remove({3, 4});
    CHECK(cluster.trim() == "ok");
    model.check();
    std::uint64_t existing = 0;
    for (const auto& [object, values] : model.head) existing += values.empty() ? 0 : 1;
    CHECK(cluster.osds[1]->store->object_count(kTestPg) == existing);
    cluster.check_same_copies();
  }
}

TEST_CASE("trim: one that a death interrupts is ended by the next primary") {
  for (std::uint64_t seed = 120; seed < 126; ++seed) {
    INFO("seed ", seed);
    io::Random random(seed);
    TrimCluster cluster(seed);
    Model model = fill(cluster, random, 4);
    cluster.remove({1, 2, 4});
    const PgCounters before = cluster.osds[0]->core->counters();
    cluster.start(200);
    cluster.run_until([&] {
      return cluster.osds[0]->core->counters().trimmed_objects > before.trimmed_objects + seed % 3;
    });
    REQUIRE(cluster.osds[0]->trims.empty());
    cluster.kill(0);
    cluster.go_on_with({1, 2});
    model.check();
    CHECK(cluster.trim() == "ok");
    model.check();
    cluster.restart(0);
    cluster.osds[0]->core->set_removed_snaps(kTestPg.pool, cluster.known());
    cluster.go_on_with({1, 2, 0});
    cluster.run_until([&cluster] { return cluster.clean(); });
    cluster.check_same_copies();
    cluster.remove({3});
    CHECK(cluster.trim() == "ok");
    std::uint64_t existing = 0;
    for (const auto& [object, values] : model.head) existing += values.empty() ? 0 : 1;
    CHECK(cluster.osds[0]->store->object_count(kTestPg) == existing);
  }
}

TEST_CASE("trim: a full cluster is trimmed, and has room again") {
  TrimCluster cluster(130);
  io::Random random(130);
  Model model = fill(cluster, random, 3);
  for (const auto& [id, osd] : cluster.osds) osd->core->set_full(true);
  const std::uint64_t before = cluster.used(0);
  cluster.remove({1, 2, 3});
  CHECK(cluster.trim() == "ok");
  CHECK(cluster.used(0) < before);
  model.check();
  cluster.check_same_copies();
}

TEST_CASE("trim: writes and reads that come between see what they would see without it") {
  for (std::uint64_t seed = 140; seed < 144; ++seed) {
    INFO("seed ", seed);
    io::Random random(seed);
    TrimCluster cluster(seed);
    Model model = fill(cluster, random, 5);
    const Values doomed = model.snapshots[3];
    std::vector<std::pair<int, std::shared_ptr<SnapAnswer>>> reads;
    for (const auto& [object, values] : doomed) {
      if (values.empty()) continue;
      const Step step{StepCode::read, 0, kBlockBytes, {}, {}};
      reads.emplace_back(values[0], cluster.image.send(object, {step}, {}, 3));
      cluster.executor.run_for(random.below(2) * 100'000);
    }
    cluster.remove({3, 5});
    const std::uint64_t id = cluster.start();
    while (!cluster.osds[0]->trims.contains(id)) model.change(random);
    CHECK(cluster.outcome_of(id) == "ok");
    // A read of a snapshot that goes away gives what it was, or says that it is gone.
    for (const auto& [value, answer] : reads) {
      cluster.image.wait(answer);
      if (answer->status.code() == ErrorCode::not_found) continue;
      CHECK(answer->status.to_string() == "ok");
      CHECK(answer->reply.exists);
      CHECK(static_cast<int>(*answer->data.data()) == value);
    }
    model.check();
    cluster.check_same_copies();
  }
}

TEST_CASE("trim: more clones of one object than an entry holds go in parts") {
  TrimCluster cluster(150);
  const std::uint64_t before = probe_hits("pg_trim_in_parts");
  cluster.image.write("a", 0, 1);
  std::vector<std::uint64_t> snaps;
  for (int i = 0; i < 150; ++i) {
    snaps.push_back(cluster.image.take_snapshot());
    cluster.image.write("a", 0, i % 200 + 2);
  }
  CHECK(cluster.osds[0]->store->object_count(kTestPg) == 151);
  cluster.remove(snaps);
  CHECK(cluster.trim() == "ok");
  CHECK(cluster.osds[0]->store->object_count(kTestPg) == 1);
  CHECK(probe_hits("pg_trim_in_parts") > before);
  cluster.check_same_copies();
}

TEST_CASE("trim: it keeps to its rate, and stops when it is told to") {
  TrimCluster cluster(151);
  for (int i = 0; i < 20; ++i) cluster.image.write(name_of(i), 0, 1);
  const std::uint64_t snap = cluster.image.take_snapshot();
  for (int i = 0; i < 20; ++i) cluster.image.write(name_of(i), 0, 2);
  cluster.remove({snap});
  const std::uint64_t began_ns = cluster.executor.now_ns();
  const std::uint64_t first = cluster.start(10);
  cluster.run_until([&] { return cluster.osds[0]->core->counters().trimmed_objects == 10; });
  CHECK(cluster.executor.now_ns() - began_ns >= 9 * kSecond / 10);
  cluster.osds[0]->core->stop_snap_trim(kTestPg, cluster.epoch);
  CHECK(cluster.outcome_of(first).starts_with("canceled"));
  cluster.executor.run_for(kSecond);
  CHECK(cluster.osds[0]->core->counters().trimmed_objects == 10);
  CHECK(cluster.trim() == "ok");
  CHECK(cluster.osds[0]->core->counters().trimmed_objects == 20);
}

TEST_CASE("trim: one that runs goes on at another rate when it is told so") {
  TrimCluster cluster(152);
  for (int i = 0; i < 20; ++i) cluster.image.write(name_of(i), 0, 1);
  const std::uint64_t snap = cluster.image.take_snapshot();
  for (int i = 0; i < 20; ++i) cluster.image.write(name_of(i), 0, 2);
  cluster.remove({snap});
  const std::uint64_t id = cluster.start(1);
  cluster.executor.run_for(3 * kSecond);
  const std::uint64_t slowly = cluster.osds[0]->core->counters().trimmed_objects;
  CHECK(slowly >= 2);
  CHECK(slowly <= 4);
  CHECK(cluster.osds[0]->trims.empty());
  const std::uint64_t told_ns = cluster.executor.now_ns();
  cluster.osds[0]->core->start_snap_trim(kTestPg, cluster.epoch, {id, {snap}, 3, 100});
  CHECK(cluster.outcome_of(id) == "ok");
  // At most what was left of the second before the next one, then a hundredth for each.
  CHECK(cluster.executor.now_ns() - told_ns < 2 * kSecond);
  CHECK(cluster.executor.now_ns() - told_ns >= 14 * kSecond / 100);
  CHECK(cluster.osds[0]->core->counters().trimmed_objects == 20);
}

}  // namespace cairn::pg
