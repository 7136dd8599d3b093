// SimMessenger and SimNetwork: the same seed gives the same run, order holds, and each fault does
// what TCP would do.
#include "net/sim_messenger.hh"

#include <doctest/doctest.h>

#include <algorithm>

namespace cairn::net {

namespace {

constexpr std::uint64_t kMs = 1'000'000;

// Virtual time for these tests: runs what is due in the order of time, then of asking.
class VirtualTime final : public io::Executor {
 public:
  std::uint64_t now_ns() const override { return now_ns_; }
  void post(io::Task task) override { run_after(0, std::move(task)); }
  io::TimerId run_after(std::uint64_t delay_ns, io::Task task) override {
    tasks_.emplace(std::pair(now_ns_ + delay_ns, ++last_id_), std::move(task));
    return last_id_;
  }
  void cancel(io::TimerId id) override {
    std::erase_if(tasks_, [&](const auto& entry) { return entry.first.second == id; });
  }
  void advance(std::uint64_t duration_ns) {
    const std::uint64_t end = now_ns_ + duration_ns;
    while (!tasks_.empty() && tasks_.begin()->first.first <= end) {
      auto node = tasks_.extract(tasks_.begin());
      now_ns_ = std::max(now_ns_, node.key().first);
      node.mapped()();
    }
    now_ns_ = end;
  }

 private:
  std::map<std::pair<std::uint64_t, io::TimerId>, io::Task> tasks_;
  std::uint64_t now_ns_ = 1;
  io::TimerId last_id_ = 0;
};

// One process: a messenger and what its handler heard, as lines of text.
struct Process : MessengerHandler {
  VirtualTime& time;
  std::vector<std::string> heard;
  std::vector<std::uint64_t> numbers;  // of the frames
  ConnectionId accepted = 0;
  std::unique_ptr<SimMessenger> messenger;

  Process(VirtualTime& virtual_time, SimNetwork& network, const std::string& host, std::uint64_t id)
      : time(virtual_time) {
    SimMessengerConfig config;
    config.host = host;
    config.self = {.kind = EntityKind::osd, .id = id, .incarnation = 100 + id};
    messenger = std::make_unique<SimMessenger>(network, *this, std::move(config));
    REQUIRE(messenger->listen({.host = host, .port = 6800}).is_ok());
  }
  void note(const std::string& text) {
    heard.push_back(std::to_string(time.now_ns()) + " " + text);
  }
  void on_accepted(ConnectionId id, const Entity& peer) override {
    accepted = id;
    note("accepted " + entity_text(peer));
  }
  void on_connected(ConnectionId, const Entity& peer) override {
    note("connected " + entity_text(peer));
  }
  void on_frame(ConnectionId, Frame frame) override {
    numbers.push_back(load_le<std::uint64_t>(frame.meta.data()));
    REQUIRE(std::ranges::all_of(frame.data.span(), [&](std::byte byte) {
      return byte == static_cast<std::byte>(numbers.back());
    }));
    note("frame " + std::to_string(numbers.back()));
  }
  void on_closed(ConnectionId, const Status& reason) override {
    note("closed " + reason.to_string());
  }
  void send(ConnectionId id, std::uint64_t number) {
    Frame frame{.type = FrameType::op, .meta = {}, .data = Buffer::allocate(number % 7 * 1000)};
    frame.meta.resize(sizeof number);
    store_le(frame.meta.data(), number);
    std::fill(frame.data.span().begin(), frame.data.span().end(), static_cast<std::byte>(number));
    messenger->send(id, std::move(frame));
  }
  bool heard_last(const std::string& text) const {
    return !heard.empty() && heard.back().find(text) != std::string::npos;
  }
};

struct Fixture {
  VirtualTime time;
  SimNetwork network;
  Process a, b;
  ConnectionId to_b = 0;

  explicit Fixture(std::uint64_t seed = 1, SimNetworkConfig config = {})
      : network(time, seed, config), a(time, network, "a", 1), b(time, network, "b", 2) {}
  void connect() {
    to_b = a.messenger->connect({.host = "b", .port = 6800},
                                {.kind = EntityKind::osd, .id = 2, .incarnation = 0});
    time.advance(10 * kMs);
    REQUIRE(a.heard_last("connected osd.2"));
    REQUIRE(b.heard_last("accepted osd.1"));
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "sim: frames arrive in order, both ways") {
  connect();
  for (std::uint64_t i = 0; i < 500; ++i) {
    a.send(to_b, i);
    b.send(b.accepted, 1000 + i);
    if (i % 10 == 0) time.advance(kMs / 100);
  }
  CHECK(a.messenger->queued_bytes(to_b) > 0);
  time.advance(100 * kMs);
  REQUIRE(b.numbers.size() == 500);
  REQUIRE(a.numbers.size() == 500);
  for (std::uint64_t i = 0; i < 500; ++i) {
    CHECK(b.numbers[i] == i);
    CHECK(a.numbers[i] == 1000 + i);
  }
  CHECK(a.messenger->queued_bytes(to_b) == 0);
}

TEST_CASE("sim: the same seed gives the same run, another one another") {
  const auto run = [](std::uint64_t seed) {
    Fixture fixture(seed, {.min_delay_ns = 1000,
                           .max_delay_ns = 1000 * 1000,
                           .resets_per_million = 20'000,
                           .corruptions_per_million = 20'000});
    const ConnectionId id = fixture.a.messenger->connect(
        {.host = "b", .port = 6800}, {.kind = EntityKind::osd, .id = 2, .incarnation = 0});
    for (std::uint64_t i = 0; i < 200; ++i) {
      fixture.a.send(id, i);
      fixture.time.advance(kMs / 10);
    }
    fixture.time.advance(5000 * kMs);
    auto heard = fixture.a.heard;
    heard.insert(heard.end(), fixture.b.heard.begin(), fixture.b.heard.end());
    // Whatever went wrong: what arrived is a prefix.
    for (std::uint64_t i = 0; i < fixture.b.numbers.size(); ++i) CHECK(fixture.b.numbers[i] == i);
    return heard;
  };
  for (std::uint64_t seed = 1; seed < 30; ++seed) {
    const auto heard = run(seed);
    CHECK(heard == run(seed));
    CHECK(heard != run(seed + 1));
  }
}

TEST_CASE_FIXTURE(Fixture, "sim: a one-way partition holds one way, and heals") {
  connect();
  network.partition("a", "b");
  a.send(to_b, 1);
  b.send(b.accepted, 2);
  time.advance(1000 * kMs);
  CHECK(b.numbers.empty());
  CHECK(a.numbers == std::vector<std::uint64_t>{2});
  CHECK(network.counters().held_by_partition > 0);
  network.heal("a", "b");
  time.advance(10 * kMs);
  CHECK(b.numbers == std::vector<std::uint64_t>{1});
}

TEST_CASE_FIXTURE(Fixture,
                  "sim: a partition that lasts closes both ends; no connection crosses it") {
  connect();
  network.partition("a", "b");
  network.partition("b", "a");
  a.messenger->connect({.host = "b", .port = 6800},
                       {.kind = EntityKind::osd, .id = 2, .incarnation = 0});
  time.advance(SimMessenger::kHandshakeTimeoutNs + kMs);
  CHECK(a.heard_last("closed timed_out"));
  time.advance(SimNetwork::kPeerGoneNs);
  CHECK(a.heard_last("closed disconnected: the peer does not answer"));
  CHECK(b.heard_last("closed disconnected: the peer does not answer"));
  network.heal_all();
  connect();
}

TEST_CASE_FIXTURE(Fixture, "sim: a frozen process neither hears nor is heard until it is thawed") {
  connect();
  network.freeze("b");
  const std::size_t heard_before = b.heard.size();
  a.send(to_b, 1);
  b.send(b.accepted, 2);
  time.advance(60'000 * kMs);
  CHECK(b.heard.size() == heard_before);
  CHECK(a.numbers.empty());
  b.messenger->close(b.accepted, {ErrorCode::canceled, "its own timer"});
  time.advance(10 * kMs);
  CHECK(b.heard.size() == heard_before);
  CHECK(a.heard_last("connected"));
  network.thaw("b");
  time.advance(10 * kMs);
  CHECK(b.heard_last("closed canceled"));
  CHECK(a.heard_last("closed disconnected"));
}

TEST_CASE_FIXTURE(Fixture, "sim: resets, deaths and restarts") {
  connect();
  network.reset_streams("a", "b");
  time.advance(10 * kMs);
  CHECK(a.heard_last("closed disconnected: connection reset"));
  CHECK(b.heard_last("closed disconnected: connection reset"));
  connect();
  b.messenger.reset();
  time.advance(10 * kMs);
  CHECK(a.heard_last("closed disconnected: the peer closed"));
  a.messenger->connect({.host = "b", .port = 6800}, {});
  time.advance(10 * kMs);
  CHECK(a.heard_last("closed disconnected: Connection refused"));
}

TEST_CASE_FIXTURE(Fixture, "sim: a refusal reaches the dialer; a flipped bit is a protocol error") {
  a.messenger->connect({.host = "b", .port = 6800},
                       {.kind = EntityKind::osd, .id = 2, .incarnation = 9});
  time.advance(10 * kMs);
  CHECK(a.heard_last("closed wrong_daemon"));
  CHECK(b.heard.empty());
  connect();
  network.set_config({.corruptions_per_million = 1'000'000});
  a.send(to_b, 1);
  time.advance(10 * kMs);
  CHECK(b.heard_last("closed protocol_error"));
  CHECK(a.heard_last("closed disconnected"));
  CHECK(b.numbers.empty());
  CHECK(network.counters().corruptions == 1);
}

TEST_CASE_FIXTURE(Fixture, "sim: a port is taken once") {
  CHECK(a.messenger->listen({.host = "a", .port = 6800}).status().code() ==
        ErrorCode::address_in_use);
  Result<std::uint16_t> port = a.messenger->listen({.host = "a", .port = 0});
  REQUIRE(port.is_ok());
  CHECK(*port != 0);
}

}  // namespace cairn::net
