// Filling absent blocks in several layers of an object: what is planned, and what a cluster's
// copies hold afterwards.
#include "pg/layer_fill.hh"

#include <cstring>

#include "pg/recent_fills.hh"
#include "pg/snap_test_client.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kBlocks = 4;

Step fill(StepCode code, const std::vector<std::uint64_t>& layers, std::uint64_t first = 0,
          std::uint64_t count = kBlocks) {
  return {code, first * kBlockBytes, count * kBlockBytes, {}, net::pack_ids(layers)};
}

Buffer bytes_of(int value, std::uint64_t count = kBlocks) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  std::memset(data.data(), value, data.size());
  return data;
}

struct FillCluster : SnapTestCluster {
  explicit FillCluster(std::uint64_t seed) : SnapTestCluster(seed) {}

  void fill_layers(const std::vector<std::uint64_t>& layers, int value = 9) {
    CHECK(
        image.run("a", {fill(StepCode::fill_layers, layers)}, bytes_of(value)).status.to_string() ==
        "ok");
  }
  // The values of the object's blocks; "-": absent, 0: explicit zeros.
  std::string shown(std::uint64_t snap = kHead) {
    const SnapAnswer answer =
        image.run("a", {fill(StepCode::sparse_read, {}, 0, kBlocks)}, {}, snap);
    CHECK(answer.status.to_string() == "ok");
    std::string text;
    std::size_t at = 0;
    for (const net::ExtentRun& run : answer.reply.extents) {
      for (std::uint64_t i = 0; i < run.length; i += kBlockBytes) {
        text += text.empty() ? "" : " ";
        if (run.state != 2) {
          text += run.state == 0 ? "-" : "0";
          continue;
        }
        text += std::to_string(static_cast<int>(answer.data.data()[at]));
        at += kBlockBytes;
      }
    }
    return text;
  }
  std::string lacking(const std::vector<std::uint64_t>& layers) {
    const SnapAnswer answer = image.run("a", {fill(StepCode::lacking, layers)});
    CHECK(answer.status.to_string() == "ok");
    std::string text;
    for (const net::ExtentRun& run : answer.reply.extents)
      text.append(run.length / kBlockBytes, run.state == 0 ? '-' : '+');
    return text;
  }
};

}  // namespace

TEST_CASE("filling: an object that nobody has written gets a head for all snapshots") {
  FillCluster cluster(1);
  const std::uint64_t one = cluster.image.take_snapshot();
  const std::uint64_t two = cluster.image.take_snapshot();
  CHECK(cluster.lacking({one, two, kHead}) == "----");
  cluster.fill_layers({one, two, kHead});
  for (const std::uint64_t snap : {one, two, kHead}) CHECK(cluster.shown(snap) == "9 9 9 9");
  CHECK(cluster.lacking({one, two, kHead}) == "++++");
  CHECK(used_bytes(cluster, 0) == kBlocks * kBlockBytes);
  const std::string once = layers_of(cluster, 0);
  CHECK(once.find("a@" + std::to_string(kHead)) == 0);  // no clone
  cluster.fill_layers({one, two, kHead}, 8);
  CHECK(layers_of(cluster, 0) == once);
  // A snapshot after which it is written keeps what was filled.
  cluster.image.write("a", 0, 1);
  CHECK(cluster.shown(two) == "9 9 9 9");
  CHECK(cluster.shown() == "1 9 9 9");
  check_same_copies(cluster);
}

TEST_CASE("filling: written blocks and explicit zeros stay, the rest is shared by all layers") {
  FillCluster cluster(2);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  const std::uint64_t one = image.take_snapshot();
  image.change("a", of_range(StepCode::write_zeroes, 1, 1));
  const std::uint64_t two = image.take_snapshot();
  image.write("a", 2, 3);
  CHECK(cluster.lacking({one, two, kHead}) == "+---");
  CHECK(cluster.lacking({two, kHead}) == "++--");
  CHECK(cluster.lacking({kHead}) == "+++-");
  cluster.fill_layers({one, two, kHead});
  CHECK(cluster.shown(one) == "1 9 9 9");
  CHECK(cluster.shown(two) == "1 0 9 9");
  CHECK(cluster.shown() == "1 0 3 9");
  // Blocks 0 and 2 of the head, and one each that was filled.
  CHECK(used_bytes(cluster, 0) == 5 * kBlockBytes);
  // What was filled is the same in all of them; what was written still differs.
  const auto differences = [&](std::uint64_t from, std::uint64_t to) {
    std::string text;
    for (const net::ExtentRun& run :
         image.run("a", {of_snap(StepCode::diff, from)}, {}, to).reply.extents)
      text += std::to_string(run.offset / kBlockBytes) + ":" + std::to_string(run.state) + " ";
    return text;
  };
  CHECK(differences(one, two) == "1:1 ");
  CHECK(differences(two, kHead) == "2:2 ");
  check_same_copies(cluster);
}

TEST_CASE("filling: snapshots from before the object was written get a history") {
  FillCluster cluster(3);
  SnapTestClient& image = cluster.image;
  const std::uint64_t one = image.take_snapshot();
  const std::uint64_t two = image.take_snapshot();
  image.write("a", 1, 5);
  const std::uint64_t three = image.take_snapshot();
  image.write("a", 2, 6);
  const std::uint64_t made = probe_hits("pg_fill_made_history");
  const std::uint64_t filled = probe_hits("pg_layers_filled");
  cluster.fill_layers({one, two, three, kHead});
  CHECK(probe_hits("pg_fill_made_history") == made + 1);
  CHECK(probe_hits("pg_layers_filled") == filled + 1);
  for (const std::uint64_t snap : {one, two}) CHECK(cluster.shown(snap) == "9 9 9 9");
  CHECK(cluster.shown(three) == "9 5 9 9");
  CHECK(cluster.shown() == "9 5 6 9");
  CHECK(used_bytes(cluster, 0) == 6 * kBlockBytes);
  check_same_copies(cluster);
}

TEST_CASE("filling: only the named layers change") {
  FillCluster cluster(4);
  SnapTestClient& image = cluster.image;
  std::vector<std::uint64_t> snaps{0};
  SUBCASE("of one clone, which is divided") {
    image.write("a", 0, 1);
    for (int i = 0; i < 4; ++i) snaps.push_back(image.take_snapshot());
    image.write("a", 0, 2);
    const std::uint64_t divided = probe_hits("pg_fill_divided_a_clone");
    cluster.fill_layers({snaps[2], snaps[3]});
    CHECK(probe_hits("pg_fill_divided_a_clone") == divided + 1);
    for (const int i : {1, 4})
      CHECK(cluster.shown(snaps[static_cast<std::size_t>(i)]) == "1 - - -");
    for (const int i : {2, 3})
      CHECK(cluster.shown(snaps[static_cast<std::size_t>(i)]) == "1 9 9 9");
    CHECK(cluster.shown() == "2 - - -");
  }
  SUBCASE("of what the head shows, which is cloned") {
    image.write("a", 0, 1);
    for (int i = 0; i < 2; ++i) snaps.push_back(image.take_snapshot());
    cluster.fill_layers({snaps[1]});
    CHECK(cluster.shown(snaps[1]) == "1 9 9 9");
    CHECK(cluster.shown(snaps[2]) == "1 - - -");
    CHECK(cluster.shown() == "1 - - -");
  }
  SUBCASE("the head, and not what it shows") {
    image.write("a", 0, 1);
    snaps.push_back(image.take_snapshot());
    cluster.fill_layers({kHead});
    CHECK(cluster.shown(snaps[1]) == "1 - - -");
    CHECK(cluster.shown() == "1 9 9 9");
  }
  SUBCASE("of an object that is not there") {
    for (int i = 0; i < 3; ++i) snaps.push_back(image.take_snapshot());
    cluster.fill_layers({snaps[1], snaps[3]});
    for (const int i : {1, 3})
      CHECK(cluster.shown(snaps[static_cast<std::size_t>(i)]) == "9 9 9 9");
    CHECK(image.value("a", 0, snaps[2]) == -1);
    CHECK(image.value("a", 0) == -1);
    // The head comes back, and goes, as of any object with clones.
    image.write("a", 0, 4);
    CHECK(cluster.shown() == "4 - - -");
    image.change("a", {StepCode::remove, 0, 0, {}, {}});
    CHECK(image.value("a", 0) == -1);
    CHECK(cluster.shown(snaps[1]) == "9 9 9 9");
  }
  check_same_copies(cluster);
}

TEST_CASE("filling: a copy that was away gets the filled layers, equal to the others") {
  FillCluster cluster(5);
  SnapTestClient& image = cluster.image;
  const std::uint64_t one = image.take_snapshot();
  image.write("a", 1, 5);
  const std::uint64_t two = image.take_snapshot();
  image.write("a", 2, 6);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  cluster.fill_layers({one, two, kHead});
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&cluster] { return cluster.clean(); });
  check_same_copies(cluster);
  CHECK(used_bytes(cluster, 2) == used_bytes(cluster, 0));
  cluster.new_interval({2, 0, 1});
  CHECK(cluster.shown(one) == "9 9 9 9");
  CHECK(cluster.shown(two) == "9 5 9 9");
  CHECK(cluster.shown() == "9 5 6 9");
}

TEST_CASE("filling: a read that began before a clone was divided shows nothing of what it got") {
  FillCluster cluster(6);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1);
  const std::uint64_t one = image.take_snapshot();
  const std::uint64_t two = image.take_snapshot();
  image.write("a", 0, 2);
  // So that reads go to the disk, and nothing is known of the object.
  cluster.kill(0);
  cluster.restart(0);
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&cluster] { return cluster.clean(); });
  io::SimDisk& disk = *cluster.osds[0]->disk;
  disk.set_latency(500 * kMillisecond, 500 * kMillisecond);
  const auto answer = image.send("a", {fill(StepCode::sparse_read, {})}, {}, one);
  cluster.executor.run_for(200 * kMillisecond);
  REQUIRE(answer->status.code() == ErrorCode::timed_out);
  disk.set_latency(20'000, 20'000);
  const std::uint64_t met = hits_of("pg_read_met_fill");
  cluster.fill_layers({two});
  REQUIRE(answer->status.code() == ErrorCode::timed_out);
  image.wait(answer);
  CHECK(answer->status.to_string() == "ok");
  std::string states;
  for (const net::ExtentRun& run : answer->reply.extents) states += std::to_string(run.state);
  CHECK(states == "20");  // data, absent
  CHECK(hits_of("pg_read_met_fill") == met + 1);
  CHECK(cluster.shown(one) == "1 - - -");
  CHECK(cluster.shown(two) == "1 9 9 9");
}

TEST_CASE("filling: snapshots without an object may be filled in any order") {
  FillCluster cluster(7);
  SnapTestClient& image = cluster.image;
  std::vector<std::uint64_t> snaps;
  for (int i = 0; i < 5; ++i) snaps.push_back(image.take_snapshot());
  image.write("a", 0, 1);
  cluster.fill_layers({snaps[0], snaps[2], snaps[3]}, 8);
  cluster.fill_layers({snaps[1]}, 7);
  cluster.fill_layers({snaps[4]}, 6);
  CHECK(cluster.shown(snaps[0]) == "8 8 8 8");
  CHECK(cluster.shown(snaps[1]) == "7 7 7 7");
  for (const std::size_t i : {std::size_t{2}, std::size_t{3}})
    CHECK(cluster.shown(snaps[i]) == "8 8 8 8");
  CHECK(cluster.shown(snaps[4]) == "6 6 6 6");
  CHECK(cluster.shown() == "1 - - -");
  check_same_copies(cluster);
}

TEST_CASE("filling: what was filled lately is known by object, what was before may be any") {
  RecentFills fills;
  fills.add(5, "a");
  CHECK(fills.may_have_filled("a", 4));
  CHECK_FALSE(fills.may_have_filled("a", 5));
  CHECK_FALSE(fills.may_have_filled("b", 4));
  for (std::uint64_t i = 1; i <= RecentFills::kMost; ++i) fills.add(5 + i, "c");
  CHECK(fills.may_have_filled("b", 4));
  CHECK_FALSE(fills.may_have_filled("b", 5));
  CHECK(fills.may_have_filled("c", 5));
  fills.clear();
  CHECK_FALSE(fills.may_have_filled("c", 0));
}

TEST_CASE("filling: snapshots that a clone of their time does not serve are refused") {
  Family family{{.seq = 9, .whiteout = {}, .clones = {{9, {4, 9}}}}, true};
  const FillRequest request{0, 1, {7}};
  const net::SnapContext context{9, {9, 7, 4}};
  CHECK(plan_fill(family, {}, request, context, {}).status().code() == ErrorCode::corrupt);
  // One that is being removed counts as not there.
  CHECK(plan_fill(family, {}, request, context, {7})->steps.empty());
}

TEST_CASE("filling: an entry holds so many steps and no more") {
  Family family{{.seq = 600, .whiteout = {}, .clones = {}}, true};
  LayerMaps maps;
  net::SnapContext context{600, {}};
  FillRequest request{0, 128, {}};
  for (std::uint64_t snap = 1; snap <= 100; ++snap) {
    family.set.clones.push_back({snap, {snap}});
    context.snaps.insert(context.snaps.begin(), snap);
    request.layers.push_back(snap);
    // Every other block is there: a run for each of the others.
    maps[snap].resize(128);
    for (std::size_t block = snap % 2; block < 128; block += 2)
      maps[snap][block].state = object_store::BlockState::zero;
  }
  CHECK(plan_fill(family, maps, request, context, {}).status().code() == ErrorCode::too_large);
  request.block_count = 4096 / 100;
  Result<FillPlan> plan = plan_fill(family, maps, request, context, {});
  REQUIRE(plan.status().to_string() == "ok");
  CHECK(plan->written.size() == request.block_count);
  CHECK(plan->layers == 100);
}

}  // namespace cairn::pg
