// The step that frees blocks of zeros: on all copies, beside writers, under snapshots.
#include "base/probe.hh"
#include "io/random.hh"
#include "pg/snap_test_client.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kObjectBlocks = 12;

Step sparsify(std::uint64_t shown_blocks = 0, std::uint64_t unit_blocks = 1) {
  return of_range(StepCode::sparsify, shown_blocks, unit_blocks);
}

// "state letter per block" of an object: . absent, z zero, d data.
std::string states(SnapTestClient& image, std::uint64_t snap = kHead) {
  std::string text;
  const SnapAnswer answer =
      image.run("a", {of_range(StepCode::extents, 0, kObjectBlocks)}, {}, snap);
  CHECK(answer.status.to_string() == "ok");
  for (const net::ExtentRun& run : answer.reply.extents)
    text.append(run.length / kBlockBytes, ".zd"[run.state]);
  return text;
}

std::uint64_t freed_blocks(const SnapAnswer& answer) {
  CHECK(answer.status.to_string() == "ok");
  std::uint64_t blocks = 0;
  for (const net::ExtentRun& run : answer.reply.extents) blocks += run.length / kBlockBytes;
  return blocks;
}

std::uint64_t entries_of(SimOsds& cluster) {
  return cluster.osds[0]->core->find_pg(kTestPg)->log().head_number();
}

}  // namespace

TEST_CASE("sparsify: zeros are freed on all copies, by one entry, and said so") {
  SnapTestCluster cluster(41);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 0, kObjectBlocks);
  image.write("a", 3, 7);
  image.write("a", 8, 8);
  const std::uint64_t entries = entries_of(cluster);
  const std::uint64_t used = used_bytes(cluster, 2);
  CHECK(freed_blocks(image.run("a", {sparsify()})) == kObjectBlocks - 2);
  CHECK(entries_of(cluster) == entries + 1);
  CHECK(states(image) == "...d....d...");
  CHECK(image.value("a", 3) == 7);
  CHECK(image.value("a", 4) == 0);
  check_same_copies(cluster);
  CHECK(used_bytes(cluster, 2) == used - (kObjectBlocks - 2) * kBlockBytes);
  // Nothing more to do: no entry.
  CHECK(freed_blocks(image.run("a", {sparsify()})) == 0);
  CHECK(entries_of(cluster) == entries + 1);
  CHECK(freed_blocks(image.run("never", {sparsify()})) == 0);
  CHECK(entries_of(cluster) == entries + 1);
}

TEST_CASE("sparsify: an object without data goes, but keeps zeros where a parent may show") {
  SnapTestCluster cluster(42);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 0, kObjectBlocks);
  CHECK(freed_blocks(image.run("a", {sparsify(5)})) == kObjectBlocks);
  CHECK(states(image) == "zzzzz.......");
  CHECK(image.value("a", 2) == 0);
  image.write("a", 0, 0, kObjectBlocks);
  CHECK(freed_blocks(image.run("a", {sparsify(0, 4)})) == kObjectBlocks);
  CHECK(image.value("a", 2) == -1);
  check_same_copies(cluster);
}

TEST_CASE("sparsify: no snapshot shows anything else, whether it has a clone or shares the head") {
  SnapTestCluster cluster(43);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 0, kObjectBlocks);
  image.write("a", 1, 1);
  const std::uint64_t first = image.take_snapshot();
  image.write("a", 2, 2);
  const std::uint64_t second = image.take_snapshot();
  // Without a context, as clients send it: the head's zeros go for the second snapshot too.
  const net::SnapContext context = std::exchange(image.context, {});
  CHECK(freed_blocks(image.run("a", {sparsify(4)})) == kObjectBlocks - 2);
  image.context = context;
  CHECK(states(image) == "zddz........");
  CHECK(states(image, second) == "zddz........");
  CHECK(states(image, first) == std::string(kObjectBlocks, 'd'));
  image.write("a", 0, 9);
  CHECK(states(image, second) == "zddz........");
  CHECK(image.value("a", 0, second) == 0);
  CHECK(image.value("a", 2, second) == 2);
  CHECK(image.value("a", 1, first) == 1);
  CHECK(image.value("a", 2, first) == 0);
  // Of a head that goes: its snapshots read as before.
  image.write("a", 0, 0, kObjectBlocks);
  const std::uint64_t third = image.take_snapshot();
  const net::SnapContext newest = std::exchange(image.context, {});
  CHECK(freed_blocks(image.run("a", {sparsify()})) == kObjectBlocks);
  image.context = newest;
  CHECK(image.value("a", 0) == -1);
  CHECK(image.value("a", 0, third) == -1);
  CHECK(image.value("a", 0, second) == 0);
  CHECK(image.value("a", 2, second) == 2);
  image.write("a", 0, 5);
  CHECK(image.value("a", 0, third) == -1);
  // Under a context a snapshot that shares the head keeps what it has.
  image.write("a", 1, 0);
  const std::uint64_t fourth = image.take_snapshot();
  CHECK(freed_blocks(image.run("a", {sparsify()})) == 1);
  CHECK(states(image) == "d...........");
  CHECK(states(image, fourth) == "dd..........");
  check_same_copies(cluster);
}

TEST_CASE("sparsify: racing writes are kept, whenever they come") {
  const std::uint64_t changed_before = probe_hits("pg_zeros_changed_meanwhile");
  for (std::uint64_t seed = 50; seed < 80; ++seed) {
    SnapTestCluster cluster(seed);
    SnapTestClient& image = cluster.image;
    io::Random random(seed);
    image.write("a", 0, 0, kObjectBlocks);
    image.write("a", 5, 5);
    std::vector<int> expected(kObjectBlocks);
    expected[5] = 5;
    std::vector<std::shared_ptr<SnapAnswer>> answers;
    for (int i = 1; i < 9; ++i) {
      if (i % 3 == 1) answers.push_back(image.send("a", {sparsify(random.below(4))}));
      const std::uint64_t block = random.below(kObjectBlocks);
      const int value = random.chance(0.3) ? 0 : 10 + i;
      answers.push_back(image.send("a", {of_range(StepCode::write, block, 1)}, block_of(value)));
      expected[block] = value;
      cluster.executor.run_for(random.below(400) * 1000);
    }
    for (const auto& answer : answers) {
      image.wait(answer);
      CHECK(answer->status.to_string() == "ok");
    }
    for (std::uint64_t block = 0; block < kObjectBlocks; ++block)
      CHECK(std::max(image.value("a", block), 0) == expected[block]);
    check_same_copies(cluster);
  }
  CHECK(probe_hits("pg_zeros_changed_meanwhile") > changed_before);
}

TEST_CASE("sparsify: writes need not wait until an object has been read for zeros") {
  SnapTestCluster cluster(81);
  SnapTestClient& image = cluster.image;
  constexpr std::uint64_t kBlocks = 1024;
  image.write("a", 0, 0, kBlocks);
  const auto freeing = image.send("a", {sparsify()});
  const auto written = image.send("a", {of_range(StepCode::write, kBlocks - 1, 1)}, block_of(6));
  image.wait(written);
  CHECK(freeing->status.code() == ErrorCode::timed_out);  // not answered yet
  image.wait(freeing);
  CHECK(freed_blocks(*freeing) == kBlocks - 1);
  CHECK(image.value("a", kBlocks - 1) == 6);
  check_same_copies(cluster);
}

}  // namespace cairn::pg
