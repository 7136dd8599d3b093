// Server: a virtio::Device on a unix socket, for one vhost-user front end at a time.
//
// Invariants
// - A front end's messages take effect one after the other, in order: while one waits for rings to
//   drain, none behind it is read.
// - A connection ends only when every ring it started has drained; until then nobody else is
//   served, so two front ends never share the device. One that connects in between waits (it is
//   most likely the same front end, reconnecting); one that connects to a live session is refused.
// - Each session starts fresh: nothing is kept from the one before.
// - A broken front end costs one log line and its own connection.
//
// Does not: keep in-flight requests over a reconnect, or log dirty pages for migration.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/log.hh"
#include "base/unique_function.hh"
#include "io/reactor.hh"
#include "vhost_user/file_descriptor.hh"
#include "vhost_user/message_socket.hh"
#include "virtio/device.hh"

namespace cairn::vhost_user {

class Server {
 public:
  // Listens on a socket at `path`, mode 0600. A socket file that nobody listens on is replaced.
  // The device and the reactor outlive the server.
  // Errors: address_in_use (somebody listens, or the path is no socket), invalid_argument (a path
  // of more than 107 bytes), permission_denied, not_found (no such folder), io_error.
  static Result<std::unique_ptr<Server>> listen(io::Reactor& reactor, virtio::Device& device,
                                                const std::string& path, LogFunction log);
  // After close() has called back (or with no front end connected).
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Stops listening, removes the socket file, drains and disconnects the front end; then calls
  // done, never inside this call.
  void close(UniqueFunction<void()> done);

  // The device's configuration space has changed: a front end that wants to know is told.
  void config_changed();

  bool connected() const { return connection_ != nullptr; }
  const std::string& path() const { return path_; }

 private:
  class Connection;

  Server(io::Reactor& reactor, virtio::Device& device, std::string path, FileDescriptor socket,
         LogFunction log);
  void on_incoming();
  void pause_accepting();
  void take(FileDescriptor peer);
  void on_connection_over();
  void stop_listening();
  void remove_socket_file();

  io::Reactor& reactor_;
  virtio::Device& device_;
  std::string path_;
  FileDescriptor socket_;
  LogFunction log_;
  dev_t file_device_ = 0;  // of the socket file: only our own is removed
  ino_t file_inode_ = 0;
  io::WatchId watch_ = 0;
  io::TimerId retry_ = 0;  // set: not accepting for a moment
  std::unique_ptr<Connection> connection_;
  FileDescriptor waiting_;  // connected while the last session drains
  UniqueFunction<void()> close_done_;
};

}  // namespace cairn::vhost_user
