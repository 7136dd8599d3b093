// NbdServer: serves one BlockDevice as one NBD export on a Unix socket or a TCP address, to several
// clients at once. Several connections of one client see each other's writes at once, because the
// device's acknowledged writes are durable and visible to all (NBD_FLAG_CAN_MULTI_CONN).
//
// Invariants
// - Memory for requests: at most max_connections * limits.max_in_flight_bytes.
// - A protocol error ends that connection only, with one log line.
// - The Unix socket has mode 0600 from its first moment and is removed when the server ends.
// Does not: TLS or authentication; listen on other than local addresses only if that is wanted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "nbd/connection.hh"

namespace cairn::nbd {

struct ServerOptions {
  std::string unix_path;  // or, when empty, tcp
  net::Address tcp;       // port 0 takes a free one
  std::string export_name;
  std::string description;
  bool read_only = false;              // also when the device is
  std::shared_ptr<DirtySource> dirty;  // the dirty bitmaps that are offered; null: none
  std::size_t max_connections = 16;
  ConnectionLimits limits;
};

class NbdServer {
 public:
  // Listens. reactor and device must outlive the server. A Unix socket that nobody listens on any
  // more is replaced. invalid_argument: the path or name is too long, or the host no address;
  // address_in_use; permission_denied; io_error.
  static Result<std::unique_ptr<NbdServer>> listen(io::Reactor& reactor, image::BlockDevice& device,
                                                   ServerOptions options, LogFunction log);
  // Cuts the connections that are left. After it the device is not called again.
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // Stops listening, answers the running requests, and closes the connections; those that take
  // longer than the grace period are cut. done runs once, when no connection is left.
  void close(UniqueFunction<void()> done);

  // What is offered to connections that begin from now on.
  void set_dirty(std::shared_ptr<DirtySource> dirty) { options_.dirty = std::move(dirty); }

  std::uint16_t port() const { return port_; }  // 0 for a Unix socket
  const Counters& counters() const { return counters_; }
  std::size_t connection_count() const { return connections_.size(); }

 private:
  NbdServer(io::Reactor& reactor, image::BlockDevice& device, ServerOptions options,
            LogFunction log, net::OwnedFd listener, std::uint16_t port);
  void accept();
  void on_accepted(int result);
  void stop_listening();
  void on_connection_closed(std::uint64_t id);
  void finish_close();
  // No connection is left: the device is let go.
  void end_use();

  io::Reactor& reactor_;
  image::BlockDevice& device_;
  ServerOptions options_;
  LogFunction log_;
  net::OwnedFd listener_;
  std::uint16_t port_;
  Counters counters_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections_;
  std::uint64_t next_connection_ = 1;
  bool in_use_ = false;          // the device, by connections
  io::TimerId retry_timer_ = 0;  // of accept(), after the process ran out of descriptors
  io::TimerId grace_timer_ = 0;
  UniqueFunction<void()> close_done_;
  // Callbacks hold it weakly: they know by it whether the server is still there.
  std::shared_ptr<NbdServer*> self_ = std::make_shared<NbdServer*>(this);
};

}  // namespace cairn::nbd
