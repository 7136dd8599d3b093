// Receiving, executing and answering for connection.hh.
#include "nbd/connection.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::nbd {

namespace {

// TRIM and WRITE_ZEROES may name 4 GiB; the device gets them in steps, one after the other, that
// end at multiples of this: 16 objects of 4 MiB at a time.
constexpr std::uint64_t kRangeStepBytes = std::uint64_t{64} << 20;

}  // namespace

Connection::Connection(io::Reactor& reactor, image::BlockDevice& device, net::OwnedFd socket,
                       ExportInfo info, std::shared_ptr<DirtySource> dirty, ConnectionLimits limits,
                       Counters& counters, LogFunction& log, UniqueFunction<void()> on_closed)
    : reactor_(reactor),
      device_(device),
      dirty_(std::move(dirty)),
      socket_(std::move(socket)),
      limits_(limits),
      counters_(counters),
      log_(log),
      on_closed_(std::move(on_closed)),
      negotiation_(std::move(info)) {
  CAIRN_ASSERT(limits_.max_in_flight_bytes >= kMaxRequestMemoryBytes);
}

void Connection::start() {
  negotiation_timer_ =
      reactor_.run_after(limits_.negotiation_timeout_ns, [weak = weak_from_this()] {
        if (auto self = weak.lock(); self && self->state_ == State::negotiating)
          self->fail(LogLevel::warn, "the client did not finish its negotiation in time");
      });
  negotiate({});
}

void Connection::drain() {
  if (state_ == State::closed) return;
  state_ = State::draining;
  close_if_drained();
}

void Connection::abandon() {
  on_closed_ = nullptr;
  close();
}

void Connection::receive() {
  if (receiving_ || (state_ != State::negotiating && state_ != State::serving)) return;
  if (decoder_.waits_for_memory()) return;
  receiving_ = true;
  const MutableByteSpan target =
      state_ == State::negotiating ? MutableByteSpan(negotiation_bytes_) : decoder_.next_target();
  CAIRN_ASSERT(!target.empty());
  reactor_.recv(socket_.get(), target,
                [self = shared_from_this()](int result) { self->on_received(result); });
}

void Connection::on_received(int result) {
  receiving_ = false;
  if (state_ == State::closed) return;
  if (state_ == State::draining) return close_if_drained();
  if (result == 0) return on_end_of_stream();
  if (result < 0) return fail(LogLevel::info, std::string("receive: ") + std::strerror(-result));
  const auto length = static_cast<std::size_t>(result);
  if (state_ == State::negotiating) return negotiate(ByteSpan(negotiation_bytes_).first(length));
  decoder_.filled(length);
  pump();
}

void Connection::on_end_of_stream() {
  if (state_ == State::negotiating) return close();
  if (decoder_.in_request()) {
    ++counters_.protocol_errors;
    return fail(LogLevel::warn, "the client left inside a request");
  }
  drain();
}

void Connection::negotiate(ByteSpan bytes) {
  const std::size_t consumed = negotiation_.feed(bytes);
  if (std::vector<std::byte> output = negotiation_.take_output(); !output.empty()) {
    Outgoing outgoing;
    outgoing.part.payload = Buffer::copy_of(output);
    outgoing_.push_back(std::move(outgoing));
    send_soon();
  }
  switch (negotiation_.outcome()) {
    case Negotiation::Outcome::pending:
      return receive();
    case Negotiation::Outcome::closed:
      return drain();
    case Negotiation::Outcome::failed:
      ++counters_.protocol_errors;
      return fail(LogLevel::warn, negotiation_.failure().message());
    case Negotiation::Outcome::transmission:
      break;
  }
  reactor_.cancel(std::exchange(negotiation_timer_, 0));
  state_ = State::serving;
  // A client may send its first requests with its last option.
  static_assert(sizeof negotiation_bytes_ <= RequestDecoder::kStagingBytes);
  const ByteSpan rest = bytes.subspan(consumed);
  if (!rest.empty()) std::memcpy(decoder_.next_target().data(), rest.data(), rest.size());
  decoder_.filled(rest.size());
  pump();
}

// Starts every request that is complete and fits into memory, then receives more.
void Connection::pump() {
  while (state_ == State::serving) {
    Result<std::optional<Request>> next =
        decoder_.next(limits_.max_in_flight_bytes - in_flight_bytes_);
    if (!next) {
      ++counters_.protocol_errors;
      return fail(LogLevel::warn, next.status().message());
    }
    if (!next->has_value()) return receive();
    execute(std::move(**next));
  }
}

void Connection::execute(Request request) {
  const RequestHeader& header = request.header;
  const auto command = static_cast<Command>(header.command);
  if (command == Command::disconnect) return drain();
  in_flight_bytes_ += request_memory_bytes(header);
  const WireError error = check_request(header, negotiation_.info(), negotiation_.negotiated());
  if (error != WireError::none)
    return answer_error(header, error, "the request does not fit the export");
  ++(command == Command::read    ? counters_.read_requests
     : command == Command::write ? counters_.write_requests
                                 : counters_.other_requests);
  switch (command) {
    case Command::read:
      return execute_read(header);
    case Command::write:
      return execute_write(header, std::move(request.payload));
    case Command::flush:
      return execute_flush(header);
    case Command::trim:
    case Command::write_zeroes:
      return execute_range(header, header.offset);
    case Command::block_status:
      return execute_block_status(header);
    case Command::disconnect:
      break;
  }
}

void Connection::execute_read(const RequestHeader& request) {
  if (request.length_bytes == 0) return answer(request, Status::ok());
  device_.read(request.offset, request.length_bytes,
               [self = shared_from_this(), request](Status status, Buffer data) {
                 if (self->state_ == State::closed) return;
                 if (!status) return self->answer(request, status);
                 CAIRN_ASSERT(data.size() == request.length_bytes);
                 self->counters_.read_bytes += data.size();
                 ReplyParts parts;
                 append_read(parts, request, self->negotiation_.negotiated().structured_replies,
                             std::move(data));
                 self->enqueue(request, std::move(parts));
               });
}

void Connection::execute_write(const RequestHeader& request, Buffer payload) {
  if (payload.empty()) return answer(request, Status::ok());
  device_.write(request.offset, std::move(payload),
                [self = shared_from_this(), request](Status status) {
                  if (self->state_ == State::closed) return;
                  if (status) self->counters_.written_bytes += request.length_bytes;
                  self->answer(request, status);
                });
}

void Connection::execute_flush(const RequestHeader& request) {
  device_.flush(
      [self = shared_from_this(), request](Status status) { self->answer(request, status); });
}

void Connection::execute_block_status(const RequestHeader& request) {
  if (!negotiation_.negotiated().base_allocation) return execute_dirty_status(request, {}, 0);
  const std::uint64_t length = std::min<std::uint64_t>(request.length_bytes, kMaxStatusBytes);
  device_.extents(
      request.offset, length,
      [self = shared_from_this(), request](Status status, std::vector<image::Extent> extents) {
        if (self->state_ == State::closed) return;
        if (!status) return self->answer(request, status);
        ReplyParts parts;
        append_block_status(parts, request, extents,
                            self->negotiation_.negotiated().bitmaps.empty());
        self->execute_dirty_status(request, std::move(parts), 0);
      });
}

void Connection::execute_dirty_status(const RequestHeader& request, ReplyParts parts,
                                      std::size_t next) {
  const std::vector<std::uint32_t>& bitmaps = negotiation_.negotiated().bitmaps;
  if (next == bitmaps.size()) return enqueue(request, std::move(parts));
  const std::uint64_t length = std::min<std::uint64_t>(request.length_bytes, kMaxStatusBytes);
  const bool last = next + 1 == bitmaps.size();
  dirty_->dirty(bitmaps[next], request.offset, length,
                [self = shared_from_this(), request, parts = std::move(parts), next, length, last,
                 bitmap = bitmaps[next]](Status status, std::vector<image::Extent> dirty) mutable {
                  if (self->state_ == State::closed) return;
                  if (!status) return self->answer(request, status);
                  append_dirty_status(parts, request, bitmap, dirty, length, last);
                  self->execute_dirty_status(request, std::move(parts), next + 1);
                });
}

// The rest of a TRIM or WRITE_ZEROES, from position on. FAST_ZERO is honoured by design: zeroing a
// range never costs the device more than writing it.
void Connection::execute_range(const RequestHeader& request, std::uint64_t position) {
  const std::uint64_t end = request.offset + request.length_bytes;
  if (position == end) return answer(request, Status::ok());
  const std::uint64_t step = std::min(end - position, kRangeStepBytes - position % kRangeStepBytes);
  auto done = [self = shared_from_this(), request, next = position + step](Status status) {
    if (self->state_ == State::closed) return;
    if (!status) return self->answer(request, status);
    self->execute_range(request, next);
  };
  if (static_cast<Command>(request.command) == Command::trim) {
    device_.discard(position, step, std::move(done));
  } else {
    const bool may_unmap = (request.flags & kCommandNoHole) == 0;
    device_.write_zeroes(position, step, may_unmap, std::move(done));
  }
}

void Connection::answer(const RequestHeader& request, const Status& status) {
  answer_error(request, to_wire_error(status), status.message());
}

void Connection::answer_error(const RequestHeader& request, WireError error,
                              std::string_view message) {
  if (state_ == State::closed) return;
  if (error != WireError::none) ++counters_.failed_requests;
  ReplyParts parts;
  append_status(parts, request, negotiation_.negotiated().structured_replies, error, message);
  enqueue(request, std::move(parts));
}

void Connection::enqueue(const RequestHeader& request, ReplyParts parts) {
  CAIRN_ASSERT(!parts.empty());
  for (ReplyPart& part : parts) outgoing_.push_back({std::move(part), 0});
  outgoing_.back().releases_bytes = request_memory_bytes(request);
  send_soon();
}

// Sends after the callbacks that are due now: what completes together leaves together.
void Connection::send_soon() {
  if (send_scheduled_ || sending_) return;
  send_scheduled_ = true;
  reactor_.post([self = shared_from_this()] {
    self->send_scheduled_ = false;
    self->send();
  });
}

void Connection::send() {
  if (state_ == State::closed || sending_ || outgoing_.empty()) return;
  std::size_t count = 0;
  std::size_t skip = sent_of_front_;
  const auto add = [&](std::byte* data, std::size_t length) {
    const std::size_t skipped = std::min(skip, length);
    skip -= skipped;
    if (length != skipped) send_iovecs_[count++] = {data + skipped, length - skipped};
  };
  for (Outgoing& outgoing : outgoing_) {
    if (count + 2 > send_iovecs_.size()) break;
    add(outgoing.part.head.data(), outgoing.part.head_length);
    add(outgoing.part.payload.data(), outgoing.part.payload.size());
  }
  send_message_ = {};
  send_message_.msg_iov = send_iovecs_.data();
  send_message_.msg_iovlen = count;
  sending_ = true;
  // outgoing_ keeps the memory: only on_sent() and close() remove from it, and close() leaves it
  // alone while a send is under way.
  reactor_.sendmsg(socket_.get(), &send_message_,
                   [self = shared_from_this()](int result) { self->on_sent(result); });
}

void Connection::on_sent(int result) {
  sending_ = false;
  if (state_ == State::closed) return outgoing_.clear();
  if (result < 0) return fail(LogLevel::info, std::string("send: ") + std::strerror(-result));
  drop_sent(static_cast<std::size_t>(result));
  send();
  if (decoder_.waits_for_memory()) pump();
  close_if_drained();
}

void Connection::drop_sent(std::size_t length) {
  while (!outgoing_.empty()) {
    const Outgoing& front = outgoing_.front();
    const std::size_t rest = front.part.head_length + front.part.payload.size() - sent_of_front_;
    if (length < rest) break;
    length -= rest;
    in_flight_bytes_ -= front.releases_bytes;
    outgoing_.pop_front();
    sent_of_front_ = 0;
  }
  sent_of_front_ += length;
}

void Connection::close_if_drained() {
  if (state_ == State::draining && in_flight_bytes_ == 0 && outgoing_.empty()) close();
}

void Connection::fail(LogLevel level, std::string_view why) {
  if (log_) log_(level, "nbd: connection closed: " + std::string(why));
  close();
}

void Connection::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  reactor_.cancel(std::exchange(negotiation_timer_, 0));
  reactor_.cancel_fd(socket_.get());
  socket_ = net::OwnedFd();
  if (!sending_) outgoing_.clear();
  if (on_closed_) std::exchange(on_closed_, nullptr)();
}

}  // namespace cairn::nbd
