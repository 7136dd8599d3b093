// SplitPool: a pool that can split at any moment, as its clients meet it. One OSD has all its PGs.
// It keeps what the objecter relies on: who asks with a map that is older than the interval is
// refused, a change is carried out once, and an object is found in the PG that its name says. What
// the PGs hold is in memory, so that a test can split them between any two operations.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "crush/object_hash.hh"
#include "fake_messenger.hh"
#include "io/random.hh"
#include "io/sim_executor.hh"
#include "objecter/objecter.hh"

namespace cairn::test {

class SplitPool {
 public:
  static constexpr PoolId kPool = 1;

  SplitPool(std::uint64_t seed, std::uint32_t pg_num)
      : executor({.seed = seed, .shuffle = true}), random_(seed), pg_num_(pg_num) {
    client.attach(messenger);
    messenger.on_dial = [this](net::ConnectionId id) { messenger.accept(id); };
    messenger.on_send = [this](net::ConnectionId connection) {
      executor.run_after(random_.below(kMaxDelayNs),
                         [this, connection, index = arrived_++] { serve(connection, index); });
    };
    push_map();
  }
  SplitPool(const SplitPool&) = delete;
  SplitPool& operator=(const SplitPool&) = delete;

  // On the OSD; the client hears of it, in either order, by a map or by being refused.
  void split(std::uint32_t pg_num) {
    for (std::uint32_t child = pg_num_; child < pg_num; ++child)
      tokens[child] = tokens[child % pg_num_];
    pg_num_ = pg_num;
    ++epoch_;
    executor.run_after(random_.below(kMaxDelayNs), [this] { push_map(); });
  }
  std::uint32_t seed_of(const std::string& object) const {
    return crush::stable_mod(crush::object_name_hash(as_bytes(object)), pg_num_,
                             crush::stable_mod_mask(pg_num_));
  }
  // Runs until the client knows the newest map and nothing is in flight.
  void settle() {
    REQUIRE(executor.run_until(
        [this] { return client.epoch() == epoch_ && client.counters().in_flight == 0; }, kLimitNs));
    executor.run_for(objecter::Objecter::kRetryNs);
  }

  io::SimExecutor executor;
  objecter::Objecter client{
      executor, 77,
      [this](Epoch) { executor.run_after(random_.below(kMaxDelayNs), [this] { push_map(); }); }};
  net::FakeMessenger messenger{executor, client};
  std::function<void(std::uint64_t served)> before_serving;
  std::set<std::string> objects;
  std::map<std::string, int> changes;             // how often each object was changed
  std::map<std::uint32_t, std::uint64_t> tokens;  // the fencing token that each PG knows
  std::uint64_t served = 0;                       // operations
  std::uint64_t refused = 0;

 private:
  static constexpr std::uint64_t kMaxDelayNs = 10'000'000;
  static constexpr std::uint64_t kLimitNs = 60'000'000'000;

  void push_map() {
    objecter::ClientMap map;
    map.epoch = epoch_;
    map.pools[kPool] = {pg_num_, 1, std::vector<OsdId>(pg_num_, 0)};
    map.osds[0] = {{"osd", 0}, 5};
    client.set_map(std::move(map));
  }

  void serve(net::ConnectionId connection, std::size_t index) {
    net::OpRequest request;
    REQUIRE(net::decode(messenger.sent.at(index).frame, request).is_ok());
    if (before_serving) before_serving(served);
    net::OpReply reply;
    reply.sequence = request.id.sequence;
    reply.epoch = epoch_;
    if (request.map_epoch < epoch_) {  // each epoch is an interval of all PGs here
      ++refused;
      reply.code = ErrorCode::stale_epoch;
    } else {
      ++served;
      REQUIRE(request.pg.seed < pg_num_);
      std::uint64_t& token = tokens[request.pg.seed];
      token = std::max(token, request.fence.token);
      carry_out(request, reply);
    }
    messenger.deliver(connection, net::encode(reply, {}));
  }

  void carry_out(const net::OpRequest& request, net::OpReply& reply) {
    const net::Step& step = request.steps.at(0);
    switch (step.code) {
      case net::StepCode::list_objects:
      case net::StepCode::measure_objects:
        return list(request.pg.seed, step, reply);
      case net::StepCode::touch:
      case net::StepCode::remove:
        CHECK(seed_of(request.object) == request.pg.seed);
        if (!applied_.insert(request.id.sequence).second) return;
        ++changes[request.object];
        if (step.code == net::StepCode::touch) {
          objects.insert(request.object);
        } else {
          objects.erase(request.object);
        }
        return;
      default:
        return;
    }
  }

  void list(std::uint32_t seed, const net::Step& step, net::OpReply& reply) const {
    for (auto next = objects.upper_bound(std::max(step.key, step.value)); next != objects.end();
         ++next) {
      if (!next->starts_with(step.key) || reply.omap.size() == step.length) return;
      if (seed_of(*next) == seed) reply.omap.emplace_back(*next, std::string(1, '\1'));
    }
  }

  io::Random random_;
  std::uint32_t pg_num_;
  Epoch epoch_ = 1;
  std::size_t arrived_ = 0;
  std::set<std::uint64_t> applied_;  // changes, by the client's sequence
};

}  // namespace cairn::test
