// Links to peer OSDs: dialed, dialed again at a pace, given up with the map.
#include "pg/peer_links.hh"

#include <doctest/doctest.h>

#include <memory>

#include "../../test/fake_messenger.hh"
#include "io/sim_executor.hh"

namespace cairn::pg {

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

Peer peer(OsdId osd, std::uint64_t incarnation = 50) {
  return {osd, {"osd" + std::to_string(osd), 6800}, incarnation};
}

struct Osd final : PeerLinksHost, net::MessengerHandler {
  io::SimExecutor executor;
  std::unique_ptr<PeerLinks> links = std::make_unique<PeerLinks>(executor, *this);
  net::FakeMessenger messenger{executor, *this};
  std::vector<OsdId> up;
  std::vector<std::pair<OsdId, std::uint64_t>> refused;

  Osd() { links->attach(messenger); }
  void on_link_up(OsdId osd) override { up.push_back(osd); }
  void on_link_refused(OsdId osd, std::uint64_t incarnation) override {
    refused.emplace_back(osd, incarnation);
  }
  void on_accepted(net::ConnectionId, const net::Entity&) override {}
  void on_connected(net::ConnectionId id, const net::Entity&) override { links->on_connected(id); }
  void on_frame(net::ConnectionId, net::Frame) override {}
  void on_closed(net::ConnectionId id, const Status& reason) override {
    if (links) links->on_closed(id, reason);
  }

  void accept_all() {
    messenger.on_dial = [this](net::ConnectionId id) { messenger.accept(id); };
  }
  void refuse_all() {
    messenger.on_dial = [this](net::ConnectionId id) {
      messenger.lose(id, Status(ErrorCode::io_error, "connection refused"));
    };
  }
};

}  // namespace

TEST_CASE("peer links: each peer is dialed, as the incarnation of the map") {
  Osd osd;
  osd.accept_all();
  osd.links->set_peers({peer(1), peer(2, 60)});
  CHECK_FALSE(osd.links->send(1, {}));  // not up: dropped
  osd.executor.run_for(kSecondNs);
  CHECK(osd.up == std::vector<OsdId>{1, 2});
  CHECK(osd.messenger.dialed.at(2).expected == net::Entity{net::EntityKind::osd, 2, 60});
  CHECK(osd.links->osd_of(2) == 2);
  CHECK(osd.links->osd_of(99) == kNoOsd);
  CHECK(osd.links->send(2, {}));
  CHECK_FALSE(osd.links->send(3, {}));
  REQUIRE(osd.messenger.sent.size() == 1);
  CHECK(osd.messenger.sent[0].connection == 2);
}

TEST_CASE("peer links: the same peers in a new map keep their links") {
  Osd osd;
  osd.accept_all();
  osd.links->set_peers({peer(1)});
  osd.executor.run_for(kSecondNs);
  osd.links->set_peers({peer(1), peer(2)});
  osd.executor.run_for(kSecondNs);
  CHECK(osd.messenger.dialed.size() == 2);
  CHECK(osd.messenger.closed.empty());
}

TEST_CASE("peer links: a peer that left, or is another incarnation, loses its link") {
  Osd osd;
  osd.accept_all();
  osd.links->set_peers({peer(1), peer(2)});
  osd.executor.run_for(kSecondNs);
  osd.links->set_peers({peer(2, 51)});
  CHECK_FALSE(osd.links->send(2, {}));
  osd.executor.run_for(kSecondNs);
  CHECK(osd.messenger.closed.size() == 2);
  CHECK(osd.messenger.dialed.size() == 3);
  CHECK(osd.messenger.dialed.at(3).expected.incarnation == 51);
  CHECK(osd.links->send(2, {}));
  CHECK(osd.refused.empty());
}

TEST_CASE("peer links: a lost link is dialed at once; a refusal then is told, and slows down") {
  Osd osd;
  osd.accept_all();
  osd.links->set_peers({peer(1)});
  osd.executor.run_for(kSecondNs);
  osd.refuse_all();
  const std::uint64_t lost_ns = osd.executor.now_ns();
  osd.messenger.lose(1, Status(ErrorCode::disconnected, "reset by peer"));
  CHECK(osd.refused.empty());
  CHECK(osd.executor.run_until([&osd] { return !osd.refused.empty(); }, kSecondNs));
  CHECK(osd.executor.now_ns() == lost_ns);
  CHECK(osd.refused[0] == std::pair<OsdId, std::uint64_t>{1, 50});
  osd.executor.run_for(kSecondNs);
  CHECK(osd.messenger.dialed.size() >= 10);
  CHECK(osd.messenger.dialed.size() <= 2 + kSecondNs / PeerLinks::kRedialNs);
}

TEST_CASE("peer links: a timeout of a dial is no proof of death; another daemon there is") {
  Osd osd;
  osd.links->set_peers({peer(1)});
  osd.messenger.lose(1, Status(ErrorCode::timed_out, "no answer"));
  CHECK(osd.refused.empty());
  osd.executor.run_for(PeerLinks::kRedialNs);
  osd.messenger.lose(
      2, Status(ErrorCode::permission_denied, "refused by the peer: permission_denied (code 26)"));
  CHECK(osd.refused.empty());  // it lives, with an older map
  osd.executor.run_for(PeerLinks::kRedialNs);
  osd.messenger.lose(3, Status(ErrorCode::wrong_daemon, "another incarnation"));
  CHECK(osd.refused.size() == 1);
}

TEST_CASE("peer links: a peer that hangs up on each link gets no hot loop") {
  Osd osd;
  osd.messenger.on_dial = [&osd](net::ConnectionId id) {
    osd.messenger.accept(id);
    osd.messenger.lose(id, Status(ErrorCode::disconnected, "closed by the peer"));
  };
  osd.links->set_peers({peer(1)});
  osd.executor.run_for(kSecondNs);
  CHECK(osd.messenger.dialed.size() <= 2 + kSecondNs / PeerLinks::kRedialNs);
}

TEST_CASE("peer links: may go while they wait to dial again") {
  Osd osd;
  osd.refuse_all();
  osd.links->set_peers({peer(1)});
  osd.executor.run_for(PeerLinks::kRedialNs / 2);
  osd.links.reset();
  osd.executor.run_for(kSecondNs);
  CHECK(osd.messenger.dialed.size() == 1);
}

}  // namespace cairn::pg
