// What TcpMessenger keeps for a listener and for a connection. Only for its own source files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/send_queue.hh"
#include "net/tcp_messenger.hh"

namespace cairn::net {

inline Status disconnected(const std::string& text) { return {ErrorCode::disconnected, text}; }

struct TcpMessenger::Listener {
  TcpMessenger* owner = nullptr;  // null: the messenger is gone
  OwnedFd fd;
  Address address;
  bool local = false;  // a Unix socket under the name of the address
};

struct TcpMessenger::Connection {
  enum class State : std::uint8_t { connecting, handshaking, open, refusing, closed };
  TcpMessenger* owner = nullptr;  // null: the messenger is gone
  ConnectionId id = 0;
  OwnedFd fd;
  State state = State::connecting;
  bool dialed = false;
  bool local = false;          // a Unix socket
  bool sending = false;        // a sendmsg is in flight
  bool to_be_flushed = false;  // is in to_flush_
  Address address;             // that was dialed
  std::string place;           // for logs: where the peer is
  std::optional<Entity> expected;
  std::optional<Entity> peer;  // known after the handshake
  io::TimerId handshake_timer = 0;
  SocketAddress socket_address;  // read by the kernel while connecting
  FrameDecoder decoder{kHelloLimits};
  bool expects_big_payload = false;
  std::unique_ptr<std::byte[]> receive_buffer;
  SendQueue queue;
  std::vector<Frame> early_frames;  // sent before the handshake was over
  std::uint64_t early_bytes = 0;

  bool closed() const { return state == State::closed; }
  std::string text() const { return (peer ? entity_text(*peer) + " at " : std::string()) + place; }
};

}  // namespace cairn::net
