// Messenger: connections that carry frames, as a port. A connection exists for its handler only
// after the handshake: both sides sent a hello, of the same cluster and protocol version, and the
// dialed side is who the dialer wanted. Frames of one connection arrive in order, each once, or the
// connection closes; what was lost with it, the layer above sends again.
// Implementations: TcpMessenger (reactor), SimMessenger (virtual time; seeded faults). The handler
// is never called from inside a call to the messenger.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/ids.hh"
#include "base/status.hh"
#include "net/frame.hh"

namespace cairn::net {

using ConnectionId = std::uint64_t;  // never reused within a process; 0: none
using ClusterId = std::array<std::uint8_t, 16>;

enum class EntityKind : std::uint8_t { monitor = 1, osd = 2, client = 3 };

// Who sits at an end of a connection.
struct Entity {
  EntityKind kind = EntityKind::client;
  std::uint64_t id = 0;           // osd id, or client id
  std::uint64_t incarnation = 0;  // random per start of the daemon
  auto operator<=>(const Entity&) const = default;
};

// host: an IPv4 or IPv6 address in text form
struct Address {
  std::string host;
  std::uint16_t port = 0;
  auto operator<=>(const Address&) const = default;
};

class MessengerHandler {
 public:
  virtual ~MessengerHandler() = default;
  // Whether this dialer, whose hello fits, may come in. Otherwise the code is what it is told, and
  // it never becomes a connection.
  virtual Status admit(const Entity& peer) {
    static_cast<void>(peer);
    return Status::ok();
  }
  // An accepted connection has finished its handshake.
  virtual void on_accepted(ConnectionId connection, const Entity& peer) = 0;
  // A dialed connection has finished its handshake.
  virtual void on_connected(ConnectionId connection, const Entity& peer) = 0;
  virtual void on_frame(ConnectionId connection, Frame frame) = 0;
  // Once per connection that was dialed or accepted; reason is why. Nothing comes after it.
  virtual void on_closed(ConnectionId connection, const Status& reason) = 0;
  // All frames of this wake-up have been delivered: a place to submit batches.
  virtual void on_batch_end() {}
};

struct MessengerCounters {
  std::uint64_t frames_sent = 0, frames_received = 0, bytes_sent = 0, bytes_received = 0;
  std::uint64_t protocol_errors = 0, handshake_refusals = 0;
  // Dialers turned away, and connections closed for what the peer sent, by the reason's code.
  std::map<ErrorCode, std::uint64_t> refused_connections;
  // Open or being opened, right now; and how many of them are Unix sockets of this machine.
  std::uint64_t connections = 0, local_connections = 0;
};

// Whether a connection that closes for this reason counts among refused_connections: the reason
// lies in what the peer sent, or in who it says it is. Before the handshake is over
// permission_denied is the answer to our own hello.
inline bool is_fault_of_peer(ErrorCode code, bool was_open) {
  return code == ErrorCode::protocol_error || (was_open && code == ErrorCode::permission_denied);
}

class Messenger {
 public:
  virtual ~Messenger() = default;
  // Port 0 takes a free one. Returns the port. address_in_use: another process has it.
  virtual Result<std::uint16_t> listen(const Address& address) = 0;
  // Starts a connection; on_connected or on_closed follows (after at most 3 s).
  // expected: kind and id are checked against the hello; incarnation too unless 0.
  virtual ConnectionId connect(const Address& address, const Entity& expected) = 0;
  // Queues a frame; frames of one wake-up leave in one system call. Frames for a dialed connection
  // wait until its handshake is over. Ignored when the connection is closed (its on_closed has run
  // or will run).
  virtual void send(ConnectionId connection, Frame frame) = 0;
  // Bytes queued and not yet taken by the kernel: for back-pressure.
  virtual std::uint64_t queued_bytes(ConnectionId connection) const = 0;
  virtual void close(ConnectionId connection, Status reason) = 0;
  virtual const MessengerCounters& counters() const = 0;
};

}  // namespace cairn::net
