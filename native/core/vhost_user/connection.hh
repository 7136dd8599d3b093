// Connection: one front end's socket and session, and the order in which a message takes effect:
// stop and drain the rings it touches, apply it, answer it, start the rings that are ready.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/log.hh"
#include "io/reactor.hh"
#include "vhost_user/message_socket.hh"
#include "vhost_user/server.hh"
#include "vhost_user/session.hh"

namespace cairn::vhost_user {

class Server::Connection {
 public:
  // over: called once, never inside a method, when the connection has ended and every ring has
  // drained; it may destroy the connection.
  Connection(io::Reactor& reactor, virtio::Device& device, FileDescriptor socket, LogFunction& log,
             UniqueFunction<void()> over);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Drains the rings and ends the connection.
  void close();
  // Tells a front end that wants to know.
  void config_changed();
  // Whether it serves a front end that is still there.
  bool alive() const { return !closing_ && !socket_.peer_closed(); }

 private:
  // Messages per turn of the reactor, so that a flood of them does not keep the rings waiting.
  static constexpr int kMessagesPerTurn = 16;

  void watch();
  void on_readable();
  void handle(Message message);
  void finish_message();
  void start_rings();
  void stop_rings(const std::vector<std::uint32_t>& rings);
  void on_ring_stopped(std::uint32_t index, std::uint16_t next_available);
  void end(const Status& why);
  void report_over();

  io::Reactor& reactor_;
  virtio::Device& device_;
  LogFunction& log_;
  UniqueFunction<void()> over_;
  MessageSocket socket_;
  Session session_;
  std::optional<MessageSocket> backend_channel_;  // for our requests to the front end
  io::WatchId watch_ = 0;
  std::optional<Message> pending_;  // waits for rings_stopping_
  std::uint32_t rings_stopping_ = 0;
  bool closing_ = false;
};

}  // namespace cairn::vhost_user
