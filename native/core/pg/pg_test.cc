// The PG gate, replication and recovery over real stores, simulated disks and network.
#include <algorithm>
#include <cstring>

#include "io/random.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

Buffer filled(std::size_t length, int value) {
  Buffer buffer = Buffer::allocate(length);
  std::memset(buffer.data(), value, length);
  return buffer;
}

Step write_at(std::uint64_t offset, std::uint64_t length) {
  return {StepCode::write, offset, length, {}, {}};
}

void write(SimOsds& cluster, const std::string& object, std::uint64_t offset, std::size_t length,
           int value) {
  cluster.operate(object, {write_at(offset, length)}, filled(length, value));
}

Buffer read(SimOsds& cluster, const std::string& object, std::uint64_t offset,
            std::uint64_t length) {
  Buffer data;
  cluster.operate(object, {{StepCode::read, offset, length, {}, {}}}, {}, nullptr, &data);
  return data;
}

bool all_equal(const Buffer& buffer, int value) {
  return std::all_of(buffer.span().begin(), buffer.span().end(),
                     [value](std::byte b) { return b == static_cast<std::byte>(value); });
}

void check_copies(SimOsds& cluster, const std::string& object, const std::vector<OsdId>& osds) {
  const std::string expected = cluster.digest(osds.front(), object);
  for (const OsdId osd : osds) CHECK(cluster.digest(osd, object) == expected);
}

}  // namespace

TEST_CASE("pg: a write is on all three copies when it is acknowledged, and reads back") {
  SimOsds cluster(1);
  cluster.new_interval({0, 1, 2});
  write(cluster, "a", 8192, 4096, 7);
  check_copies(cluster, "a", {0, 1, 2});
  CHECK(cluster.digest(1, "a").starts_with("exists"));
  CHECK(all_equal(read(cluster, "a", 8192, 4096), 7));
  CHECK(all_equal(read(cluster, "a", 0, 8192), 0));
}

TEST_CASE("pg: partial blocks keep their other bytes; zeroing takes whole blocks") {
  SimOsds cluster(2);
  cluster.new_interval({0, 1, 2});
  write(cluster, "a", 0, 8192, 1);
  write(cluster, "a", 100, 5000, 2);
  const Buffer data = read(cluster, "a", 0, 8192);
  CHECK(all_equal(data.slice(0, 100), 1));
  CHECK(all_equal(data.slice(100, 5000), 2));
  CHECK(all_equal(data.slice(5100, 3092), 1));
  cluster.operate("a", {{StepCode::write_zeroes, 4096, 4096, {}, {}}}, {});
  CHECK(all_equal(read(cluster, "a", 4096, 4096), 0));
  Status status;
  cluster.operate("a", {{StepCode::punch, 1, 4096, {}, {}}}, {}, &status);
  CHECK(status.code() == ErrorCode::invalid_argument);
  const net::OpReply reply = cluster.operate("a", {{StepCode::extents, 0, 12288, {}, {}}}, {});
  REQUIRE(reply.extents.size() == 3);
  CHECK(reply.extents[0].state == 2);
  CHECK(reply.extents[1].state == 1);
  CHECK(reply.extents[2].state == 0);
  check_copies(cluster, "a", {0, 1, 2});
}

TEST_CASE("pg: steps about key-values are answered, and fail, in their order") {
  SimOsds cluster(31);
  cluster.new_interval({0, 1, 2});
  // More than are asked for at once, with changes between them.
  std::vector<Step> fill;
  std::vector<Step> look;
  for (int i = 0; i < 50; ++i) {
    const std::string key = "k" + std::to_string(i);
    fill.push_back({StepCode::omap_set, 0, 0, key, "v" + std::to_string(i)});
    look.push_back({StepCode::omap_get, 0, 0, key, {}});
    if (i % 10 == 0) look.push_back({StepCode::omap_remove, 0, 0, key, {}});
  }
  cluster.operate("a", fill, {});
  look.insert(look.begin() + 40, {StepCode::stat, 0, 0, {}, {}});
  const net::OpReply reply = cluster.operate("a", look, {});
  REQUIRE(reply.omap.size() == 50);
  for (int i = 0; i < 50; ++i)
    CHECK(reply.omap[static_cast<std::size_t>(i)].second == "v" + std::to_string(i));
  const Step gone{StepCode::omap_get, 0, 0, "k0", {}};
  const Step other{StepCode::omap_compare, 0, 0, "k1", "another"};
  Status status;
  cluster.operate("a", {gone, other}, {}, &status);
  CHECK(status.code() == ErrorCode::not_found);
  cluster.operate("a", {other, gone}, {}, &status);
  CHECK(status.code() == ErrorCode::precondition_failed);
}

TEST_CASE("pg: guards make operations atomic") {
  SimOsds cluster(3);
  cluster.new_interval({0, 1, 2});
  Status status;
  const std::vector<Step> create = {{StepCode::assert_absent, 0, 0, {}, {}},
                                    {StepCode::omap_set, 0, 0, "k", "v1"}};
  cluster.operate("header", create, {}, &status);
  CHECK(status.is_ok());
  cluster.operate("header", create, {}, &status);
  CHECK(status.code() == ErrorCode::already_exists);
  const std::vector<Step> swap = {{StepCode::omap_compare, 0, 0, "k", "v1"},
                                  {StepCode::omap_set, 0, 0, "k", "v2"}};
  int swapped = 0;
  int answered = 0;
  for (int i = 0; i < 8; ++i) {
    cluster.submit("header", swap, {}, [&](Status outcome, net::OpReply, Buffer) {
      ++answered;
      if (outcome) ++swapped;
    });
  }
  cluster.run_until([&answered] { return answered == 8; });
  CHECK(swapped == 1);
  const net::OpReply reply = cluster.operate("header", {{StepCode::omap_get, 0, 0, "k", {}}}, {});
  REQUIRE(reply.omap.size() == 1);
  CHECK(reply.omap[0].second == "v2");
  check_copies(cluster, "header", {0, 1, 2});
}

TEST_CASE("pg: operations in flight survive the death of a replica, each applied once") {
  SimOsds cluster(4);
  cluster.new_interval({0, 1, 2});
  int answered = 0;
  for (int i = 0; i < 40; ++i) {
    cluster.submit("object" + std::to_string(i % 4),
                   {write_at(4096ULL * static_cast<unsigned>(i), 4096)}, filled(4096, i + 1),
                   [&](Status status, net::OpReply, Buffer) {
                     CHECK(status.to_string() == "ok");
                     ++answered;
                   });
  }
  cluster.executor.run_for(300'000);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  cluster.run_until([&answered] { return answered == 40; });
  CHECK(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == 40);
  for (int i = 0; i < 4; ++i) check_copies(cluster, "object" + std::to_string(i), {0, 1});
}

TEST_CASE(
    "pg: a replica that was away gets what it lacks; a client's write does not wait for all") {
  SimOsds cluster(5);
  cluster.new_interval({0, 1, 2});
  for (int i = 0; i < 30; ++i) write(cluster, "object" + std::to_string(i), 0, 8192, 1);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  for (int i = 0; i < 30; i += 2) write(cluster, "object" + std::to_string(i), 4096, 4096, 2);
  cluster.operate("object0", {{StepCode::remove, 0, 0, {}, {}}}, {});
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  write(cluster, "object28", 4096, 4096, 3);
  cluster.run_until([&cluster] { return cluster.clean(); });
  for (int i = 0; i < 30; ++i) check_copies(cluster, "object" + std::to_string(i), {0, 1, 2});
  CHECK(cluster.digest(2, "object0").starts_with("absent"));
  CHECK(all_equal(read(cluster, "object28", 4096, 4096), 3));
}

TEST_CASE("pg: a primary that was away pulls before it answers") {
  SimOsds cluster(6);
  cluster.new_interval({0, 1, 2});
  write(cluster, "a", 0, 4096, 1);
  cluster.kill(0);
  cluster.new_interval({1, 2});
  write(cluster, "a", 0, 4096, 2);
  cluster.restart(0);
  // The harness' authority is the first: let 1 lead once more, then hand over.
  cluster.new_interval({1, 2, 0});
  cluster.run_until([&cluster] { return cluster.clean(); });
  cluster.new_interval({0, 1, 2});
  CHECK(all_equal(read(cluster, "a", 0, 4096), 2));
  check_copies(cluster, "a", {0, 1, 2});
}

TEST_CASE("pg: broken connections lose nothing and apply nothing twice") {
  for (std::uint64_t seed = 10; seed < 16; ++seed) {
    net::SimNetworkConfig network;
    network.resets_per_million = 20'000;
    SimOsds cluster(seed, network);
    cluster.new_interval({0, 1, 2});
    io::Random random(seed);
    std::map<std::uint64_t, int> model;
    int answered = 0;
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t block = random.below(64);
      const int value = 1 + static_cast<int>(random.below(250));
      if (model.contains(block)) continue;
      model[block] = value;
      cluster.submit("object", {write_at(block * 4096, 4096)}, filled(4096, value),
                     [&](Status status, net::OpReply, Buffer) {
                       CHECK(status.to_string() == "ok");
                       ++answered;
                     });
    }
    cluster.run_until([&] { return answered == static_cast<int>(model.size()); });
    CHECK(cluster.osds[0]->core->find_pg(kTestPg)->log().head_number() == model.size());
    for (const auto& [block, value] : model) {
      CHECK(all_equal(read(cluster, "object", block * 4096, 4096), value));
    }
    check_copies(cluster, "object", {0, 1, 2});
  }
}

}  // namespace cairn::pg
