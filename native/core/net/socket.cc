// The socket calls behind socket.hh.
#include "net/socket.hh"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace cairn::net {

namespace {

void set_option(int fd, int level, int option, int value) {
  // An option that the kernel lacks costs speed or detection time, never correctness.
  static_cast<void>(::setsockopt(fd, level, option, &value, sizeof value));
}

}  // namespace

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) ::close(fd_);
}

std::string address_text(const Address& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

Result<SocketAddress> to_socket_address(const Address& address) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (address.host.empty() ||
      ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found) != 0)
    return Status{ErrorCode::invalid_argument,
                  "\"" + address.host + "\" is not an IPv4 or IPv6 address"};
  SocketAddress result;
  std::memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  result.length = found->ai_addrlen;
  ::freeaddrinfo(found);
  return result;
}

Address to_address(const SocketAddress& address) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  const sa_family_t family = address.storage.ss_family;
  if ((family != AF_INET && family != AF_INET6) ||
      ::getnameinfo(address.get(), address.length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return {};
  return {.host = host, .port = static_cast<std::uint16_t>(std::stoul(port))};
}

Result<OwnedFd> open_stream(const SocketAddress& address) {
  // Blocking mode on purpose: io_uring waits for readiness itself, and reports EAGAIN instead when
  // the descriptor says O_NONBLOCK.
  OwnedFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Status::from_errno(errno, "create a socket");
  return fd;
}

Result<OwnedFd> open_listener(const Address& address) {
  Result<SocketAddress> socket_address = to_socket_address(address);
  if (!socket_address) return socket_address.status();
  Result<OwnedFd> opened = open_stream(*socket_address);
  if (!opened) return opened.status();
  const int fd = opened->get();
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (socket_address->storage.ss_family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (::bind(fd, socket_address->get(), socket_address->length) != 0 ||
      ::listen(fd, kListenBacklog) != 0)
    return Status::from_errno(errno, "listen on " + address_text(address));
  return opened;
}

void configure_stream(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);   // seconds
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);  // seconds
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 2);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kPeerGoneMs));
}

int send_now(int fd, const msghdr& message) {
  const ssize_t sent = ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? -errno : static_cast<int>(sent);
}

Result<std::uint16_t> local_port(int fd) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0)
    return Status::from_errno(errno, "getsockname");
  return to_address(address).port;
}

Address peer_address(int fd) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0)
    return {};
  return to_address(address);
}

}  // namespace cairn::net
