// Handshake and frames of SimMessenger.
#include "net/sim_messenger.hh"

#include <utility>

namespace cairn::net {

SimMessenger::SimMessenger(SimNetwork& network, MessengerHandler& handler,
                           SimMessengerConfig config)
    : network_(network),
      handler_(handler),
      config_(std::move(config)),
      life_(std::make_shared<SimMessenger*>(this)) {}

SimMessenger::~SimMessenger() {
  *life_ = nullptr;
  for (const auto& [id, connection] : connections_)
    network_.executor().cancel(connection.handshake_timer);
  network_.remove(*this);
}

Result<std::uint16_t> SimMessenger::listen(const Address& address) {
  return network_.listen(*this, address);
}

ConnectionId SimMessenger::connect(const Address& address, const Entity& expected) {
  const StreamId id = network_.dial(*this, config_.host, address);
  add_connection(id, true, expected);
  return id;
}

void SimMessenger::add_connection(StreamId id, bool dialed, std::optional<Entity> expected) {
  Connection connection;
  connection.dialed = dialed;
  connection.expected = expected;
  connection.handshake_timer =
      network_.executor().run_after(kHandshakeTimeoutNs, [life = life_, id] {
        if (*life != nullptr)
          (*life)->close(id, {ErrorCode::timed_out, "no handshake within the time limit"});
      });
  connections_.emplace(id, std::move(connection));
  ++counters_.connections;
}

void SimMessenger::send(ConnectionId id, Frame frame) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  if (queued_bytes(id) + frame_bytes(frame) > kMaxUnsentBytes)
    return close(id, {ErrorCode::too_large, "the peer does not take what it is sent"});
  if (found->second.open)
    write_frame(id, found->second, frame);
  else
    found->second.early_frames.push_back(std::move(frame));
}

std::uint64_t SimMessenger::queued_bytes(ConnectionId id) const {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return 0;
  std::uint64_t bytes = network_.undelivered_bytes(id);
  for (const Frame& frame : found->second.early_frames) bytes += frame_bytes(frame);
  return bytes;
}

void SimMessenger::close(ConnectionId id, Status reason) { drop(id, true, std::move(reason)); }

void SimMessenger::drop(StreamId id, bool abrupt, Status reason) {
  if (!connections_.contains(id)) return;
  network_.close(id, abrupt);
  forget(id, std::move(reason));
}

// The stream is closed, or about to be: the handler hears of it, when it had heard of the
// connection.
void SimMessenger::forget(StreamId id, Status reason) {
  const auto node = connections_.extract(id);
  const Connection& connection = node.mapped();
  network_.executor().cancel(connection.handshake_timer);
  --counters_.connections;
  if (reason.code() == ErrorCode::protocol_error) ++counters_.protocol_errors;
  if (is_fault_of_peer(reason.code(), connection.open))
    ++counters_.refused_connections[reason.code()];
  if (!connection.dialed && !connection.open) return;
  network_.post(config_.host, [life = life_, id, reason = std::move(reason)] {
    if (*life != nullptr) (*life)->handler_.on_closed(id, reason);
  });
}

void SimMessenger::write_frame(StreamId id, Connection& connection, const Frame& frame) {
  std::vector<std::byte> bytes(kFrameHeaderBytes);
  bytes.reserve(frame_bytes(frame));
  encode_header(frame, connection.next_sequence++, bytes.data());
  bytes.insert(bytes.end(), frame.meta.begin(), frame.meta.end());
  bytes.insert(bytes.end(), frame.data.span().begin(), frame.data.span().end());
  ++counters_.frames_sent;
  counters_.bytes_sent += bytes.size();
  network_.write(id, std::move(bytes));
}

// ---- streams

void SimMessenger::stream_accepted(StreamId id) { add_connection(id, false, std::nullopt); }

void SimMessenger::stream_connected(StreamId id) {
  Connection& connection = connections_.at(id);
  write_frame(
      id, connection,
      {.type = FrameType::hello, .meta = encode_hello(our_hello(connection)), .data = Buffer()});
}

void SimMessenger::stream_bytes(StreamId id, ByteSpan bytes) {
  counters_.bytes_received += bytes.size();
  auto found = connections_.find(id);
  while (found != connections_.end() && !bytes.empty()) {
    std::size_t consumed = 0;
    Result<std::optional<Frame>> frame = found->second.decoder.feed(bytes, consumed);
    bytes = bytes.subspan(consumed);
    Status status = frame.status();
    if (frame && frame->has_value()) status = deliver(id, found->second, std::move(**frame));
    // In order: a refusal must reach the peer before the close.
    if (!status) return drop(id, false, std::move(status));
    found = connections_.find(id);
  }
}

void SimMessenger::stream_closed(StreamId id, const Status& reason) {
  if (connections_.contains(id)) forget(id, reason);
}

void SimMessenger::stream_batch_end() {
  if (std::exchange(frames_delivered_, false)) handler_.on_batch_end();
}

Status SimMessenger::deliver(StreamId id, Connection& connection, Frame frame) {
  ++counters_.frames_received;
  const bool is_hello = frame.type == FrameType::hello;
  if (!connection.open) {
    if (!is_hello) return {ErrorCode::protocol_error, "a frame before the hello"};
    return handshake(id, connection, frame);
  }
  if (is_hello) return {ErrorCode::protocol_error, "a hello after the handshake"};
  frames_delivered_ = true;
  handler_.on_frame(id, std::move(frame));
  return Status::ok();
}

// ---- handshake

Hello SimMessenger::our_hello(const Connection& connection) const {
  Hello hello;
  hello.cluster = config_.cluster;
  hello.self = config_.self;
  hello.required_features = config_.required_features;
  hello.supported_features = config_.supported_features;
  hello.expected = connection.expected;
  return hello;
}

Status SimMessenger::handshake(StreamId id, Connection& connection, const Frame& frame) {
  Result<Hello> theirs = decode_hello(frame.meta);
  if (!theirs) return theirs.status();
  Hello ours = our_hello(connection);
  Status status = check_hello(ours, *theirs);
  if (status && !connection.dialed) status = handler_.admit(theirs->self);
  if (!connection.dialed) {
    ours.refusal = status.code();
    write_frame(id, connection,
                {.type = FrameType::hello, .meta = encode_hello(ours), .data = Buffer()});
  }
  if (!status) {
    ++counters_.handshake_refusals;
    if (!connection.dialed) ++counters_.refused_connections[status.code()];
    return status;
  }
  network_.executor().cancel(std::exchange(connection.handshake_timer, 0));
  connection.decoder.set_limits({});
  connection.open = true;
  for (const Frame& early : std::exchange(connection.early_frames, {}))
    write_frame(id, connection, early);
  if (connection.dialed)
    handler_.on_connected(id, theirs->self);
  else
    handler_.on_accepted(id, theirs->self);
  return Status::ok();
}

}  // namespace cairn::net
