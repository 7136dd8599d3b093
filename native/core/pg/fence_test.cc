// Fencing: the table by itself, then over real stores, simulated disks and network.
#include "pg/fence.hh"

#include <cstring>

#include "io/random.hh"
#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Fence;
using net::Step;
using net::StepCode;

namespace {

Buffer filled(int value) {
  Buffer buffer = Buffer::allocate(kBlockBytes);
  std::memset(buffer.data(), value, buffer.size());
  return buffer;
}

Fence token(std::uint64_t number) { return {"image1", number}; }

ErrorCode write(SimOsds& cluster, const Fence& fence, const std::string& object, int value) {
  return cluster
      .operate_fenced(fence, object, {{StepCode::write, 0, kBlockBytes, {}, {}}}, filled(value))
      .code();
}

ErrorCode read(SimOsds& cluster, const Fence& fence, const std::string& object,
               int* value = nullptr) {
  Buffer data;
  const ErrorCode code =
      cluster.operate_fenced(fence, object, {{StepCode::read, 0, kBlockBytes, {}, {}}}, {}, &data)
          .code();
  if (value != nullptr) *value = data.empty() ? -1 : static_cast<int>(data.data()[0]);
  return code;
}

// Nothing under the old token, neither on a known object nor on a new one.
void check_fenced(SimOsds& cluster, std::uint64_t stale) {
  CHECK(write(cluster, token(stale), "a", 99) == ErrorCode::fenced);
  CHECK(write(cluster, token(stale), "never-written", 99) == ErrorCode::fenced);
  CHECK(read(cluster, token(stale), "a") == ErrorCode::fenced);
}

}  // namespace

TEST_CASE("fence table: verdicts from first sight to the next holder") {
  using Verdict = FenceTable::Verdict;
  FenceTable table;
  CHECK(table.judge(token(5)) == Verdict::load);
  table.load_started("image1");
  CHECK(table.judge(token(5)) == Verdict::wait);
  table.loaded("image1", 4);
  CHECK(table.judge(token(3)) == Verdict::refuse);
  CHECK(table.judge(token(4)) == Verdict::serve);
  CHECK(table.judge(token(5)) == Verdict::raise);
  table.raise_started(token(5));
  // Seen is enough to refuse, but not to serve.
  CHECK(table.judge(token(4)) == Verdict::refuse);
  CHECK(table.judge(token(5)) == Verdict::wait);
  CHECK(table.judge(token(6)) == Verdict::wait);
  CHECK(table.superseded(token(4)));
  CHECK_FALSE(table.superseded(token(5)));
  table.raised(token(5));
  CHECK(table.judge(token(5)) == Verdict::serve);
  CHECK(table.judge(token(6)) == Verdict::raise);
  CHECK(table.judge({"image2", 1}) == Verdict::load);
  table.clear();
  CHECK(table.judge(token(5)) == Verdict::load);
  CHECK(decode_token(encode_token(7)).is_ok());
  CHECK(decode_token("short").status().code() == ErrorCode::corrupt);
}

TEST_CASE("fence: a higher token ends the lower one, for reads too, and only for its image") {
  SimOsds cluster(30);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, token(1), "a", 1) == ErrorCode::ok);
  CHECK(write(cluster, {"image2", 1}, "b", 1) == ErrorCode::ok);
  CHECK(read(cluster, token(2), "a") == ErrorCode::ok);
  check_fenced(cluster, 1);
  int value = 0;
  CHECK(read(cluster, token(2), "a", &value) == ErrorCode::ok);
  CHECK(value == 1);
  CHECK(write(cluster, {"image2", 1}, "b", 2) == ErrorCode::ok);
  CHECK(read(cluster, {}, "a") == ErrorCode::ok);  // under no lock
}

TEST_CASE("fence: when the new holder is answered, the token is on every copy") {
  SimOsds cluster(31);
  cluster.new_interval({0, 1, 2});
  CHECK(read(cluster, token(7), "a") == ErrorCode::ok);
  const std::string expected = cluster.digest(0, kFenceObject);
  CHECK(expected.starts_with("exists"));
  CHECK(expected.find("image1=") != std::string::npos);
  CHECK(cluster.digest(1, kFenceObject) == expected);
  CHECK(cluster.digest(2, kFenceObject) == expected);
}

TEST_CASE("fence: the fence object is out of a client's reach") {
  SimOsds cluster(32);
  cluster.new_interval({0, 1, 2});
  const Status status =
      cluster.operate_fenced({}, kFenceObject, {{StepCode::remove, 0, 0, {}, {}}}, {});
  CHECK(status.code() == ErrorCode::permission_denied);
}

TEST_CASE("fence: nothing of a client on the blocklist is carried out, with or without a token") {
  SimOsds cluster(37);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, {}, "a", 1) == ErrorCode::ok);
  for (auto& [id, osd] : cluster.osds) osd->core->set_blocklist({5, 77});
  CHECK(write(cluster, {}, "a", 2) == ErrorCode::blocklisted);
  CHECK(read(cluster, token(1), "a") == ErrorCode::blocklisted);
  for (auto& [id, osd] : cluster.osds) osd->core->set_blocklist({5});
  int value = 0;
  CHECK(read(cluster, {}, "a", &value) == ErrorCode::ok);
  CHECK(value == 1);
}

TEST_CASE("fence: each copy that takes over as primary refuses the old token") {
  SimOsds cluster(33);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, token(1), "a", 1) == ErrorCode::ok);
  CHECK(write(cluster, token(2), "a", 2) == ErrorCode::ok);
  const std::vector<std::vector<OsdId>> orders = {{1, 0, 2}, {2, 1, 0}, {1, 2}, {2}};
  for (const std::vector<OsdId>& acting : orders) {
    cluster.new_interval(acting);
    check_fenced(cluster, 1);
    CHECK(read(cluster, token(2), "a") == ErrorCode::ok);
  }
}

TEST_CASE("fence: a copy that was down while the token rose refuses the old one as primary") {
  SimOsds cluster(34);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, token(1), "a", 1) == ErrorCode::ok);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  CHECK(write(cluster, token(2), "a", 2) == ErrorCode::ok);
  cluster.restart(2);
  cluster.new_interval({0, 2, 1});
  // Its copy of the tokens is old until it is recovered; as primary it must wait for that.
  cluster.run_until([&cluster] { return cluster.clean(); });
  cluster.new_interval({2, 0, 1});
  check_fenced(cluster, 1);
  int value = 0;
  CHECK(read(cluster, token(2), "a", &value) == ErrorCode::ok);
  CHECK(value == 2);
}

TEST_CASE("fence: a copy that was made anew as a whole refuses the old token as primary") {
  SimOsds cluster(37);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, token(1), "a", 1) == ErrorCode::ok);
  CHECK(write(cluster, token(2), "a", 2) == ErrorCode::ok);
  cluster.kill(2);
  cluster.restart_empty(2);
  cluster.new_interval({0, 2, 1});
  CHECK(cluster.osds[2]->core->find_pg(kTestPg)->log().tail_number() ==
        cluster.osds[0]->core->find_pg(kTestPg)->log().head_number());
  cluster.run_until([&cluster] { return cluster.clean(); });
  // Alone, so that nobody else can refuse for it.
  cluster.new_interval({2});
  check_fenced(cluster, 1);
  int value = 0;
  CHECK(read(cluster, token(2), "a", &value) == ErrorCode::ok);
  CHECK(value == 2);
}

TEST_CASE("fence: a primary that lacks the newest tokens serves nothing under a token till then") {
  SimOsds cluster(35);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, token(1), "a", 1) == ErrorCode::ok);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  CHECK(write(cluster, token(2), "a", 2) == ErrorCode::ok);
  cluster.restart(2);
  cluster.new_interval({0, 2, 1});
  cluster.osds[0]->core->set_recovery(kTestPg, cluster.epoch, 0);
  // osd.2 has the log with the new token, but lacks the object: it is the primary of the next
  // interval, with the others as its sources.
  cluster.new_interval({2, 0, 1});
  bool answered = false;
  Status outcome;
  cluster.client->submit({kTestPg.pool, "a", token(1)}, {{StepCode::read, 0, kBlockBytes, {}, {}}},
                         {}, [&](Status status, net::OpReply, Buffer) {
                           answered = true;
                           outcome = std::move(status);
                         });
  cluster.run_until([&answered] { return answered; });
  CHECK(outcome.code() == ErrorCode::fenced);
}

TEST_CASE("fence: the token survives a restart of all OSDs at once") {
  SimOsds cluster(36);
  cluster.new_interval({0, 1, 2});
  CHECK(write(cluster, token(1), "a", 1) == ErrorCode::ok);
  CHECK(read(cluster, token(2), "b") == ErrorCode::ok);
  for (OsdId osd = 0; osd < 3; ++osd) cluster.kill(osd);
  for (OsdId osd = 0; osd < 3; ++osd) cluster.restart(osd);
  cluster.new_interval({1, 2, 0});
  check_fenced(cluster, 1);
  int value = 0;
  CHECK(read(cluster, token(2), "a", &value) == ErrorCode::ok);
  CHECK(value == 1);
}

TEST_CASE("fence: an interval that ends while the token rises loses neither order nor answer") {
  // Two holders at once, with intervals that change under them: whatever is acknowledged under
  // token 1 was so before anything was under token 2.
  for (std::uint64_t seed = 40; seed < 60; ++seed) {
    INFO(seed);
    SimOsds cluster(seed);
    io::Random random(seed);
    cluster.new_interval({0, 1, 2});
    bool new_served = false;
    std::size_t answers = 0;
    std::size_t sent = 0;
    std::size_t stale_after = 0;
    const auto submit = [&](std::uint64_t number) {
      ++sent;
      cluster.client->submit(
          {kTestPg.pool, "a", token(number)}, {{StepCode::write, 0, kBlockBytes, {}, {}}},
          filled(static_cast<int>(number)),
          [&, number, sent_after_new = new_served](Status status, net::OpReply, Buffer) {
            ++answers;
            if (number == 2 && status) new_served = true;
            if (number == 1 && sent_after_new && status) ++stale_after;
          });
    };
    for (int round = 0; round < 6; ++round) {
      for (int i = 0; i < 4; ++i) submit(1);
      if (round >= 2) submit(2);
      for (int i = 0; i < 4; ++i) submit(1);
      const auto first = static_cast<OsdId>(random.below(3));
      cluster.new_interval({first, (first + 1) % 3, (first + 2) % 3});
    }
    cluster.run_until([&] { return answers == sent; });
    CHECK(new_served);
    CHECK(stale_after == 0);
    CHECK(write(cluster, token(1), "a", 1) == ErrorCode::fenced);
  }
}

}  // namespace cairn::pg
