// What tests of TcpMessenger share: a handler that writes down what it hears, and two messengers.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "net/tcp_messenger.hh"

namespace cairn::net {

inline constexpr Entity kServer{.kind = EntityKind::osd, .id = 1, .incarnation = 11};
inline constexpr Entity kClient{.kind = EntityKind::client, .id = 5, .incarnation = 55};
inline const Address kLoopback{.host = "127.0.0.1", .port = 0};

// A handler that writes down what it hears, and may react to frames.
struct Recorder : MessengerHandler {
  std::map<ConnectionId, Entity> accepted, connected;
  std::vector<Frame> frames;
  std::map<ConnectionId, Status> closed;
  std::size_t batches = 0;
  std::function<void(ConnectionId, Frame&)> on_each;
  Status admission;  // of every dialer

  Status admit(const Entity& peer) override {
    CHECK(peer == kClient);
    return admission;
  }
  void on_accepted(ConnectionId id, const Entity& peer) override { accepted[id] = peer; }
  void on_connected(ConnectionId id, const Entity& peer) override { connected[id] = peer; }
  void on_frame(ConnectionId id, Frame frame) override {
    CHECK(!closed.contains(id));
    if (on_each) on_each(id, frame);
    frames.push_back(std::move(frame));
  }
  void on_closed(ConnectionId id, const Status& reason) override {
    CHECK(!closed.contains(id));
    closed[id] = reason;
  }
  void on_batch_end() override { ++batches; }
};

// A server and a client on one reactor. Each test runs twice: over TCP, and over Unix sockets.
struct MessengerFixture {
  std::unique_ptr<io::Reactor> reactor;
  Recorder server_side, client_side;
  std::vector<std::string> log;
  std::unique_ptr<TcpMessenger> server, client;
  Address address;
  bool local_sockets = false;  // of the messengers that config() is for

  MessengerFixture() {
    SUBCASE("over TCP") { local_sockets = false; }
    SUBCASE("over Unix sockets") { local_sockets = true; }
    auto made = io::Reactor::create();
    REQUIRE_MESSAGE(made.is_ok(), made.status().to_string());
    reactor = std::move(*made);
    server = std::make_unique<TcpMessenger>(*reactor, server_side, config(kServer));
    client = std::make_unique<TcpMessenger>(*reactor, client_side, config(kClient));
    Result<std::uint16_t> port = server->listen(kLoopback);
    REQUIRE_MESSAGE(port.is_ok(), port.status().to_string());
    address = {.host = kLoopback.host, .port = *port};
  }
  TcpConfig config(const Entity& self) {
    TcpConfig made;
    made.cluster[0] = 42;
    made.self = self;
    made.local_sockets = local_sockets;
    // Both ends share a thread here: one that makes or checks the checksums of a large frame under
    // a sanitizer, on a busy machine, must not be taken for a silent peer.
    made.handshake_timeout_ns = 60'000'000'000;
    made.log = [this](LogLevel, std::string_view text) { log.emplace_back(text); };
    return made;
  }
  // Runs the loop until the condition holds; fails after 180 s (a sanitizer on a busy machine).
  void run_until(const std::function<bool()>& condition) {
    constexpr std::uint64_t kStepNs = 200'000;
    bool late = false;
    const io::TimerId limit = reactor->run_after(180'000'000'000, [&] {
      late = true;
      reactor->stop();
    });
    std::function<void()> check = [&] {
      if (condition()) return reactor->stop();
      if (!late) reactor->run_after(kStepNs, [&] { check(); });
    };
    reactor->post([&] { check(); });
    reactor->run();
    reactor->cancel(limit);
    REQUIRE(!late);
  }
  // Connects and waits for both ends.
  std::pair<ConnectionId, ConnectionId> connect() {
    const std::size_t before = server_side.accepted.size();
    const ConnectionId id = client->connect(address, kServer);
    run_until(
        [&] { return server_side.accepted.size() > before && client_side.connected.contains(id); });
    return {id, server_side.accepted.rbegin()->first};
  }
  Status dial_and_fail(const Address& to, const Entity& expected) {
    const ConnectionId id = client->connect(to, expected);
    CHECK(client_side.closed.empty());  // never inside the call
    run_until([&] { return client_side.closed.contains(id); });
    CHECK(!client_side.connected.contains(id));
    CHECK(server_side.accepted.empty());
    CHECK(server_side.closed.empty());
    return client_side.closed[id];
  }
};

}  // namespace cairn::net
