// SimMessenger: the Messenger over a SimNetwork. Every frame goes through the real codec and every
// connection through the real handshake, so that their bugs show in simulations too. Destroying
// one is the sudden death of its process.
#pragma once

#include <map>
#include <optional>

#include "net/handshake.hh"
#include "net/messenger.hh"
#include "net/sim_network.hh"

namespace cairn::net {

struct SimMessengerConfig {
  std::string host;  // where it runs and, by default, listens; the name that faults use
  ClusterId cluster{};
  Entity self;
  std::uint32_t required_features = 0;
  std::uint32_t supported_features = 0;
};

class SimMessenger final : public Messenger, private SimEndpoint {
 public:
  static constexpr std::uint64_t kHandshakeTimeoutNs = 3'000'000'000;
  static constexpr std::uint64_t kMaxUnsentBytes = std::uint64_t{256} << 20;

  // Both must outlive the messenger. Not to be destroyed inside a callback of the handler.
  SimMessenger(SimNetwork& network, MessengerHandler& handler, SimMessengerConfig config);
  ~SimMessenger() override;

  Result<std::uint16_t> listen(const Address& address) override;
  ConnectionId connect(const Address& address, const Entity& expected) override;
  void send(ConnectionId id, Frame frame) override;
  std::uint64_t queued_bytes(ConnectionId id) const override;
  void close(ConnectionId id, Status reason) override;
  const MessengerCounters& counters() const override { return counters_; }

 private:
  struct Connection {
    bool dialed = false;
    bool open = false;  // the handshake is over
    std::optional<Entity> expected;
    FrameDecoder decoder{kHelloLimits};
    std::uint64_t next_sequence = 1;
    std::vector<Frame> early_frames;  // sent before the handshake was over
    io::TimerId handshake_timer = 0;
  };

  void stream_accepted(StreamId id) override;
  void stream_connected(StreamId id) override;
  void stream_bytes(StreamId id, ByteSpan bytes) override;
  void stream_closed(StreamId id, const Status& reason) override;
  void stream_batch_end() override;

  void add_connection(StreamId id, bool dialed, std::optional<Entity> expected);
  Hello our_hello(const Connection& connection) const;
  void write_frame(StreamId id, Connection& connection, const Frame& frame);
  Status deliver(StreamId id, Connection& connection, Frame frame);
  Status handshake(StreamId id, Connection& connection, const Frame& frame);
  void drop(StreamId id, bool abrupt, Status reason);
  void forget(StreamId id, Status reason);

  SimNetwork& network_;
  MessengerHandler& handler_;
  SimMessengerConfig config_;
  MessengerCounters counters_;
  std::shared_ptr<SimMessenger*> life_;             // holds null once the messenger is gone
  std::map<ConnectionId, Connection> connections_;  // by StreamId
  bool frames_delivered_ = false;                   // since the last batch end
};

}  // namespace cairn::net
