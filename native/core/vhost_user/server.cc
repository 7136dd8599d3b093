// The listening socket and who may connect; see the header.
#include "vhost_user/server.hh"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "vhost_user/connection.hh"

namespace cairn::vhost_user {

namespace {

constexpr mode_t kSocketMode = 0600;
constexpr int kBacklog = 4;
constexpr std::uint64_t kAcceptRetryNs = 1'000'000'000;

FileDescriptor new_socket() {
  return FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Status{ErrorCode::invalid_argument, "a socket path has 1 to 107 bytes, this one has " +
                                                   std::to_string(path.size()) + ": " + path};
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// What to do about a path that is taken: ok when it was a socket nobody listens on, now removed.
Status remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return Status::from_errno(errno, "stat " + path);
  if (!S_ISSOCK(info.st_mode))
    return {ErrorCode::address_in_use, path + " exists and is no socket"};
  const FileDescriptor probe = new_socket();
  if (!probe) return Status::from_errno(errno, "make a socket");
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != ECONNREFUSED)
    return {ErrorCode::address_in_use, path + " is in use by another process"};
  if (::unlink(path.c_str()) != 0) return Status::from_errno(errno, "remove stale " + path);
  return Status::ok();
}

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(io::Reactor& reactor, virtio::Device& device,
                                               const std::string& path, LogFunction log) {
  auto address = address_of(path);
  if (!address) return address.status();
  FileDescriptor socket = new_socket();
  // The mode goes on the socket, which gives it to the file that bind makes: the umask belongs to
  // the whole process, and a chmod afterwards would leave a moment open.
  if (!socket || ::fchmod(socket.get(), kSocketMode) != 0)
    return Status::from_errno(errno, "make a socket");
  const auto* where = reinterpret_cast<const sockaddr*>(&*address);
  if (::bind(socket.get(), where, sizeof *address) != 0) {
    if (errno != EADDRINUSE) return Status::from_errno(errno, "bind " + path);
    CAIRN_RETURN_IF_ERROR(remove_stale(path, *address));
    if (::bind(socket.get(), where, sizeof *address) != 0)
      return Status::from_errno(errno, "bind " + path);
  }
  auto server =
      std::unique_ptr<Server>(new Server(reactor, device, path, std::move(socket), std::move(log)));
  if (::listen(server->socket_.get(), kBacklog) != 0)
    return Status::from_errno(errno, "listen on " + path);
  return server;
}

Server::Server(io::Reactor& reactor, virtio::Device& device, std::string path,
               FileDescriptor socket, LogFunction log)
    : reactor_(reactor),
      device_(device),
      path_(std::move(path)),
      socket_(std::move(socket)),
      log_(std::move(log)) {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0) {
    file_device_ = info.st_dev;
    file_inode_ = info.st_ino;
  }
  watch_ = reactor_.watch_readable(socket_.get(), [this] { on_incoming(); });
}

Server::~Server() {
  CAIRN_ASSERT(connection_ == nullptr);
  stop_listening();
}

void Server::stop_listening() {
  if (!socket_) return;
  reactor_.cancel(std::exchange(retry_, 0));
  if (watch_ != 0) reactor_.unwatch(std::exchange(watch_, 0));
  remove_socket_file();
  socket_ = FileDescriptor();
}

void Server::remove_socket_file() {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) != 0) return;
  if (info.st_dev == file_device_ && info.st_ino == file_inode_) ::unlink(path_.c_str());
}

void Server::on_incoming() {
  while (true) {
    FileDescriptor peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer) {
      if (errno == EMFILE || errno == ENFILE) pause_accepting();
      return;
    }
    if (connection_ == nullptr) {
      take(std::move(peer));
    } else if (connection_->alive() || waiting_) {
      log_(LogLevel::warn, "vhost-user: a second front end on " + path_ + " was refused");
    } else {
      waiting_ = std::move(peer);
    }
  }
}

// Without a free descriptor the connection stays in the backlog and the socket readable.
void Server::pause_accepting() {
  log_(LogLevel::warn, "vhost-user: no descriptor is left to accept a front end on " + path_);
  reactor_.unwatch(std::exchange(watch_, 0));
  retry_ = reactor_.run_after(kAcceptRetryNs, [this] {
    retry_ = 0;
    watch_ = reactor_.watch_readable(socket_.get(), [this] { on_incoming(); });
  });
}

void Server::take(FileDescriptor peer) {
  log_(LogLevel::info, "vhost-user: a front end connected to " + path_);
  connection_ = std::make_unique<Connection>(reactor_, device_, std::move(peer), log_,
                                             [this] { on_connection_over(); });
}

void Server::on_connection_over() {
  connection_.reset();
  if (close_done_) {
    UniqueFunction<void()> done = std::move(close_done_);
    done();
  } else if (waiting_) {
    take(std::move(waiting_));
  }
}

void Server::config_changed() {
  if (connection_ != nullptr) connection_->config_changed();
}

void Server::close(UniqueFunction<void()> done) {
  CAIRN_ASSERT(!close_done_);
  close_done_ = std::move(done);
  stop_listening();
  waiting_ = FileDescriptor();
  if (connection_ != nullptr) {
    connection_->close();
    return;
  }
  reactor_.post([this] {
    UniqueFunction<void()> over = std::move(close_done_);
    over();
  });
}

}  // namespace cairn::vhost_user
