// Snapshots of objects on three OSDs: each rule of docs/snapshots.md by an example.
#include <algorithm>
#include <cstring>

#include "pg/snap_test_client.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

TEST_CASE("snapshots: each shows the object as it was, on whatever primary") {
  SnapTestCluster cluster(1);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  image.write("a", 3, 1);
  const std::uint64_t first = image.take_snapshot();
  const std::uint64_t second = image.take_snapshot();
  image.write("a", 0, 2);
  image.write("a", 0, 3);
  const std::uint64_t third = image.take_snapshot();
  image.write("b", 0, 4);
  check_same_copies(cluster);
  for (const std::vector<OsdId>& acting :
       {std::vector<OsdId>{0, 1, 2}, std::vector<OsdId>{1, 2, 0}, std::vector<OsdId>{2, 0, 1}}) {
    cluster.new_interval(acting);
    CHECK(image.value("a", 0) == 3);
    CHECK(image.value("a", 0, first) == 1);
    CHECK(image.value("a", 0, second) == 1);
    CHECK(image.value("a", 3, second) == 1);
    // Not written since: the head serves it.
    CHECK(image.value("a", 0, third) == 3);
    CHECK(image.value("b", 0) == 4);
    CHECK(image.value("b", 0, third) == -1);
    CHECK(image.value("never", 0, first) == -1);
  }
  // The second and third write made no clone.
  CHECK(layers_of(cluster, 0).find("a@2 ") != std::string::npos);
  CHECK(layers_of(cluster, 0).find("a@1 ") == std::string::npos);
  CHECK(layers_of(cluster, 0).find("a@3 ") == std::string::npos);
}

TEST_CASE("snapshots: a write to a large object after a snapshot adds its own block alone") {
  SnapTestCluster cluster(2);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1, 1024);
  const std::uint64_t before = used_bytes(cluster, 1);
  image.take_snapshot();
  image.write("a", 5, 2);
  CHECK(used_bytes(cluster, 1) - before == kBlockBytes);
  image.write("a", 5, 3);
  CHECK(used_bytes(cluster, 1) - before == kBlockBytes);
}

TEST_CASE("snapshots: a removed head leaves a whiteout, which any change ends") {
  SnapTestCluster cluster(3);
  SnapTestClient& image = cluster.image;
  const Step stat{StepCode::stat, 0, 0, {}, {}};
  const Step touch{StepCode::touch, 0, 0, {}, {}};
  image.write("a", 0, 1);
  const std::uint64_t snap = image.take_snapshot();
  image.change("a", of_range(StepCode::remove, 0, 0));
  CHECK(image.value("a", 0) == -1);
  CHECK(image.value("a", 0, snap) == 1);
  CHECK_FALSE(image.run("a", {stat}).reply.exists);
  CHECK(image.run("a", {{StepCode::assert_exists, 0, 0, {}, {}}, touch}).status.code() ==
        ErrorCode::not_found);
  const net::SnapContext context = std::exchange(image.context, {});
  SUBCASE("a change without a context, of a family that is known") { image.write("a", 1, 5); }
  SUBCASE("a change without a context, of one that is not") {
    cluster.new_interval({1, 0, 2});
    image.write("a", 1, 5);
    cluster.new_interval({0, 1, 2});
  }
  SUBCASE("a change with a context") {
    image.context = context;
    image.write("a", 1, 5);
  }
  SUBCASE("removed again first, without a context") {
    image.change("a", of_range(StepCode::remove, 0, 0));
    CHECK(image.value("a", 0) == -1);
    image.write("a", 1, 5);
  }
  CHECK(image.value("a", 1) == 5);
  CHECK(image.value("a", 0) == 0);
  CHECK(image.value("a", 0, snap) == 1);
  image.change("a", of_range(StepCode::remove, 0, 0));
  CHECK(image.value("a", 0) == -1);
  CHECK(image.value("a", 0, snap) == 1);
  check_same_copies(cluster);
}

TEST_CASE("snapshots: a removal without clones leaves nothing, on any copy") {
  SnapTestCluster cluster(4);
  SnapTestClient& image = cluster.image;
  image.take_snapshot();
  image.write("a", 0, 1);
  image.change("a", of_range(StepCode::remove, 0, 0));
  image.change("never", of_range(StepCode::remove, 0, 0));
  for (OsdId osd = 0; osd < 3; ++osd) CHECK(layers_of(cluster, osd).empty());
  CHECK(cluster.osds[1]->core->find_pg(kTestPg)->log().at(2).removes);
}

TEST_CASE("snapshots: a removal that leaves a whiteout is no deletion to recovery") {
  SnapTestCluster cluster(5);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  image.take_snapshot();
  image.change("a", of_range(StepCode::remove, 0, 0));
  CHECK_FALSE(cluster.osds[1]->core->find_pg(kTestPg)->log().at(2).removes);
}

TEST_CASE("snapshots: those that the map lists as removed count as not there") {
  SnapTestCluster cluster(6);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  const std::uint64_t snap = image.take_snapshot();
  for (const auto& entry : cluster.osds)
    entry.second->core->set_removed_snaps(kTestPg.pool, {snap});
  image.write("a", 0, 2);
  CHECK(layers_of(cluster, 0).find("a@1 ") == std::string::npos);
  const Step read = of_range(StepCode::read, 0, 1);
  CHECK(image.run("a", {read}, {}, snap).status.code() == ErrorCode::not_found);
  for (const StepCode code : {StepCode::diff, StepCode::rollback})
    CHECK(image.run("a", {of_snap(code, snap)}).status.code() == ErrorCode::not_found);
  const Step list{StepCode::list_objects, snap, 9, "a", {}};
  CHECK(image.run("a", {list}).status.code() == ErrorCode::not_found);
}

TEST_CASE("snapshots: a rollback makes the head what the snapshot shows") {
  SnapTestCluster cluster(12);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  const std::uint64_t first = image.take_snapshot();
  image.write("a", 0, 2);
  image.write("b", 0, 2);
  const std::uint64_t second = image.take_snapshot();
  image.write("a", 1, 3);
  const std::uint64_t third = image.take_snapshot();
  for (const char* name : {"a", "b", "never"}) {
    image.change(name, of_snap(StepCode::rollback, first));
    image.change(name, of_snap(StepCode::rollback, first));
  }
  CHECK(image.value("a", 0) == 1);
  CHECK(image.value("a", 1) == 0);
  CHECK(image.value("b", 0) == -1);
  CHECK(image.value("never", 0) == -1);
  // What the snapshots show has not changed, also of the one that nobody had written under.
  CHECK(image.value("a", 0, first) == 1);
  CHECK(image.value("a", 0, second) == 2);
  CHECK(image.value("a", 1, third) == 3);
  CHECK(image.value("b", 0, second) == 2);
  CHECK(image.value("b", 0, third) == 2);
  image.change("b", of_snap(StepCode::rollback, third));
  CHECK(image.value("b", 0) == 2);
  image.write("a", 0, 7);
  CHECK(image.value("a", 0, first) == 1);
  check_same_copies(cluster);
}

TEST_CASE("snapshots: in a stream of writes a clone has all before it and none after") {
  for (std::uint64_t seed = 30; seed < 36; ++seed) {
    SnapTestCluster cluster(seed);
    SnapTestClient& image = cluster.image;
    std::vector<std::shared_ptr<SnapAnswer>> answers;
    const auto send = [&](int value) {
      for (std::uint64_t block = 0; block < 4; ++block)
        answers.push_back(image.send("a", {of_range(StepCode::write, block, 1)}, block_of(value)));
    };
    for (int value = 1; value <= 5; ++value) {
      send(value);
      image.take_snapshot();
    }
    send(6);
    for (const auto& answer : answers) image.wait(answer);
    for (std::uint64_t block = 0; block < 4; ++block) {
      for (std::uint64_t snap = 1; snap <= 5; ++snap)
        CHECK(image.value("a", block, snap) == static_cast<int>(snap));
      CHECK(image.value("a", block) == 6);
    }
    check_same_copies(cluster);
  }
}

TEST_CASE("snapshots: with connections that break, each clone is made once and right") {
  for (std::uint64_t seed = 40; seed < 44; ++seed) {
    net::SimNetworkConfig network;
    network.resets_per_million = 20'000;
    SnapTestCluster cluster(seed, network);
    SnapTestClient& image = cluster.image;
    for (int value = 1; value <= 20; ++value) {
      std::vector<std::shared_ptr<SnapAnswer>> answers;
      for (std::uint64_t block = 0; block < 4; ++block)
        answers.push_back(image.send("a", {of_range(StepCode::write, block, 1)}, block_of(value)));
      for (const auto& answer : answers) image.wait(answer);
      image.take_snapshot();
    }
    CHECK(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == 80);
    for (std::uint64_t snap = 1; snap <= 20; ++snap)
      for (std::uint64_t block = 0; block < 4; ++block)
        CHECK(image.value("a", block, snap) == static_cast<int>(snap));
    check_same_copies(cluster);
  }
}

TEST_CASE("snapshots: a read at one waits for the write that it overlaps") {
  SnapTestCluster cluster(91);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  image.value("a", 0);
  cluster.cut_between("osd0", "osd2");
  const auto change = image.send("a", {of_range(StepCode::write, 0, 1)}, block_of(2));
  cluster.executor.run_for(2 * kMillisecond);
  const std::uint64_t snap = image.take_snapshot();
  const auto beside = image.send("a", {of_range(StepCode::sparse_read, 1, 1)}, {}, snap);
  std::vector<std::shared_ptr<SnapAnswer>> reads;
  for (const StepCode code : {StepCode::read, StepCode::sparse_read, StepCode::extents})
    reads.push_back(image.send("a", {of_range(code, 0, 1)}, {}, snap));
  reads.push_back(image.send("a", {of_snap(StepCode::diff, 0)}, {}, snap));
  cluster.executor.run_for(50 * kMillisecond);
  for (const auto& read : reads) CHECK(read->status.code() == ErrorCode::timed_out);
  CHECK(beside->status.to_string() == "ok");
  cluster.network->heal_all();
  for (const auto& read : reads) image.wait(read);
  CHECK(*reads[0]->data.data() == std::byte{2});
  CHECK(change->status.to_string() == "ok");
}

TEST_CASE("snapshots: a change asks the store about its object once, and without a context never") {
  SnapTestCluster cluster(92);
  SnapTestClient& image = cluster.image;
  const std::uint64_t before = probe_hits("pg_family_loaded");
  image.write("a", 0, 1);
  image.change("a", of_range(StepCode::write_zeroes, 1, 1));
  CHECK(probe_hits("pg_family_loaded") == before);
  image.take_snapshot();
  for (int value = 2; value < 9; ++value) image.write("a", 0, value);
  image.take_snapshot();
  image.write("a", 0, 9);
  CHECK(probe_hits("pg_family_loaded") == before + 1);
}

TEST_CASE("snapshots: more than the snap set can hold makes changes wait, and loses nothing") {
  SnapTestCluster cluster(93);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  // Each is far from the one before, as ids are where many images share a pool.
  const std::uint64_t busy = probe_hits("pg_snap_set_too_large");
  std::uint64_t id = 1;
  std::shared_ptr<SnapAnswer> waits;
  for (int i = 0; i < 2000 && waits == nullptr; ++i) {
    id += std::uint64_t{1} << 50;
    image.context = {id, {id}};
    const auto answer = image.send("a", {of_range(StepCode::write, 0, 1)}, block_of(2));
    cluster.executor.run_for(200 * kMillisecond);
    if (!answer->status) waits = answer;
  }
  REQUIRE(waits != nullptr);
  CHECK(waits->status.code() == ErrorCode::timed_out);
  CHECK(probe_hits("pg_snap_set_too_large") > busy);
  CHECK(image.value("a", 0, 1 + (std::uint64_t{1} << 50)) == 1);
}

}  // namespace cairn::pg
