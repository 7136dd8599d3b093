// Handshakes, receiving, sending and closing of TcpMessenger.
#include "net/tcp_messenger.hh"

#include <cerrno>
#include <cstring>
#include <utility>

#include "net/tcp_connection.hh"

namespace cairn::net {

namespace {

// Room for some 60 frames of 4 KiB in one recv; pages that no recv fills are never made resident.
constexpr std::size_t kReceiveBufferBytes = std::size_t{256} << 10;
// From this much missing payload on, a recv of its own is cheaper than copying.
constexpr std::size_t kDirectReceiveBytes = std::size_t{16} << 10;
// Of the next recv after a big payload, which another one probably follows: enough for its header
// and meta, so that nearly all of it goes to its place without being copied.
constexpr std::size_t kHeaderReceiveBytes = std::size_t{1} << 10;

}  // namespace

TcpMessenger::TcpMessenger(io::Reactor& reactor, MessengerHandler& handler, TcpConfig config)
    : reactor_(reactor),
      handler_(handler),
      config_(std::move(config)),
      life_(std::make_shared<Life>(Life{this})) {}

TcpMessenger::~TcpMessenger() {
  life_->messenger = nullptr;
  for (const ListenerPtr& listener : listeners_) {
    listener->owner = nullptr;
    reactor_.cancel_fd(listener->fd.get());
    ::shutdown(listener->fd.get(), SHUT_RDWR);  // frees the port at once
  }
  for (const auto& [id, connection] : connections_) {
    connection->owner = nullptr;
    connection->state = Connection::State::closed;
    reactor_.cancel(connection->handshake_timer);
    if (connection->fd.get() < 0) continue;
    reactor_.cancel_fd(connection->fd.get());
    ::shutdown(connection->fd.get(), SHUT_RDWR);
  }
}

// ---- receiving

void TcpMessenger::start_receive(const ConnectionPtr& connection) {
  MutableByteSpan target = connection->decoder.next_target();
  const bool direct = target.size() >= kDirectReceiveBytes;
  if (!direct) {
    if (connection->receive_buffer == nullptr)
      connection->receive_buffer = std::make_unique_for_overwrite<std::byte[]>(kReceiveBufferBytes);
    const bool only_header = std::exchange(connection->expects_big_payload, false);
    target = {connection->receive_buffer.get(),
              only_header ? kHeaderReceiveBytes : kReceiveBufferBytes};
  }
  reactor_.recv(connection->fd.get(), target, [connection, direct](int result) {
    if (!connection->closed()) connection->owner->received(connection, result, direct);
  });
}

void TcpMessenger::received(const ConnectionPtr& connection, int result, bool direct) {
  if (result == -EAGAIN || result == -EINTR) return start_receive(connection);
  if (result <= 0) {
    close_connection(connection, disconnected(result == 0 ? "the peer closed the connection"
                                                          : std::strerror(-result)));
    return;
  }
  const auto length = static_cast<std::size_t>(result);
  counters_.bytes_received += length;
  Status status;
  if (direct) {
    Result<std::optional<Frame>> frame = connection->decoder.filled(length);
    if (!frame)
      status = frame.status();
    else if (frame->has_value()) {
      connection->expects_big_payload = true;
      status = deliver(connection, std::move(**frame));
    }
  } else {
    status = parse(connection, length);
  }
  if (!status) return close_connection(connection, std::move(status));
  if (!connection->closed()) start_receive(connection);
}

// Delivers the frames in the first length bytes of the receive buffer.
Status TcpMessenger::parse(const ConnectionPtr& connection, std::size_t length) {
  ByteSpan bytes(connection->receive_buffer.get(), length);
  while (!bytes.empty() && !connection->closed()) {
    std::size_t consumed = 0;
    Result<std::optional<Frame>> frame = connection->decoder.feed(bytes, consumed);
    if (!frame) return frame.status();
    bytes = bytes.subspan(consumed);
    if (frame->has_value()) CAIRN_RETURN_IF_ERROR(deliver(connection, std::move(**frame)));
  }
  return Status::ok();
}

Status TcpMessenger::deliver(const ConnectionPtr& connection, Frame frame) {
  const bool is_hello = frame.type == FrameType::hello;
  switch (connection->state) {
    case Connection::State::open:
      if (is_hello) return {ErrorCode::protocol_error, "a hello after the handshake"};
      ++counters_.frames_received;
      frames_delivered_ = true;
      schedule_end_of_wakeup();
      handler_.on_frame(connection->id, std::move(frame));
      return Status::ok();
    case Connection::State::handshaking:
      if (!is_hello) return {ErrorCode::protocol_error, "a frame before the hello"};
      ++counters_.frames_received;
      return handshake(connection, frame);
    case Connection::State::connecting:
    case Connection::State::refusing:
    case Connection::State::closed:
      break;
  }
  return Status::ok();
}

// ---- handshake

Hello TcpMessenger::our_hello(const Connection& connection) const {
  Hello hello;
  hello.cluster = config_.cluster;
  hello.self = config_.self;
  hello.required_features = config_.required_features;
  hello.supported_features = config_.supported_features;
  hello.expected = connection.expected;
  return hello;
}

void TcpMessenger::send_hello(const ConnectionPtr& connection, ErrorCode refusal) {
  Hello hello = our_hello(*connection);
  hello.refusal = refusal;
  queue_frame(connection,
              {.type = FrameType::hello, .meta = encode_hello(hello), .data = Buffer()});
}

// The peer's hello has arrived: the dialer's, or the acceptor's answer.
Status TcpMessenger::handshake(const ConnectionPtr& connection, const Frame& frame) {
  Result<Hello> theirs = decode_hello(frame.meta);
  if (!theirs) return theirs.status();
  Status status = check_hello(our_hello(*connection), *theirs);
  if (status && !connection->dialed) status = handler_.admit(theirs->self);
  if (status) {
    if (!connection->dialed) send_hello(connection, ErrorCode::ok);
    open(connection, theirs->self);
  } else if (connection->dialed) {
    return status;
  } else {
    refuse(connection, status);
  }
  return Status::ok();
}

// Answers with the reason, and closes once that is sent.
void TcpMessenger::refuse(const ConnectionPtr& connection, const Status& reason) {
  ++counters_.handshake_refusals;
  ++counters_.refused_connections[reason.code()];
  log(LogLevel::warn,
      "refused the connection from " + connection->text() + ": " + reason.to_string());
  connection->state = Connection::State::refusing;
  send_hello(connection, reason.code());
}

void TcpMessenger::open(const ConnectionPtr& connection, const Entity& peer) {
  reactor_.cancel(std::exchange(connection->handshake_timer, 0));
  connection->decoder.set_limits({});
  connection->state = Connection::State::open;
  connection->peer = peer;
  for (Frame& frame : std::exchange(connection->early_frames, {}))
    queue_frame(connection, std::move(frame));
  connection->early_bytes = 0;
  if (connection->dialed) {
    handler_.on_connected(connection->id, peer);
  } else {
    --handshaking_;
    handler_.on_accepted(connection->id, peer);
  }
}

// ---- sending

void TcpMessenger::send(ConnectionId id, Frame frame) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  const ConnectionPtr connection = found->second;
  if (queued_bytes(id) + frame_bytes(frame) > config_.max_unsent_bytes) {
    close_connection(connection, {ErrorCode::too_large, "the peer does not take what it is sent: " +
                                                            std::to_string(queued_bytes(id)) +
                                                            " bytes are waiting"});
    return;
  }
  if (connection->state == Connection::State::open) {
    queue_frame(connection, std::move(frame));
  } else {
    connection->early_bytes += frame_bytes(frame);
    connection->early_frames.push_back(std::move(frame));
  }
}

std::uint64_t TcpMessenger::queued_bytes(ConnectionId id) const {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return 0;
  return found->second->queue.unsent_bytes() + found->second->early_bytes;
}

void TcpMessenger::queue_frame(const ConnectionPtr& connection, Frame frame) {
  ++counters_.frames_sent;
  connection->queue.push(std::move(frame));
  // A sendmsg in flight takes the queue with it when it completes.
  if (connection->sending || connection->to_be_flushed) return;
  connection->to_be_flushed = true;
  to_flush_.push_back(connection);
  schedule_end_of_wakeup();
}

// What the socket's buffer takes goes at once: nearly all does, and a completion from the ring
// would cost the loop a turn of its own. The ring waits for room.
void TcpMessenger::start_send(const ConnectionPtr& connection) {
  while (const msghdr* message = connection->queue.next_message()) {
    const int result = send_now(connection->fd.get(), *message);
    if (result != -EAGAIN) {
      if (!sent(connection, result)) return;
      continue;
    }
    connection->sending = true;
    reactor_.sendmsg(connection->fd.get(), message, [connection](int later) {
      connection->sending = false;
      if (connection->closed()) return;
      if (connection->owner->sent(connection, later)) connection->owner->start_send(connection);
    });
    return;
  }
  if (connection->state == Connection::State::refusing)
    close_connection(connection, disconnected("refused"));
}

// False: the connection has been closed.
bool TcpMessenger::sent(const ConnectionPtr& connection, int result) {
  if (result < 0 && result != -EAGAIN && result != -EINTR) {
    close_connection(connection, disconnected(std::strerror(-result)));
    return false;
  }
  if (result > 0) {
    counters_.bytes_sent += static_cast<std::uint64_t>(result);
    connection->queue.sent(static_cast<std::size_t>(result));
  }
  return true;
}

void TcpMessenger::schedule_end_of_wakeup() {
  if (end_of_wakeup_posted_) return;
  end_of_wakeup_posted_ = true;
  reactor_.post([life = life_] {
    if (life->messenger != nullptr) life->messenger->end_of_wakeup();
  });
}

// Runs after the callbacks of this wake-up: what they queued, and what the handler submits now,
// leaves together.
void TcpMessenger::end_of_wakeup() {
  if (std::exchange(frames_delivered_, false)) handler_.on_batch_end();
  end_of_wakeup_posted_ = false;
  flushing_.swap(to_flush_);
  for (const ConnectionPtr& connection : flushing_) {
    connection->to_be_flushed = false;
    if (!connection->closed() && !connection->sending) start_send(connection);
  }
  flushing_.clear();
}

// ---- closing

void TcpMessenger::close(ConnectionId id, Status reason) {
  const auto found = connections_.find(id);
  if (found != connections_.end())
    close_connection(ConnectionPtr(found->second), std::move(reason));
}

void TcpMessenger::close_connection(const ConnectionPtr& connection, Status reason) {
  if (connection->closed()) return;
  const bool announced = connection->dialed || connection->state == Connection::State::open;
  if (!announced) --handshaking_;
  count_and_log_close(*connection, reason);
  connection->state = Connection::State::closed;
  connections_.erase(connection->id);
  --counters_.connections;
  if (connection->local) --counters_.local_connections;
  reactor_.cancel(std::exchange(connection->handshake_timer, 0));
  if (connection->fd.get() >= 0) {
    reactor_.cancel_fd(connection->fd.get());
    ::shutdown(connection->fd.get(), SHUT_RDWR);
  }
  if (!announced) return;
  reactor_.post([life = life_, id = connection->id, reason = std::move(reason)] {
    if (life->messenger != nullptr) life->messenger->handler_.on_closed(id, reason);
  });
}

void TcpMessenger::count_and_log_close(const Connection& connection, const Status& reason) {
  if (connection.dialed && connection.state == Connection::State::handshaking &&
      reason.code() != ErrorCode::disconnected)
    ++counters_.handshake_refusals;
  const bool is_stranger = !connection.dialed && connection.state == Connection::State::handshaking;
  if (is_fault_of_peer(reason.code(), connection.state == Connection::State::open) ||
      (is_stranger && reason.code() == ErrorCode::timed_out))
    ++counters_.refused_connections[reason.code()];
  if (reason.code() != ErrorCode::protocol_error) return;
  ++counters_.protocol_errors;
  log(LogLevel::warn,
      "closed the connection with " + connection.text() + ": " + reason.to_string());
}

void TcpMessenger::log(LogLevel level, const std::string& text) {
  if (config_.log) config_.log(level, text);
}

}  // namespace cairn::net
