// Kicks, polling and the life of the queues; see the header.
#include "virtio/block_backend.hh"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cairn::virtio {

// One running queue: its BlockQueue, and when to look at it.
class BlockBackend::Runner {
 public:
  Runner(io::Reactor& reactor, LogFunction& log, const BlockQueue::Surroundings& surroundings,
         SplitQueue ring, std::uint32_t index, const QueueSetup& setup)
      : reactor_(reactor),
        log_(log),
        index_(index),
        kick_fd_(setup.kick_fd),
        queue_(surroundings, std::move(ring), index, setup.call_fd, setup.error_fd) {
    watch_ = reactor_.watch_readable(kick_fd_, [this] { on_kick(); });
    add_poller();
    // The driver may have made chains available before there was a device.
    if (queue_.enable_notifications()) queue_.process();
    quiet_since_ns_ = reactor_.now_ns();
  }
  ~Runner() { quiesce(); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  BlockQueue& queue() { return queue_; }

  // No kick and no poll from here on.
  void quiesce() {
    if (watch_ != 0) reactor_.unwatch(std::exchange(watch_, 0));
    if (poller_ != 0) reactor_.remove_poller(std::exchange(poller_, 0));
  }

 private:
  void add_poller() {
    poller_ = reactor_.add_poller(
        window_.ns(), [this] { return poll(); }, [this] { return before_sleep(); });
  }

  // Keeps the reactor polling after completions, since the driver's answer to them is what may
  // come soon; not after requests alone, whose completions wake the reactor up.
  bool poll() {
    if (queue_.has_work()) {
      if (std::exchange(armed_, false)) queue_.disable_notifications();
      queue_.process();
    }
    const bool active = queue_.take_activity();
    quiet_ = quiet_ && !active;
    return active;
  }

  bool before_sleep() {
    // The window has passed since the last completion, so that is when it went quiet.
    if (!std::exchange(quiet_, true)) quiet_since_ns_ = reactor_.now_ns() - window_.ns();
    // Paused by back-pressure, a completion goes on; broken, nothing does.
    if (!queue_.can_pop()) return false;
    // Every time anew: what was asked for before may have been at an index that is behind by now.
    armed_ = !queue_.enable_notifications();
    if (armed_) return false;
    queue_.process();
    return true;
  }

  void on_kick() {
    if (!drain_kicks()) return;
    const std::uint64_t now = reactor_.now_ns();
    const bool expected = std::exchange(armed_, false);
    queue_.disable_notifications();
    if (expected && window_.on_kick(now - quiet_since_ns_)) {
      reactor_.remove_poller(poller_);
      add_poller();
    }
    queue_.process();
  }

  // Level-triggered: the counter goes back to zero. A descriptor that stays readable without
  // giving bytes would make the reactor spin, so it is given up.
  bool drain_kicks() {
    std::uint64_t count;
    const ssize_t got = ::read(kick_fd_, &count, sizeof count);
    if (got > 0) return true;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    reactor_.unwatch(std::exchange(watch_, 0));
    log_(LogLevel::warn, "virtio-blk: queue " + std::to_string(index_) +
                             " has a kick descriptor that is no eventfd; it is ignored");
    return false;
  }

  io::Reactor& reactor_;
  LogFunction& log_;
  std::uint32_t index_;
  int kick_fd_;
  BlockQueue queue_;
  SpinWindow window_;
  io::WatchId watch_ = 0;
  io::WatchId poller_ = 0;
  bool armed_ = false;  // the driver has been asked for a kick
  bool quiet_ = false;  // nothing completed since quiet_since_ns_
  std::uint64_t quiet_since_ns_ = 0;
};

BlockBackend::BlockBackend(image::BlockDevice& device, io::Reactor& reactor, Options options,
                           LogFunction log)
    : device_(device), reactor_(reactor), options_(std::move(options)), log_(std::move(log)) {
  CAIRN_ASSERT(options_.queue_count >= 1 && options_.queue_count <= kMaxQueues);
  runners_.resize(options_.queue_count);
}

BlockBackend::~BlockBackend() {
  for (const auto& runner : runners_) CAIRN_ASSERT(runner == nullptr);
}

BlockGeometry BlockBackend::geometry() const {
  return {device_.size_bytes(), static_cast<std::uint16_t>(options_.queue_count),
          device_.read_only()};
}

std::uint64_t BlockBackend::features() const { return block_features(geometry()); }

void BlockBackend::read_config(std::size_t offset, MutableByteSpan into) const {
  const BlockConfig config = block_config(geometry());
  std::fill(into.begin(), into.end(), std::byte{0});
  if (offset >= config.size()) return;
  const std::size_t length = std::min(into.size(), config.size() - offset);
  std::copy_n(config.begin() + static_cast<std::ptrdiff_t>(offset), length, into.begin());
}

Status BlockBackend::write_config(std::size_t, ByteSpan) {
  // The one writable field is writeback, which belongs to CONFIG_WCE: not offered, since every
  // completed write is durable.
  return {ErrorCode::unsupported_feature, "no field of this configuration space is writable"};
}

Status BlockBackend::start_queue(std::uint32_t index, const QueueSetup& setup) {
  CAIRN_ASSERT(index < runners_.size() && runners_[index] == nullptr);
  auto ring = SplitQueue::make(setup.memory, setup.size, setup.addresses, setup.next_available,
                               setup.features);
  if (!ring) return ring.status();
  const BlockQueue::Surroundings surroundings{&device_, &reactor_, &options_.serial, &log_};
  runners_[index] =
      std::make_unique<Runner>(reactor_, log_, surroundings, std::move(*ring), index, setup);
  device_.begin_use();
  return Status::ok();
}

void BlockBackend::set_call(std::uint32_t index, int call_fd) {
  CAIRN_ASSERT(index < runners_.size() && runners_[index] != nullptr);
  runners_[index]->queue().set_call(call_fd);
}

void BlockBackend::stop_queue(std::uint32_t index, StopDone done) {
  CAIRN_ASSERT(index < runners_.size() && runners_[index] != nullptr);
  Runner& runner = *runners_[index];
  runner.quiesce();
  runner.queue().stop([this, index, done = std::move(done)](std::uint16_t next) mutable {
    runners_[index].reset();
    // The driver hears that the ring has stopped (GET_VRING_BASE) when nothing is held for it here.
    device_.end_use([next, done = std::move(done)]() mutable { done(next); });
  });
}

}  // namespace cairn::virtio
