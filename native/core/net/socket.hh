// TCP sockets of the operating system: addresses, listening, options. No event loop here.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "base/status.hh"
#include "net/messenger.hh"

namespace cairn::net {

// A descriptor that closes itself.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// "127.0.0.1:7000", "[::1]:7000"
std::string address_text(const Address& address);
// invalid_argument: the host is not a numeric IPv4 or IPv6 address. Names are not resolved: that
// would block.
Result<SocketAddress> to_socket_address(const Address& address);
// Of an IPv4 or IPv6 address; the host is empty otherwise.
Address to_address(const SocketAddress& address);
// Connections that a listener may leave waiting.
constexpr int kListenBacklog = 512;
// A listening socket. address_in_use, permission_denied or io_error, naming the address.
Result<OwnedFd> open_listener(const Address& address);
// A socket that can be connected to the address; io_error when there are no descriptors left.
Result<OwnedFd> open_stream(const SocketAddress& address);
// The options of a connection: TCP_NODELAY (frames are whole messages), and keepalive with a limit
// on unacknowledged data, so that a peer that is gone without a word ends the connection after
// kPeerGoneMs. Buffer sizes stay the kernel's: setting them would end its tuning of them.
constexpr unsigned kPeerGoneMs = 15'000;
void configure_stream(int fd);
// Sends as much as the socket takes without waiting. The bytes sent, or a negative errno.
int send_now(int fd, const msghdr& message);
// The port a socket is bound to.
Result<std::uint16_t> local_port(int fd);
// Who is at the other end; the host is empty when the socket is not connected.
Address peer_address(int fd);

}  // namespace cairn::net
