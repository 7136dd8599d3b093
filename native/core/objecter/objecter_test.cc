// When the objecter sends, sends again, waits, and gives up.
#include "objecter/objecter.hh"

#include <doctest/doctest.h>

#include <optional>

#include "../../test/fake_messenger.hh"
#include "io/sim_executor.hh"

namespace cairn::objecter {

using net::StepCode;

namespace {

constexpr PoolId kPool = 1;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

// One client, two OSDs, a pool of one PG.
struct Client {
  io::SimExecutor executor;
  std::vector<Epoch> wanted_maps;
  Objecter objecter{executor, 77, [this](Epoch epoch) { wanted_maps.push_back(epoch); }};
  net::FakeMessenger messenger{executor, objecter};
  std::optional<Status> outcome;

  Client() {
    objecter.attach(messenger);
    messenger.on_dial = [this](net::ConnectionId id) { messenger.accept(id); };
  }

  static ClientMap map(Epoch epoch, std::vector<OsdId> acting) {
    ClientMap map;
    map.epoch = epoch;
    map.pools[kPool] = {1, static_cast<std::uint32_t>(acting.size()), acting};
    for (const OsdId osd : {0, 1}) map.osds[osd] = {{"osd", static_cast<std::uint16_t>(osd)}, 5};
    return map;
  }

  void submit() {
    objecter.submit(kPool, "object", {{StepCode::touch, 0, 0, {}, {}}}, {},
                    [this](Status status, net::OpReply, Buffer) {
                      CHECK_FALSE(outcome.has_value());
                      outcome = std::move(status);
                    });
  }

  // Long enough for what is posted, too short for a retry.
  void settle() { executor.run_for(Objecter::kRetryNs / 10); }

  net::OpRequest request(std::size_t index) const {
    net::OpRequest decoded;
    REQUIRE(net::decode(messenger.sent.at(index).frame, decoded).is_ok());
    return decoded;
  }

  OsdId target(std::size_t index) const {
    return static_cast<OsdId>(messenger.dialed.at(messenger.sent.at(index).connection).expected.id);
  }

  void answer(std::size_t index, ErrorCode code, Epoch epoch) {
    net::OpReply reply;
    reply.sequence = request(index).id.sequence;
    reply.code = code;
    reply.epoch = epoch;
    messenger.deliver(messenger.sent.at(index).connection, net::encode(reply, {}));
  }
};

}  // namespace

TEST_CASE("objecter: an operation goes to the primary and is answered once") {
  Client client;
  client.objecter.set_map(Client::map(1, {1, 0}));
  client.submit();
  client.settle();
  REQUIRE(client.messenger.sent.size() == 1);
  CHECK(client.target(0) == 1);
  CHECK(client.request(0).map_epoch == 1);
  CHECK(client.messenger.dialed.at(1).expected.incarnation == 5);
  client.answer(0, ErrorCode::ok, 1);
  client.answer(0, ErrorCode::ok, 1);
  CHECK(client.outcome->is_ok());
  CHECK(client.objecter.counters().in_flight == 0);
  CHECK(client.objecter.oldest_operation_ns() == 0);
}

TEST_CASE("objecter: a new epoch resends what moved, and only that, with the same id") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.settle();
  client.objecter.set_map(Client::map(2, {0, 1}));
  client.settle();
  CHECK(client.messenger.sent.size() == 1);
  client.objecter.set_map(Client::map(3, {1, 0}));
  client.settle();
  REQUIRE(client.messenger.sent.size() == 2);
  CHECK(client.target(1) == 1);
  CHECK(client.request(1).id == client.request(0).id);
  CHECK(client.request(1).map_epoch == 3);
  // An older map changes nothing.
  client.objecter.set_map(Client::map(2, {0, 1}));
  client.settle();
  CHECK(client.messenger.sent.size() == 2);
  CHECK(client.objecter.epoch() == 3);
}

TEST_CASE("objecter: oldest_unacked follows the answers") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.settle();
  CHECK(client.request(0).oldest_unacked == client.request(0).id.sequence);
  client.answer(0, ErrorCode::ok, 1);
  client.outcome.reset();
  client.submit();
  client.settle();
  CHECK(client.request(1).oldest_unacked == client.request(1).id.sequence);
}

TEST_CASE("objecter: a refusal with a newer epoch waits for that map") {
  for (const ErrorCode code : {ErrorCode::not_primary, ErrorCode::stale_epoch}) {
    Client client;
    client.objecter.set_map(Client::map(1, {0, 1}));
    client.submit();
    client.settle();
    client.answer(0, code, 4);
    client.executor.run_for(kSecondNs);
    CHECK(client.wanted_maps == std::vector<Epoch>{4});
    // It may have been lost on the way.
    client.executor.run_for(Objecter::kAskAgainNs);
    CHECK(client.wanted_maps == std::vector<Epoch>{4, 4});
    CHECK(client.messenger.sent.size() == 1);
    // The acting set is the same: the refusal alone makes the operation due.
    client.objecter.set_map(Client::map(4, {0, 1}));
    client.settle();
    REQUIRE(client.messenger.sent.size() == 2);
    CHECK(client.request(1).map_epoch == 4);
    client.answer(1, ErrorCode::ok, 4);
    CHECK(client.outcome->is_ok());
    client.executor.run_for(2 * Objecter::kAskAgainNs);
    CHECK(client.wanted_maps.size() == 2);
  }
}

TEST_CASE("objecter: an OSD that refuses again and again gets no hot loop") {
  for (const ErrorCode code :
       {ErrorCode::busy, ErrorCode::not_active, ErrorCode::not_primary, ErrorCode::stale_epoch}) {
    Client client;
    client.objecter.set_map(Client::map(1, {0, 1}));
    client.messenger.on_send = [&client, code](net::ConnectionId) {
      client.answer(client.messenger.sent.size() - 1, code, 1);
    };
    client.submit();
    client.executor.run_for(kSecondNs);
    CHECK(client.messenger.sent.size() >= 10);
    CHECK(client.messenger.sent.size() <= kSecondNs / Objecter::kRetryNs + 1);
    CHECK_FALSE(client.outcome.has_value());
  }
}

TEST_CASE("objecter: an OSD that hangs up on each operation gets no hot loop") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.messenger.on_send = [&client](net::ConnectionId id) {
    client.messenger.lose(id, Status(ErrorCode::disconnected, "closed by the peer"));
  };
  client.submit();
  client.executor.run_for(kSecondNs);
  CHECK(client.messenger.dialed.size() >= 10);
  CHECK(client.messenger.dialed.size() <= kSecondNs / Objecter::kRetryNs + 2);
}

TEST_CASE("objecter: a connection that was good is dialed again at once") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.executor.run_for(kSecondNs);
  client.messenger.lose(client.messenger.last(), Status(ErrorCode::disconnected, "reset"));
  client.settle();
  REQUIRE(client.messenger.sent.size() == 2);
  CHECK(client.request(1).id == client.request(0).id);
  CHECK(client.wanted_maps == std::vector<Epoch>{2});
}

TEST_CASE("objecter: a dead OSD is dialed at a pace; its next incarnation gets the operation") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.messenger.on_dial = [&client](net::ConnectionId id) {
    if (client.messenger.dialed.at(id).expected.incarnation == 5) {
      client.messenger.lose(id, Status(ErrorCode::io_error, "connection refused"));
    } else {
      client.messenger.accept(id);
    }
  };
  client.submit();
  client.executor.run_for(kSecondNs);
  CHECK(client.messenger.dialed.size() <= kSecondNs / Objecter::kRetryNs + 1);
  CHECK(client.messenger.sent.empty());
  ClientMap next = Client::map(2, {0, 1});
  next.osds[0].incarnation = 6;
  client.objecter.set_map(next);
  client.executor.run_for(kSecondNs);
  REQUIRE(client.messenger.sent.size() == 1);
  CHECK(client.messenger.dialed.at(client.messenger.sent[0].connection).expected.incarnation == 6);
}

TEST_CASE("objecter: without a primary, and while paused, operations wait") {
  Client client;
  client.objecter.set_map(Client::map(1, {kNoOsd, kNoOsd}));
  client.submit();
  client.executor.run_for(kSecondNs);
  CHECK(client.messenger.dialed.empty());
  ClientMap paused = Client::map(2, {0, 1});
  paused.paused = true;
  client.objecter.set_map(paused);
  client.executor.run_for(kSecondNs);
  CHECK(client.messenger.sent.empty());
  client.objecter.set_map(Client::map(3, {kNoOsd, 1}));
  client.settle();
  REQUIRE(client.messenger.sent.size() == 1);
  CHECK(client.target(0) == 1);
}

TEST_CASE("objecter: operations on a pool that is removed, or never was, end as not_found") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.settle();
  ClientMap without = Client::map(2, {0, 1});
  without.pools.clear();
  client.objecter.set_map(without);
  REQUIRE(client.outcome.has_value());
  CHECK(client.outcome->code() == ErrorCode::not_found);
  CHECK(client.objecter.counters().in_flight == 0);
  client.outcome.reset();
  client.submit();
  CHECK_FALSE(client.outcome.has_value());  // never inside the call
  client.settle();
  CHECK(client.outcome->code() == ErrorCode::not_found);
}

TEST_CASE("objecter: an operation beyond the limits ends at once, and is never sent") {
  Client client;
  client.objecter.set_map(Client::map(1, {0}));
  const auto submitted = [&client](const std::string& object, net::Step step) {
    std::optional<ErrorCode> code;
    client.objecter.submit(kPool, object, {std::move(step)}, {},
                           [&code](Status status, net::OpReply, Buffer) { code = status.code(); });
    CHECK_FALSE(code.has_value());  // never inside the call
    client.settle();
    return code;
  };
  const std::string long_value(net::kMaxOmapValueBytes + 1, 'v');
  const std::string long_key(net::kMaxOmapKeyBytes + 1, 'k');
  CHECK(submitted("object", {StepCode::omap_set, 0, 0, "key", long_value}) == ErrorCode::too_large);
  CHECK(submitted("object", {StepCode::omap_set, 0, 0, long_key, {}}) == ErrorCode::too_large);
  CHECK(submitted("", {StepCode::touch, 0, 0, {}, {}}) == ErrorCode::invalid_argument);
  CHECK(client.messenger.sent.empty());
  CHECK(client.objecter.counters().in_flight == 0);
}

TEST_CASE("objecter: cancel_all answers what is left; nothing is sent any more") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.settle();
  client.objecter.cancel_all(Status(ErrorCode::canceled, "closing"));
  CHECK(client.outcome->code() == ErrorCode::canceled);
  CHECK(client.objecter.counters().in_flight == 0);
  client.objecter.set_map(Client::map(2, {1, 0}));
  client.executor.run_for(kSecondNs);
  CHECK(client.messenger.sent.size() == 1);
}

TEST_CASE("objecter: once closed it takes nothing, and answers nobody inside the call") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.settle();
  client.objecter.close(Status(ErrorCode::canceled, "closing"));
  CHECK(client.outcome->code() == ErrorCode::canceled);
  client.outcome.reset();
  client.submit();
  CHECK_FALSE(client.outcome.has_value());
  client.settle();
  REQUIRE(client.outcome.has_value());
  CHECK(client.outcome->code() == ErrorCode::canceled);
  CHECK(client.messenger.sent.size() == 1);
}

TEST_CASE("objecter: what is malformed closes the connection") {
  Client client;
  client.objecter.set_map(Client::map(1, {0, 1}));
  client.submit();
  client.settle();
  net::Frame frame;
  frame.type = net::FrameType::op_reply;
  client.messenger.deliver(1, frame);
  CHECK(client.messenger.closed.at(1).code() == ErrorCode::protocol_error);
}

TEST_CASE("objecter: may go while it waits to dial or to send again") {
  io::SimExecutor executor;
  Objecter messages_go_nowhere(executor, 1, [](Epoch) {});
  net::FakeMessenger messenger(executor, messages_go_nowhere);
  {
    Objecter objecter(executor, 77, [](Epoch) {});
    objecter.attach(messenger);
    objecter.set_map(Client::map(1, {0, 1}));
    objecter.submit(kPool, "object", {{StepCode::touch, 0, 0, {}, {}}}, {},
                    [](Status, net::OpReply, Buffer) {});
    objecter.on_closed(messenger.last(), Status(ErrorCode::io_error, "connection refused"));
  }
  executor.run_for(kSecondNs);
  CHECK(messenger.dialed.size() == 1);
}

}  // namespace cairn::objecter
