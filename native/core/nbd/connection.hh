// Connection: one NBD client, from the greeting to the close, over a stream socket.
//
// Invariants
// - Requests hold at most max_in_flight_bytes together, from their header to the last byte of their
//   reply. Beyond it the socket is not read: the client's own send blocks.
// - At most one receive and one send are under way. Replies of one wake-up leave in one sendmsg.
// - A command of the device that is still running when the connection ends runs to its end; its
//   outcome is dropped. Nothing else is done for the client after that.
// - on_closed runs once, unless abandon() came first.
// Does not: order commands (NBD lets a server reorder; the device orders what overlaps), keep a
// write cache (the device's acknowledged writes are durable, so FUA has nothing to add).
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>

#include "base/log.hh"
#include "image/block_device.hh"
#include "io/reactor.hh"
#include "nbd/dirty_source.hh"
#include "nbd/negotiation.hh"
#include "nbd/request_decoder.hh"
#include "net/socket.hh"

namespace cairn::nbd {

// Counted over all connections of a server.
struct Counters {
  std::uint64_t connections = 0;  // accepted
  std::uint64_t protocol_errors = 0;
  std::uint64_t read_requests = 0, write_requests = 0, other_requests = 0;
  std::uint64_t read_bytes = 0, written_bytes = 0;
  std::uint64_t failed_requests = 0;  // answered with an error
};

struct ConnectionLimits {
  std::uint64_t max_in_flight_bytes = std::uint64_t{64} << 20;
  std::uint64_t negotiation_timeout_ns = 10'000'000'000;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // device, counters and log must live until on_closed or abandon(). dirty: when the export has
  // bitmaps.
  Connection(io::Reactor& reactor, image::BlockDevice& device, net::OwnedFd socket, ExportInfo info,
             std::shared_ptr<DirtySource> dirty, ConnectionLimits limits, Counters& counters,
             LogFunction& log, UniqueFunction<void()> on_closed);
  // Greets the client. The connection keeps itself alive as long as something is pending.
  void start();
  // Takes no further requests, answers the running ones, closes.
  void drain();
  // Closes at once and tells nobody.
  void abandon();

 private:
  enum class State : std::uint8_t { negotiating, serving, draining, closed };
  struct Outgoing {
    ReplyPart part;
    std::uint64_t releases_bytes = 0;  // of in_flight_bytes_, once sent
  };

  void receive();
  void on_received(int result);
  void on_end_of_stream();
  void negotiate(ByteSpan bytes);
  void pump();

  void execute(Request request);
  void execute_read(const RequestHeader& request);
  void execute_write(const RequestHeader& request, Buffer payload);
  void execute_flush(const RequestHeader& request);
  void execute_block_status(const RequestHeader& request);
  // The next bitmap of those that were selected, or the reply.
  void execute_dirty_status(const RequestHeader& request, ReplyParts parts, std::size_t next);
  void execute_range(const RequestHeader& request, std::uint64_t position);

  void answer(const RequestHeader& request, const Status& status);
  void answer_error(const RequestHeader& request, WireError error, std::string_view message);
  void enqueue(const RequestHeader& request, ReplyParts parts);
  void send_soon();
  void send();
  void on_sent(int result);
  void drop_sent(std::size_t length);

  // Closes when nothing is left to do in the state draining.
  void close_if_drained();
  // Ends the connection with one log line.
  void fail(LogLevel level, std::string_view why);
  void close();

  io::Reactor& reactor_;
  image::BlockDevice& device_;
  std::shared_ptr<DirtySource> dirty_;
  net::OwnedFd socket_;
  ConnectionLimits limits_;
  Counters& counters_;
  LogFunction& log_;
  UniqueFunction<void()> on_closed_;

  State state_ = State::negotiating;
  Negotiation negotiation_;
  io::TimerId negotiation_timer_ = 0;
  std::array<std::byte, 4096> negotiation_bytes_;
  RequestDecoder decoder_;
  bool receiving_ = false;
  std::uint64_t in_flight_bytes_ = 0;

  std::deque<Outgoing> outgoing_;
  std::size_t sent_of_front_ = 0;  // bytes of outgoing_.front() that have left
  bool send_scheduled_ = false;    // a task that will call send() is posted
  bool sending_ = false;
  std::array<iovec, 256> send_iovecs_;
  msghdr send_message_{};
};

}  // namespace cairn::nbd
