// Listening, accepting and dialling of TcpMessenger.
#include <cstring>
#include <utility>

#include "net/local_socket.hh"
#include "net/tcp_connection.hh"

namespace cairn::net {

namespace {

// Strangers that connect and say nothing are dropped from here on.
constexpr std::size_t kMaxHandshaking = 256;
constexpr std::uint64_t kAcceptRetryNs = 100'000'000;
// Until a local name that is taken is asked for again.
constexpr std::uint64_t kLocalRetryNs = 250'000'000;

}  // namespace

Result<std::uint16_t> TcpMessenger::listen(const Address& address) {
  Result<OwnedFd> fd = open_listener(address);
  if (!fd) return fd.status();
  Result<std::uint16_t> port = local_port(fd->get());
  if (!port) return port;
  const Address bound{.host = address.host, .port = *port};
  add_listener(std::move(*fd), bound, false);
  if (config_.local_sockets) listen_locally(bound, false);
  return port;
}

// TCP alone will do while that fails.
void TcpMessenger::listen_locally(const Address& address, bool again) {
  Result<OwnedFd> fd = open_local_listener(address);
  if (fd) return add_listener(std::move(*fd), address, true);
  const bool retries = fd.status().code() == ErrorCode::address_in_use;
  if (!again) {
    log(LogLevel::warn, fd.status().to_string() + "; local processes use TCP" +
                            (retries ? " until the name is free" : ""));
  }
  if (!retries) return;
  reactor_.run_after(kLocalRetryNs, [life = life_, address] {
    if (life->messenger != nullptr) life->messenger->listen_locally(address, true);
  });
}

void TcpMessenger::add_listener(OwnedFd fd, const Address& address, bool local) {
  auto listener = std::make_shared<Listener>();
  listener->owner = this;
  listener->fd = std::move(fd);
  listener->address = address;
  listener->local = local;
  listeners_.push_back(listener);
  start_accept(listener);
}

void TcpMessenger::start_accept(const ListenerPtr& listener) {
  reactor_.accept(listener->fd.get(), [listener](int result) {
    if (listener->owner != nullptr)
      listener->owner->accepted(listener, result);
    else
      OwnedFd closes_itself(result);
  });
}

void TcpMessenger::accepted(const ListenerPtr& listener, int result) {
  if (result < 0 && result != -ECONNABORTED) {  // no descriptors or memory left, mostly
    log(LogLevel::error, "accept on " + address_text(listener->address) + ": " +
                             std::strerror(-result) + "; trying again");
    reactor_.run_after(kAcceptRetryNs, [listener] {
      if (listener->owner != nullptr) listener->owner->start_accept(listener);
    });
    return;
  }
  start_accept(listener);
  if (result < 0) return;  // the peer had gone before it was accepted
  OwnedFd fd(result);
  if (handshaking_ >= kMaxHandshaking) {
    ++counters_.handshake_refusals;
    ++counters_.refused_connections[ErrorCode::busy];
    return;
  }
  std::string place;
  if (listener->local) {
    configure_local(fd.get());
    place = local_peer_text(fd.get());
  } else {
    configure_stream(fd.get());
    place = address_text(peer_address(fd.get()));
  }
  const ConnectionPtr connection = add_connection(std::move(place), false);
  connection->fd = std::move(fd);
  if (listener->local) mark_local(*connection);
  ++handshaking_;
  connection->state = Connection::State::handshaking;
  start_receive(connection);
}

TcpMessenger::ConnectionPtr TcpMessenger::add_connection(std::string place, bool dialed) {
  auto connection = std::make_shared<Connection>();
  connection->owner = this;
  connection->id = ++last_id_;
  connection->dialed = dialed;
  connection->place = std::move(place);
  connection->handshake_timer = reactor_.run_after(config_.handshake_timeout_ns, [connection] {
    if (connection->owner == nullptr) return;
    connection->owner->close_connection(
        connection, {ErrorCode::timed_out, "no handshake within the time limit"});
  });
  connections_.emplace(connection->id, connection);
  ++counters_.connections;
  return connection;
}

ConnectionId TcpMessenger::connect(const Address& address, const Entity& expected) {
  const ConnectionPtr connection = add_connection(address_text(address), true);
  connection->address = address;
  connection->expected = expected;
  if (Status status = start_connect(connection); !status)
    close_connection(connection, std::move(status));
  return connection->id;
}

Status TcpMessenger::start_connect(const ConnectionPtr& connection) {
  if (config_.local_sockets && connected_locally(connection)) return Status::ok();
  Result<SocketAddress> socket_address = to_socket_address(connection->address);
  if (!socket_address) return socket_address.status();
  Result<OwnedFd> fd = open_stream(*socket_address);
  if (!fd) return fd.status();
  configure_stream(fd->get());
  connection->fd = std::move(*fd);
  connection->socket_address = *socket_address;
  reactor_.connect(connection->fd.get(), connection->socket_address.get(),
                   connection->socket_address.length, [connection](int result) {
                     if (!connection->closed()) connection->owner->connected(connection, result);
                   });
  return Status::ok();
}

bool TcpMessenger::connected_locally(const ConnectionPtr& connection) {
  Result<OwnedFd> fd = connect_local(connection->address);
  if (!fd) {
    if (fd.status().code() == ErrorCode::permission_denied && !std::exchange(said_foreign_, true))
      log(LogLevel::info, fd.status().message() + ", who is neither ours nor root; using TCP");
    return false;
  }
  configure_local(fd->get());
  connection->fd = std::move(*fd);
  connection->place += " (local)";
  mark_local(*connection);
  connected(connection, 0);
  return true;
}

void TcpMessenger::mark_local(Connection& connection) {
  connection.local = true;
  ++counters_.local_connections;
}

void TcpMessenger::connected(const ConnectionPtr& connection, int result) {
  if (result < 0) {
    close_connection(connection, disconnected("connect to " + address_text(connection->address) +
                                              ": " + std::strerror(-result)));
    return;
  }
  connection->state = Connection::State::handshaking;
  send_hello(connection, ErrorCode::ok);
  start_receive(connection);
}

}  // namespace cairn::net
