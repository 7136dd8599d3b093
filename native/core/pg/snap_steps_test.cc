// The steps about blocks and layers: sparse reads, copyups, differences and lists.
#include <cstring>

#include "pg/snap_test_client.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kObjectBlocks = 8;

Step listing(StepCode code, std::string prefix, std::string after, std::uint64_t limit,
             std::uint64_t from) {
  return {code, from, limit, std::move(prefix), std::move(after)};
}

// "first..count:state ..." in blocks.
std::string text_of(const std::vector<net::ExtentRun>& runs) {
  std::string text;
  for (const net::ExtentRun& run : runs) {
    if (!text.empty()) text += " ";
    text += std::to_string(run.offset / kBlockBytes) + "+" +
            std::to_string(run.length / kBlockBytes) + ":" + std::to_string(run.state);
  }
  return text;
}

std::string names_of(const net::OpReply& reply) {
  std::string text;
  for (const auto& [name, value] : reply.omap) {
    if (!text.empty()) text += " ";
    text += name + ":" + std::to_string(static_cast<int>(value[0]));
  }
  return text;
}

}  // namespace

TEST_CASE("snapshots: a sparse read gives states and the bytes of data") {
  SnapTestCluster cluster(7);
  SnapTestClient& image = cluster.image;
  image.write("a", 1, 1);
  image.change("a", of_range(StepCode::write_zeroes, 2, 1));
  image.write("a", 4, 2);
  const std::uint64_t snap = image.take_snapshot();
  image.write("a", 0, 3, kObjectBlocks);
  const Step whole = of_range(StepCode::sparse_read, 0, kObjectBlocks);
  SnapAnswer answer = image.run("a", {whole}, {}, snap);
  CHECK(text_of(answer.reply.extents) == "0+1:0 1+1:2 2+1:1 3+1:0 4+1:2 5+3:0");
  REQUIRE(answer.data.size() == 2 * kBlockBytes);
  CHECK(answer.data.data()[0] == std::byte{1});
  CHECK(answer.data.data()[kBlockBytes] == std::byte{2});
  answer = image.run("a", {whole});
  CHECK(text_of(answer.reply.extents) == "0+8:2");
  CHECK(answer.data.size() == kObjectBlocks * kBlockBytes);
  // A range that begins and ends within blocks.
  answer = image.run("a", {{StepCode::sparse_read, kBlockBytes + 100, 2 * kBlockBytes, {}, {}}}, {},
                     snap);
  REQUIRE(answer.reply.extents.size() == 3);
  CHECK(answer.reply.extents[0].length == kBlockBytes - 100);
  CHECK(answer.reply.extents[2].length == 100);
  CHECK(answer.data.size() == kBlockBytes - 100);
  answer = image.run("never", {whole}, {}, snap);
  CHECK_FALSE(answer.reply.exists);
  CHECK(text_of(answer.reply.extents) == "0+8:0");
  CHECK(answer.data.empty());
}

TEST_CASE("snapshots: a copyup fills what is absent and nothing else, under its context") {
  SnapTestCluster cluster(8);
  SnapTestClient& image = cluster.image;
  const Step present = of_range(StepCode::assert_present, 0, 4);
  const Step touch{StepCode::touch, 0, 0, {}, {}};
  image.write("a", 1, 1);
  image.change("a", of_range(StepCode::write_zeroes, 3, 1));
  const std::uint64_t snap = image.take_snapshot();
  CHECK(image.run("a", {present, touch}).status.code() == ErrorCode::precondition_failed);
  Buffer parent = Buffer::allocate(4 * kBlockBytes);
  std::memset(parent.data(), 9, parent.size());
  const Step copyup = of_range(StepCode::copyup, 0, 4);
  CHECK(image.run("a", {copyup}, parent).status.to_string() == "ok");
  const std::vector<int> expected = {9, 1, 9, 0};
  for (std::size_t block = 0; block < expected.size(); ++block)
    CHECK(image.value("a", block) == expected[block]);
  CHECK(image.run("a", {present, touch}).status.to_string() == "ok");
  const Step extents = of_range(StepCode::extents, 0, 4);
  CHECK(text_of(image.run("a", {extents}, {}, snap).reply.extents) == "0+1:0 1+1:2 2+1:0 3+1:1");
  // All there: no entry. An object that is not there: all of it, and older snapshots don't show it.
  const std::uint64_t entries = cluster.osds[0]->core->find_pg(kTestPg)->log().head_number();
  CHECK(image.run("a", {copyup}, parent).status.to_string() == "ok");
  CHECK(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == entries);
  CHECK(image.run("b", {copyup}, parent).status.to_string() == "ok");
  CHECK(image.value("b", 2) == 9);
  CHECK(image.value("b", 2, snap) == -1);
  check_same_copies(cluster);
}

TEST_CASE("snapshots: a copyup of every other block is one entry") {
  SnapTestCluster cluster(9);
  SnapTestClient& image = cluster.image;
  constexpr std::uint64_t kBlocks = 600;
  for (std::uint64_t block = 0; block < kBlocks; block += 2) image.write("a", block, 1);
  Buffer parent = Buffer::allocate(kBlocks * kBlockBytes);
  const auto parent_value = [](std::uint64_t block) { return 2 + static_cast<int>(block % 250); };
  for (std::uint64_t block = 0; block < kBlocks; ++block)
    std::memset(parent.data() + block * kBlockBytes, parent_value(block), kBlockBytes);
  CHECK(image.run("a", {of_range(StepCode::copyup, 0, kBlocks)}, parent).status.is_ok());
  CHECK(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == kBlocks / 2 + 1);
  for (std::uint64_t block = 0; block < kBlocks; block += 7)
    CHECK(image.value("a", block) == (block % 2 == 0 ? 1 : parent_value(block)));
  check_same_copies(cluster);
}

TEST_CASE("snapshots: racing copyups and writes keep what was written") {
  for (std::uint64_t seed = 20; seed < 26; ++seed) {
    SnapTestCluster cluster(seed);
    SnapTestClient& image = cluster.image;
    image.write("a", 7, 1);
    image.take_snapshot();
    Buffer parent = Buffer::allocate(kObjectBlocks * kBlockBytes);
    std::memset(parent.data(), 9, parent.size());
    std::vector<std::shared_ptr<SnapAnswer>> answers;
    for (std::uint64_t block = 0; block < 6; ++block) {
      if (block % 2 == 0)
        answers.push_back(image.send("a", {of_range(StepCode::copyup, 0, kObjectBlocks)}, parent));
      answers.push_back(image.send("a", {of_range(StepCode::write, block, 1)},
                                   block_of(static_cast<int>(10 + block))));
    }
    for (const auto& answer : answers) {
      image.wait(answer);
      CHECK(answer->status.to_string() == "ok");
    }
    for (std::uint64_t block = 0; block < 6; ++block)
      CHECK(image.value("a", block) == static_cast<int>(10 + block));
    CHECK(image.value("a", 6) == 9);
    CHECK(image.value("a", 7) == 1);
    CHECK(image.value("a", 7, 1) == 1);
    CHECK(image.value("a", 6, 1) == 0);
    check_same_copies(cluster);
  }
}

TEST_CASE("snapshots: a diff names the blocks that are not the same, with their state") {
  SnapTestCluster cluster(10);
  SnapTestClient& image = cluster.image;
  image.write("a", 0, 1, 4);
  const std::uint64_t first = image.take_snapshot();
  image.write("a", 1, 2);
  image.change("a", of_range(StepCode::write_zeroes, 2, 1));
  image.change("a", of_range(StepCode::punch, 3, 1));
  image.write("a", 5, 2);
  const std::uint64_t second = image.take_snapshot();
  const auto diff = [&image](std::uint64_t from, std::uint64_t to) {
    const SnapAnswer answer = image.run("a", {of_snap(StepCode::diff, from)}, {}, to);
    CHECK(answer.status.to_string() == "ok");
    return text_of(answer.reply.extents);
  };
  CHECK(diff(first, kHead) == "1+1:2 2+1:1 3+1:0 5+1:2");
  CHECK(diff(first, second) == "1+1:2 2+1:1 3+1:0 5+1:2");
  CHECK(diff(second, kHead).empty());
  CHECK(diff(0, first) == "0+4:2");
  CHECK(diff(0, kHead) == "0+2:2 2+1:1 5+1:2");
  image.change("a", of_range(StepCode::remove, 0, 0));
  CHECK(diff(second, kHead) == "0+3:0 5+1:0");
  CHECK(diff(0, kHead).empty());
  // Rolled back it is the same again, block by block.
  image.change("a", of_snap(StepCode::rollback, second));
  CHECK(diff(second, kHead).empty());
  CHECK(diff(first, second) == "1+1:2 2+1:1 3+1:0 5+1:2");
  CHECK(image.run("a", {of_snap(StepCode::diff, second)}, {}, first).status.code() ==
        ErrorCode::invalid_argument);
}

TEST_CASE("snapshots: a list waits for an object that its primary lacks") {
  SnapTestCluster cluster(14);
  SnapTestClient& image = cluster.image;
  for (const char* name : {"i.a", "i.b"}) image.write(name, 0, 1);
  cluster.kill(0);
  cluster.new_interval({1, 2});
  image.write("i.c", 0, 2);
  image.change("i.a", of_range(StepCode::remove, 0, 0));
  cluster.restart(0);
  // It has the log from the first of these, leads in the second, and lacks the objects in both.
  cluster.new_interval({1, 0, 2});
  cluster.new_interval({0, 1, 2});
  const std::uint64_t before = hits_of("pg_list_waits_for_recovery");
  const Step step = listing(StepCode::list_objects, "i.", "", 100, 0);
  const SnapAnswer answer = image.run("i.", {step});
  CHECK(answer.status.to_string() == "ok");
  CHECK(names_of(answer.reply) == "i.b:3 i.c:3");
  CHECK(hits_of("pg_list_waits_for_recovery") > before);
}

TEST_CASE("snapshots: lists name what exists or may differ, in pages, with block counts") {
  SnapTestCluster cluster(11);
  SnapTestClient& image = cluster.image;
  for (const char* name : {"i.a", "i.b", "i.c", "other", "i"}) image.write(name, 0, 1, 3);
  const std::uint64_t snap = image.take_snapshot();
  image.write("i.b", 1, 2);
  image.change("i.c", of_range(StepCode::remove, 0, 0));
  image.write("i.d", 0, 2);
  image.change("i.d", of_range(StepCode::write_zeroes, 1, 2));
  // What is created and removed after the snapshot is nowhere.
  image.write("i.e", 0, 2);
  image.change("i.e", of_range(StepCode::remove, 0, 0));
  const auto list = [&image](std::string after, std::uint64_t limit, std::uint64_t from,
                             std::uint64_t to) {
    const Step step = listing(StepCode::list_objects, "i.", std::move(after), limit, from);
    const SnapAnswer answer = image.run("i.", {step}, {}, to);
    CHECK(answer.status.to_string() == "ok");
    return names_of(answer.reply);
  };
  CHECK(list("", 100, snap, kHead) == "i.a:1 i.b:3 i.c:2 i.d:3");
  CHECK(list("", 2, snap, kHead) == "i.a:1 i.b:3");
  CHECK(list("i.b", 2, snap, kHead) == "i.c:2 i.d:3");
  CHECK(list("", 100, 0, snap) == "i.a:3 i.b:3 i.c:3");
  CHECK(list("", 100, 0, kHead) == "i.a:3 i.b:3 i.d:3");
  const Step measure = listing(StepCode::measure_objects, "i.", "", 100, snap);
  const SnapAnswer answer = image.run("i.", {measure});
  REQUIRE(answer.reply.omap.size() == 4);
  const auto counts = [&answer](std::size_t at) {
    Reader reader(as_bytes(answer.reply.omap[at].second));
    const auto flags = reader.get<std::uint8_t>();
    const auto data = reader.get<std::uint32_t>();
    const auto zero = reader.get<std::uint32_t>();
    CHECK(reader.at_end());
    return std::to_string(flags) + " " + std::to_string(data) + " " + std::to_string(zero);
  };
  CHECK(counts(0) == "1 0 0");
  CHECK(counts(1) == "3 1 0");
  CHECK(counts(2) == "2 0 0");
  CHECK(counts(3) == "3 1 2");
  // The PG's own object has no place in a list, and a page of the store is no limit.
  CHECK(cluster.operate_fenced({"i", 1}, "i.a", {of_range(StepCode::write, 0, 1)}, block_of(1))
            .is_ok());
  for (int i = 0; i < 150; ++i) image.write("many" + std::to_string(1000 + i), 0, 1);
  const SnapAnswer all = image.run("x", {listing(StepCode::list_objects, "", "", 1000, 0)});
  CHECK(all.reply.omap.size() == 155);
}

}  // namespace cairn::pg
