// FakeMessenger: connections in the hands of a test. It records what is dialed and sent; the test
// (or on_dial, on_send) decides what becomes of it. Callbacks to the handler come from the executor
// or from the test, never from inside a call.
#pragma once

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "io/executor.hh"
#include "net/messenger.hh"

namespace cairn::net {

class FakeMessenger final : public Messenger {
 public:
  struct Dialed {
    Address address;
    Entity expected;
  };
  struct Sent {
    ConnectionId connection = 0;
    Frame frame;
  };

  FakeMessenger(io::Executor& executor, MessengerHandler& handler)
      : executor_(executor), handler_(handler) {}

  // Run by the executor after each connect() and send(), when set.
  std::function<void(ConnectionId)> on_dial;
  std::function<void(ConnectionId)> on_send;
  std::map<ConnectionId, Dialed> dialed;  // all there ever were
  std::map<ConnectionId, Status> closed;  // by us
  std::vector<Sent> sent;

  ConnectionId last() const { return next_ - 1; }
  void accept(ConnectionId id) { handler_.on_connected(id, dialed.at(id).expected); }
  // The other side closes, or the dial fails.
  void lose(ConnectionId id, Status reason) {
    if (!closed.contains(id)) handler_.on_closed(id, reason);
  }
  void deliver(ConnectionId id, Frame frame) { handler_.on_frame(id, std::move(frame)); }

  Result<std::uint16_t> listen(const Address& address) override { return address.port; }
  ConnectionId connect(const Address& address, const Entity& expected) override {
    const ConnectionId id = next_++;
    dialed[id] = {address, expected};
    executor_.post([this, id] {
      if (on_dial) on_dial(id);
    });
    return id;
  }
  void send(ConnectionId id, Frame frame) override {
    sent.push_back({id, std::move(frame)});
    executor_.post([this, id] {
      if (on_send) on_send(id);
    });
  }
  std::uint64_t queued_bytes(ConnectionId) const override { return 0; }
  void close(ConnectionId id, Status reason) override {
    if (!closed.emplace(id, reason).second) return;
    executor_.post([this, id, reason] { handler_.on_closed(id, reason); });
  }
  const MessengerCounters& counters() const override { return counters_; }

 private:
  io::Executor& executor_;
  MessengerHandler& handler_;
  ConnectionId next_ = 1;
  MessengerCounters counters_;
};

}  // namespace cairn::net
