// Names, listening and dialling of local sockets.
#include "net/local_socket.hh"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace cairn::net {

namespace {

// The address is put in its canonical form first, so that all spellings of it give one name.
Result<SocketAddress> name_of(const Address& address) {
  Result<SocketAddress> tcp = to_socket_address(address);
  if (!tcp) return tcp;
  const std::string name = "cairn/" + address_text(to_address(*tcp));
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  // The leading zero byte makes it abstract.
  if (name.size() + 1 > sizeof local.sun_path)
    return Status{ErrorCode::invalid_argument, "the local name of " + name + " is too long"};
  std::memcpy(local.sun_path + 1, name.data(), name.size());
  SocketAddress result;
  std::memcpy(&result.storage, &local, sizeof local);
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return result;
}

Result<OwnedFd> open_socket(int flags) {
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (fd.get() < 0) return Status::from_errno(errno, "create a local socket");
  return fd;
}

Result<ucred> peer_of(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return Status::from_errno(errno, "ask who is at the other end of a local socket");
  return peer;
}

// An address that has moved to another machine may leave a listener behind here, which TCP would no
// longer reach.
bool is_own_address(const Address& address) {
  Result<SocketAddress> any_port = to_socket_address({.host = address.host, .port = 0});
  if (!any_port) return false;
  Result<OwnedFd> probe = open_stream(*any_port);
  return probe.is_ok() && ::bind(probe->get(), any_port->get(), any_port->length) == 0;
}

}  // namespace

Result<OwnedFd> open_local_listener(const Address& address) {
  Result<SocketAddress> name = name_of(address);
  if (!name) return name.status();
  Result<OwnedFd> fd = open_socket(0);
  if (!fd) return fd;
  if (::bind(fd->get(), name->get(), name->length) != 0 || ::listen(fd->get(), kListenBacklog) != 0)
    return Status::from_errno(errno, "listen for local processes at " + address_text(address));
  return fd;
}

Result<OwnedFd> connect_local(const Address& address) {
  Result<SocketAddress> name = name_of(address);
  if (!name) return name.status();
  // A listener that does not accept must not hold us up: without O_NONBLOCK connect() waits for it.
  Result<OwnedFd> fd = open_socket(SOCK_NONBLOCK);
  if (!fd) return fd;
  if (::connect(fd->get(), name->get(), name->length) != 0) {
    const ErrorCode code = errno == EAGAIN ? ErrorCode::busy : ErrorCode::not_found;
    return Status{code, "no local process accepts at " + address_text(address)};
  }
  Result<ucred> peer = peer_of(fd->get());
  if (!peer) return peer.status();
  if (peer->uid != 0 && peer->uid != ::geteuid())
    return Status{ErrorCode::permission_denied, "the local name of " + address_text(address) +
                                                    " belongs to uid " + std::to_string(peer->uid)};
  if (!is_own_address(address))
    return Status{ErrorCode::not_found, address_text(address) + " is not on this machine"};
  // io_uring waits for readiness itself, and reports EAGAIN when the descriptor says O_NONBLOCK.
  const int flags = ::fcntl(fd->get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd->get(), F_SETFL, flags & ~O_NONBLOCK) != 0)
    return Status::from_errno(errno, "set up a local socket");
  return fd;
}

void configure_local(int fd) {
  // Only the first call goes beyond net.core.wmem_max, and only for CAP_NET_ADMIN.
  const int bytes = kLocalSendBytes;
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
    static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
}

std::string local_peer_text(int fd) {
  Result<ucred> peer = peer_of(fd);
  if (!peer) return "a local process";
  return "a local process (pid " + std::to_string(peer->pid) + ", uid " +
         std::to_string(peer->uid) + ")";
}

}  // namespace cairn::net
