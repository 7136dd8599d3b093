// What becomes of a client's operations when the PGs of their pool split.
#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include "../../test/split_pool.hh"
#include "objecter/fence_sweep.hh"

namespace cairn::objecter {

using net::StepCode;
using test::SplitPool;

namespace {

constexpr PoolId kPool = 1;
constexpr PoolId kOtherPool = 2;

// An object that moves to PG 1 when PG 0 splits, or that stays.
std::string object_of(std::uint32_t seed) {
  for (int i = 0;; ++i) {
    std::string name = "object" + std::to_string(i);
    if ((crush::object_name_hash(as_bytes(name)) & 1) == seed) return name;
  }
}

// One OSD whose answers the test gives itself.
struct Client {
  io::SimExecutor executor;
  std::vector<Epoch> wanted_maps;
  Objecter objecter{executor, 77, [this](Epoch epoch) { wanted_maps.push_back(epoch); }};
  net::FakeMessenger messenger{executor, objecter};
  int answers = 0;

  Client() {
    objecter.attach(messenger);
    messenger.on_dial = [this](net::ConnectionId id) { messenger.accept(id); };
  }

  void set_map(Epoch epoch, std::uint32_t pg_num, OsdId primary = 0) {
    ClientMap map;
    map.epoch = epoch;
    map.pools[kPool] = {pg_num, 1, std::vector<OsdId>(pg_num, primary)};
    map.pools[kOtherPool] = {1, 1, {primary}};
    map.osds[0] = {{"osd", 0}, 5};
    objecter.set_map(map);
    settle();
  }
  void submit(Target target) {
    objecter.submit(std::move(target), {{StepCode::touch, 0, 0, {}, {}}}, {},
                    [this](const Status& status, const net::OpReply&, const Buffer&) {
                      CHECK(status.to_string() == "ok");
                      ++answers;
                    });
    settle();
  }
  // Long enough for what is posted, too short for a retry.
  void settle() { executor.run_for(Objecter::kRetryNs / 10); }
  net::OpRequest request(std::size_t index) const {
    net::OpRequest decoded;
    REQUIRE(net::decode(messenger.sent.at(index).frame, decoded).is_ok());
    return decoded;
  }
  // "seed@epoch" of what was sent, each with the id of the first.
  std::string sent() const {
    std::string text;
    for (std::size_t i = 0; i < messenger.sent.size(); ++i) {
      const net::OpRequest each = request(i);
      CHECK(each.id == request(0).id);
      text += std::to_string(each.pg.seed) + "@" + std::to_string(each.map_epoch) + " ";
    }
    return text;
  }
  void answer(std::size_t index, ErrorCode code, Epoch epoch) {
    net::OpReply reply;
    reply.sequence = request(index).id.sequence;
    reply.code = code;
    reply.epoch = epoch;
    messenger.deliver(messenger.sent.at(index).connection, net::encode(reply, {}));
    settle();
  }
};

}  // namespace

TEST_CASE("objecter, split: an operation in flight goes to its object's new PG with its old id") {
  Client client;
  client.set_map(1, 1);
  client.submit({kPool, object_of(1)});
  SUBCASE("the map comes first") {
    client.set_map(2, 2);
    CHECK(client.sent() == "0@1 1@2 ");
    client.answer(0, ErrorCode::stale_epoch, 2);  // of what was sent before
    client.answer(1, ErrorCode::ok, 2);
    CHECK(client.answers == 1);
  }
  SUBCASE("the refusal comes first, of an OSD that has the map") {
    client.answer(0, ErrorCode::stale_epoch, 2);
    CHECK(client.wanted_maps == std::vector<Epoch>{2});
    client.executor.run_for(2 * Objecter::kRetryNs);
    CHECK(client.sent() == "0@1 ");
    client.set_map(2, 2);
    CHECK(client.sent() == "0@1 1@2 ");
  }
  SUBCASE("the refusal comes first, of an OSD that is about to have the map") {
    client.answer(0, ErrorCode::stale_epoch, 1);
    client.set_map(2, 2);
    client.executor.run_for(2 * Objecter::kRetryNs);
    CHECK(client.sent() == "0@1 1@2 ");
  }
  SUBCASE("its PG has no primary for a while") {
    client.set_map(2, 2, kNoOsd);
    client.set_map(3, 2);
    CHECK(client.sent() == "0@1 1@3 ");
  }
  SUBCASE("the connection is lost too") {
    client.messenger.on_dial = {};
    client.executor.run_for(2 * Objecter::kRetryNs);
    client.messenger.lose(1, Status(ErrorCode::disconnected, "reset"));
    client.settle();
    client.set_map(2, 2);
    CHECK(client.sent() == "0@1 ");
    client.messenger.accept(client.messenger.last());
    CHECK(client.sent() == "0@1 1@2 ");
  }
}

TEST_CASE("objecter, split: what stays in its PG is sent again, for the PG's interval is new") {
  for (const bool fixed : {false, true}) {
    Client client;
    client.set_map(1, 1);
    if (fixed) {
      client.submit({kPool, object_of(1), {}, 0});
    } else {
      client.submit({kPool, object_of(0)});
    }
    client.set_map(2, 2);
    CHECK(client.sent() == "0@1 0@2 ");
    client.set_map(3, 2);
    CHECK(client.sent() == "0@1 0@2 ");
    client.set_map(4, 4);
    CHECK(client.messenger.sent.size() == 3);
  }
}

TEST_CASE("objecter, split: another pool's operations are not sent again") {
  Client client;
  client.set_map(1, 1);
  client.submit({kOtherPool, object_of(1)});
  client.set_map(2, 2);
  CHECK(client.sent() == "0@1 ");
}

TEST_CASE("objecter, split: each operation is carried out once and where its object is") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed ", seed);
    SplitPool pool(seed, 1);
    constexpr int kOperations = 300;
    int answered = 0;
    pool.before_serving = [&pool, seed](std::uint64_t served) {
      if (pool.refused == 0 && served == 5 * seed) pool.split(4);
      if (served == 150 && pool.tokens.size() < 32) pool.split(32);
    };
    for (int i = 0; i < kOperations; ++i) {
      pool.client.submit(SplitPool::kPool, "object" + std::to_string(i),
                         {{StepCode::touch, 0, 0, {}, {}}}, {},
                         [&answered](const Status& status, const net::OpReply&, const Buffer&) {
                           CHECK(status.to_string() == "ok");
                           ++answered;
                         });
    }
    pool.settle();
    CHECK(answered == kOperations);
    CHECK(pool.changes.size() == kOperations);
    for (const auto& changed : pool.changes) CHECK_MESSAGE(changed.second == 1, changed.first);
    CHECK(pool.refused > 0);
  }
}

namespace {

struct Sweep {
  int ended = 0;
  Status status;
  SweepResult result;

  void start(SplitPool& pool, std::uint64_t timeout_ns) {
    sweep_fence(pool.executor, pool.client, SplitPool::kPool, {"image", 7}, timeout_ns,
                [this](Status outcome, SweepResult found) {
                  ++ended;
                  status = std::move(outcome);
                  result = found;
                });
  }
};

}  // namespace

TEST_CASE("fence sweep: reaches the PGs that come by a split while it runs") {
  constexpr std::uint32_t kBefore = 100, kAfter = 400;
  for (std::uint64_t moment = 0; moment < kBefore; moment += 9) {
    INFO("split before operation ", moment);
    SplitPool pool(moment + 1, kBefore);
    Sweep sweep;
    bool has_split = false;
    pool.before_serving = [&](std::uint64_t served) {
      if (served == moment && !std::exchange(has_split, true)) pool.split(kAfter);
    };
    sweep.start(pool, 30'000'000'000);
    pool.settle();
    CHECK(sweep.ended == 1);
    CHECK(sweep.status.to_string() == "ok");
    CHECK(sweep.result.raised == kAfter);
    CHECK(sweep.result.silent == 0);
    for (std::uint32_t seed = 0; seed < kAfter; ++seed)
      CHECK_MESSAGE(pool.tokens[seed] == 7, "PG ", seed);
  }
}

TEST_CASE("fence sweep: PGs of a split that it has no time for count as silent") {
  SplitPool pool(1, 4);
  Sweep sweep;
  sweep.start(pool, 1'000'000'000);
  pool.before_serving = [&pool](std::uint64_t served) {
    if (served != 3) return;
    pool.messenger.on_send = {};  // the OSD hears nothing any more
    if (pool.tokens.size() < 16) pool.split(16);
  };
  pool.executor.run_for(2'000'000'000);
  CHECK(sweep.ended == 1);
  CHECK(sweep.result.raised == 3);
  CHECK(sweep.result.silent == 13);
}

}  // namespace cairn::objecter
