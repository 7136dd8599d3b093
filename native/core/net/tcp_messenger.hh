// TcpMessenger: the Messenger over TCP, and over Unix sockets between processes of one machine
// (local_socket.hh), on a Reactor. Above the socket both are alike.
//
// Frugal by batching: one recv is in flight per connection, into a buffer from which all frames are
// parsed; only the rest of a large payload is received straight into its frame. Frames queued while
// the callbacks of one wake-up run leave together, in one sendmsg per connection.
//
// Invariants
// - A connection is in connections_ from its birth until close_connection(); after that the handler
//   hears only on_closed. Its descriptor lives until the last operation on it has completed.
// - Before the handshake nothing but a hello passes, in either direction; frames sent early wait.
// - A protocol error costs its connection and one log line, nothing else.
//
// It does not reconnect and does not send anything again: that is the caller's.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "base/log.hh"
#include "io/reactor.hh"
#include "net/handshake.hh"
#include "net/messenger.hh"
#include "net/socket.hh"

namespace cairn::net {

struct TcpConfig {
  ClusterId cluster{};
  Entity self;
  std::uint32_t required_features = 0;
  std::uint32_t supported_features = 0;
  bool local_sockets = true;                           // false: TCP alone
  LogFunction log;                                     // may be empty
  std::uint64_t handshake_timeout_ns = 3'000'000'000;  // of connect and hello together
  // A caller that ignores queued_bytes() until here loses the connection.
  std::uint64_t max_unsent_bytes = std::uint64_t{256} << 20;
};

class TcpMessenger final : public Messenger {
 public:
  // Both must outlive the messenger. Not to be destroyed inside a callback of the handler.
  TcpMessenger(io::Reactor& reactor, MessengerHandler& handler, TcpConfig config);
  TcpMessenger(const TcpMessenger&) = delete;
  TcpMessenger& operator=(const TcpMessenger&) = delete;
  // Closes everything; the handler is not called any more.
  ~TcpMessenger() override;

  Result<std::uint16_t> listen(const Address& address) override;
  ConnectionId connect(const Address& address, const Entity& expected) override;
  void send(ConnectionId id, Frame frame) override;
  std::uint64_t queued_bytes(ConnectionId id) const override;
  void close(ConnectionId id, Status reason) override;
  const MessengerCounters& counters() const override { return counters_; }

 private:
  struct Connection;
  struct Listener;
  using ConnectionPtr = std::shared_ptr<Connection>;
  using ListenerPtr = std::shared_ptr<Listener>;
  // Shared with tasks that may run after the messenger is gone.
  struct Life {
    TcpMessenger* messenger;
  };

  void listen_locally(const Address& address, bool again);
  void add_listener(OwnedFd fd, const Address& address, bool local);
  void start_accept(const ListenerPtr& listener);
  void accepted(const ListenerPtr& listener, int result);
  ConnectionPtr add_connection(std::string place, bool dialed);
  Status start_connect(const ConnectionPtr& connection);
  bool connected_locally(const ConnectionPtr& connection);
  void mark_local(Connection& connection);
  void connected(const ConnectionPtr& connection, int result);

  void start_receive(const ConnectionPtr& connection);
  void received(const ConnectionPtr& connection, int result, bool direct);
  Status parse(const ConnectionPtr& connection, std::size_t length);
  Status deliver(const ConnectionPtr& connection, Frame frame);

  Hello our_hello(const Connection& connection) const;
  void send_hello(const ConnectionPtr& connection, ErrorCode refusal);
  Status handshake(const ConnectionPtr& connection, const Frame& frame);
  void refuse(const ConnectionPtr& connection, const Status& reason);
  void open(const ConnectionPtr& connection, const Entity& peer);

  void queue_frame(const ConnectionPtr& connection, Frame frame);
  void start_send(const ConnectionPtr& connection);
  bool sent(const ConnectionPtr& connection, int result);
  void schedule_end_of_wakeup();
  void end_of_wakeup();

  void close_connection(const ConnectionPtr& connection, Status reason);
  void count_and_log_close(const Connection& connection, const Status& reason);
  void log(LogLevel level, const std::string& text);

  io::Reactor& reactor_;
  MessengerHandler& handler_;
  TcpConfig config_;
  MessengerCounters counters_;
  std::shared_ptr<Life> life_;
  std::vector<ListenerPtr> listeners_;
  std::unordered_map<ConnectionId, ConnectionPtr> connections_;
  std::vector<ConnectionPtr> to_flush_;
  std::vector<ConnectionPtr> flushing_;  // to_flush_ while it is worked off; keeps its memory
  ConnectionId last_id_ = 0;
  std::size_t handshaking_ = 0;  // accepted connections without a finished handshake
  bool end_of_wakeup_posted_ = false;
  bool frames_delivered_ = false;  // in this wake-up
  bool said_foreign_ = false;      // that a local name is another user's
};

}  // namespace cairn::net
