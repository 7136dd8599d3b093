// The order of stopping, applying and starting; see the header.
#include "vhost_user/connection.hh"

#include <utility>

namespace cairn::vhost_user {

Server::Connection::Connection(io::Reactor& reactor, virtio::Device& device, FileDescriptor socket,
                               LogFunction& log, UniqueFunction<void()> over)
    : reactor_(reactor),
      device_(device),
      log_(log),
      over_(std::move(over)),
      socket_(std::move(socket)),
      session_(device) {
  watch();
}

Server::Connection::~Connection() { CAIRN_ASSERT(watch_ == 0 && session_.running_rings().empty()); }

void Server::Connection::watch() {
  watch_ = reactor_.watch_readable(socket_.fd(), [this] { on_readable(); });
}

void Server::Connection::on_readable() {
  for (int i = 0; i < kMessagesPerTurn && !closing_ && !pending_; ++i) {
    auto received = socket_.receive();
    if (!received) {
      end(received.status());
      return;
    }
    if (!received->has_value()) return;
    handle(std::move(**received));
  }
}

void Server::Connection::handle(Message message) {
  const std::vector<std::uint32_t> rings = session_.rings_to_stop(message);
  pending_ = std::move(message);
  if (rings.empty()) {
    finish_message();
    return;
  }
  reactor_.unwatch(std::exchange(watch_, 0));  // nothing is read until the rings have drained
  stop_rings(rings);
}

void Server::Connection::stop_rings(const std::vector<std::uint32_t>& rings) {
  rings_stopping_ += static_cast<std::uint32_t>(rings.size());
  for (const std::uint32_t index : rings)
    device_.stop_queue(index, [this, index](std::uint16_t next) { on_ring_stopped(index, next); });
}

void Server::Connection::on_ring_stopped(std::uint32_t index, std::uint16_t next_available) {
  session_.ring_stopped(index, next_available);
  if (--rings_stopping_ > 0) return;
  if (closing_) {
    // Rings that were not being stopped when close() came in between.
    const std::vector<std::uint32_t> rest = session_.running_rings();
    if (rest.empty())
      report_over();
    else
      stop_rings(rest);
    return;
  }
  finish_message();
}

void Server::Connection::finish_message() {
  Session::Outcome outcome = session_.apply(std::move(*std::exchange(pending_, std::nullopt)));
  if (outcome.backend_channel) backend_channel_.emplace(std::move(outcome.backend_channel));
  if (outcome.new_call) device_.set_call(outcome.new_call->index, outcome.new_call->fd);
  Status status = std::move(outcome.failure);
  if (status && outcome.reply) status = socket_.send(*outcome.reply);
  if (!status) {
    end(status);
    return;
  }
  start_rings();
  if (watch_ == 0) watch();
}

void Server::Connection::start_rings() {
  for (const Session::Start& start : session_.rings_to_start()) {
    const Status status = device_.start_queue(start.index, start.setup);
    if (status) {
      session_.ring_started(start.index);
      continue;
    }
    session_.ring_refused(start.index);
    log_(LogLevel::warn,
         "vhost-user: ring " + std::to_string(start.index) + " cannot start: " + status.message());
  }
}

void Server::Connection::config_changed() {
  if (closing_ || !backend_channel_) return;
  // No acknowledgement is asked for, so nothing comes back.
  const Status sent = backend_channel_->send(vhost_user::config_changed());
  if (sent) return;
  backend_channel_.reset();
  log_(LogLevel::warn,
       "vhost-user: the front end is not told of changes any more: " + sent.message());
}

void Server::Connection::end(const Status& why) {
  if (why.code() == ErrorCode::disconnected)
    log_(LogLevel::info, "vhost-user: the front end disconnected");
  else
    log_(LogLevel::warn, "vhost-user: connection closed: " + why.message());
  close();
}

void Server::Connection::close() {
  if (std::exchange(closing_, true)) return;
  pending_.reset();
  if (watch_ != 0) reactor_.unwatch(std::exchange(watch_, 0));
  if (rings_stopping_ > 0) return;  // on_ring_stopped() goes on
  const std::vector<std::uint32_t> rings = session_.running_rings();
  if (rings.empty())
    report_over();
  else
    stop_rings(rings);
}

void Server::Connection::report_over() {
  reactor_.post([this] {
    UniqueFunction<void()> over = std::move(over_);
    over();
  });
}

}  // namespace cairn::vhost_user
