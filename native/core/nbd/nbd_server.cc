// Listening and the set of connections for nbd_server.hh.
#include "nbd/nbd_server.hh"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace cairn::nbd {

namespace {

constexpr int kListenBacklog = 16;
constexpr std::uint64_t kAcceptRetryNs = 1'000'000'000;
constexpr std::uint64_t kCloseGraceNs = 5'000'000'000;

bool somebody_listens(const sockaddr_un& address) {
  const net::OwnedFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

Result<net::OwnedFd> listen_on_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Status{ErrorCode::invalid_argument, "socket path " + path + " is longer than " +
                                                   std::to_string(sizeof address.sun_path - 1) +
                                                   " bytes"};
  std::memcpy(address.sun_path, path.data(), path.size());
  net::OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return Status::from_errno(errno, "create a socket");
  struct stat existing {};
  if (::lstat(path.c_str(), &existing) == 0) {
    if (!S_ISSOCK(existing.st_mode))
      return Status{ErrorCode::already_exists, path + " exists and is not a socket"};
    if (somebody_listens(address))
      return Status{ErrorCode::address_in_use, "another process listens on " + path};
    ::unlink(path.c_str());
  }
  // On Linux the socket's own mode becomes the mode of the path that bind() makes.
  if (::fchmod(socket.get(), 0600) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), kListenBacklog) != 0)
    return Status::from_errno(errno, "listen on " + path);
  return socket;
}

}  // namespace

Result<std::unique_ptr<NbdServer>> NbdServer::listen(io::Reactor& reactor,
                                                     image::BlockDevice& device,
                                                     ServerOptions options, LogFunction log) {
  if (options.export_name.size() > kMaxNameBytes || options.description.size() > kMaxNameBytes)
    return Status{ErrorCode::invalid_argument,
                  "an export's name or description is above 4096 bytes"};
  const bool unix_socket = !options.unix_path.empty();
  Result<net::OwnedFd> listener =
      unix_socket ? listen_on_path(options.unix_path) : net::open_listener(options.tcp);
  if (!listener) return listener.status();
  std::uint16_t port = 0;
  if (!unix_socket) {
    const Result<std::uint16_t> bound = net::local_port(listener->get());
    if (!bound) return bound.status();
    port = bound.value();
  }
  std::unique_ptr<NbdServer> server(new NbdServer(reactor, device, std::move(options),
                                                  std::move(log), std::move(*listener), port));
  server->accept();
  return server;
}

NbdServer::NbdServer(io::Reactor& reactor, image::BlockDevice& device, ServerOptions options,
                     LogFunction log, net::OwnedFd listener, std::uint16_t port)
    : reactor_(reactor),
      device_(device),
      options_(std::move(options)),
      log_(std::move(log)),
      listener_(std::move(listener)),
      port_(port) {}

NbdServer::~NbdServer() {
  stop_listening();
  reactor_.cancel(grace_timer_);
  for (const auto& [id, connection] : connections_) connection->abandon();
  self_.reset();
  end_use();
}

void NbdServer::close(UniqueFunction<void()> done) {
  CAIRN_ASSERT(!close_done_);
  stop_listening();
  close_done_ = std::move(done);
  // Draining removes connections that are idle from the map, so it runs over a copy.
  std::vector<std::shared_ptr<Connection>> open;
  for (const auto& [id, connection] : connections_) open.push_back(connection);
  for (const auto& connection : open) connection->drain();
  if (connections_.empty()) return finish_close();
  grace_timer_ = reactor_.run_after(kCloseGraceNs, [this] {
    for (const auto& [id, connection] : connections_) connection->abandon();
    connections_.clear();
    end_use();
  });
}

void NbdServer::stop_listening() {
  if (listener_.get() < 0) return;
  reactor_.cancel(std::exchange(retry_timer_, 0));
  reactor_.cancel_fd(listener_.get());
  listener_ = net::OwnedFd();
  if (!options_.unix_path.empty()) ::unlink(options_.unix_path.c_str());
}

void NbdServer::accept() {
  reactor_.accept(listener_.get(), [weak = std::weak_ptr(self_)](int result) {
    const auto self = weak.lock();
    if (self && (*self)->listener_.get() >= 0) {
      (*self)->on_accepted(result);
    } else if (result >= 0) {
      ::close(result);
    }
  });
}

void NbdServer::on_accepted(int result) {
  if (result < 0) {
    if (log_) log_(LogLevel::warn, std::string("nbd: accept: ") + std::strerror(-result));
    retry_timer_ = reactor_.run_after(kAcceptRetryNs, [this] { accept(); });
    return;
  }
  accept();
  net::OwnedFd socket(result);
  if (connections_.size() >= options_.max_connections) {
    if (log_) log_(LogLevel::warn, "nbd: connection refused: too many are open");
    return;
  }
  if (options_.unix_path.empty()) net::configure_stream(socket.get());
  ++counters_.connections;
  const std::uint64_t id = next_connection_++;
  ExportInfo info{.name = options_.export_name,
                  .description = options_.description,
                  .size_bytes = device_.size_bytes(),
                  .read_only = options_.read_only || device_.read_only(),
                  .bitmaps = {}};
  if (options_.dirty != nullptr) info.bitmaps = options_.dirty->names();
  if (!std::exchange(in_use_, true)) device_.begin_use();
  auto connection = std::make_shared<Connection>(
      reactor_, device_, std::move(socket), std::move(info), options_.dirty, options_.limits,
      counters_, log_, [this, id] { on_connection_closed(id); });
  connections_.emplace(id, connection);
  connection->start();
}

void NbdServer::on_connection_closed(std::uint64_t id) {
  connections_.erase(id);
  if (connections_.empty()) end_use();
}

void NbdServer::end_use() {
  if (!std::exchange(in_use_, false)) return;
  device_.end_use([weak = std::weak_ptr(self_)] {
    const auto self = weak.lock();
    if (self && (*self)->connections_.empty() && (*self)->close_done_) (*self)->finish_close();
  });
}

// From a task of its own: the caller may destroy the server in done.
void NbdServer::finish_close() {
  reactor_.cancel(std::exchange(grace_timer_, 0));
  if (close_done_) reactor_.post(std::exchange(close_done_, nullptr));
}

}  // namespace cairn::nbd
