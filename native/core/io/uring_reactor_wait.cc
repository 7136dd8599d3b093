// How UringReactor waits: it spins for pollers, offers its processor under load, or sleeps.
#include <sched.h>

#include <algorithm>

#include "io/uring_reactor.hh"

namespace cairn::io {

namespace {
// A spinning reactor keeps its processor for this long, then offers it to others at every turn.
constexpr std::uint64_t kPauseNs = 1'000;
}  // namespace

// One turn of waiting for a poller without sleeping; false when none wants that any more.
bool UringReactor::spin(std::uint64_t now) {
  const std::uint64_t waited_ns = now - poller_found_ns_;
  if (std::none_of(pollers_.begin(), pollers_.end(),
                   [&](const auto& poller) { return waited_ns < poller->spin_ns; }))
    return false;
  // What it waits for may need this very processor: a peer that runs answers within the first
  // moment, one that does not has to be let run.
  if (waited_ns < kPauseNs) {
    __builtin_ia32_pause();
    return true;
  }
  if (!yield_backoff_.may_yield(now)) return false;
  ::sched_yield();
  yield_backoff_.yielded(now, now_ns());
  return true;
}

// What only takes in what comes (recv, a poll) need not be in the kernel meanwhile: submitted
// behind the yield it finds what has come, and nobody had to wake us. Pollers have their own way
// to wait. True: the loop comes again, there may be something.
bool UringReactor::yield_for_batch() {
  if (!pollers_.empty() || !batch_yield_.is_wanted()) return false;
  if (foreign_waiting_.load(std::memory_order_acquire)) return false;
  const std::uint64_t start = now_ns();
  if (!batch_yield_.may_yield(start)) return false;
  if (!timers_.empty() && timers_.next_due_ns() <= start) return false;
  if (is_awaited_) {
    submit();
    if (kernel_has_news() || io_uring_cq_ready(&ring_) != 0) return true;
  }
  ::sched_yield();
  batch_yield_.yielded(start, now_ns());
  ++yield_count_;
  return true;
}

UringReactor::Wait UringReactor::choose_wait() {
  if (!pollers_.empty()) {
    const bool found = ask_pollers(&Poller::poll);
    const std::uint64_t now = now_ns();
    if (found) {
      poller_found_ns_ = now;
      return {};
    }
    if (spin(now)) return {};
  }
  if (!posted_.empty() || round_next_ < round_.size() || !finished_.empty()) return {};
  if (yield_for_batch()) return {};
  if (!pollers_.empty() && ask_pollers(&Poller::before_sleep)) {
    poller_found_ns_ = now_ns();
    return {};
  }
  Wait wait{true, !timers_.empty(), 0};
  if (wait.bounded) {
    const std::uint64_t now = now_ns();
    const std::uint64_t due = timers_.next_due_ns();
    if (due <= now) return {};
    wait.timeout_ns = due - now;
  }
  // From here on a task or stop() from another thread comes with a wake-up.
  const std::lock_guard lock(foreign_mutex_);
  if (!foreign_.empty() || stop_requested_.load(std::memory_order_relaxed)) return {};
  sleeping_ = true;
  return wait;
}

}  // namespace cairn::io
