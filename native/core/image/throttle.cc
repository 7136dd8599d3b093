// The queues of throttle.hh.
#include "image/throttle.hh"

#include <algorithm>
#include <utility>

namespace cairn::image {

void Throttle::set(const QosLimits& limits) {
  buckets_.set(limits, executor_.now_ns());
  run_ready();
}

void Throttle::admit(IoDirection direction, std::uint64_t bytes, io::Task run) {
  std::deque<Waiting>& queue = queues_[static_cast<std::size_t>(direction)];
  const std::uint64_t order = next_order_++;
  queue.push_back({order, bytes, executor_.now_ns(), false, std::move(run)});
  run_ready();
  if (queue.empty() || queue.back().order != order) return;
  queue.back().waited = true;
  ++counters_.throttled;
}

std::deque<Throttle::Waiting>* Throttle::next_ready(std::uint64_t now_ns, std::uint64_t& wait_ns) {
  std::deque<Waiting>* order[2] = {&queues_[0], &queues_[1]};
  if (order[0]->empty() ||
      (!order[1]->empty() && order[1]->front().order < order[0]->front().order))
    std::swap(order[0], order[1]);
  for (std::deque<Waiting>* queue : order) {
    if (queue->empty()) continue;
    const auto direction = queue == &queues_[0] ? IoDirection::read : IoDirection::write;
    const std::uint64_t bytes = queue->front().bytes;
    const std::uint64_t own = buckets_.wait_own_ns(direction, bytes, now_ns);
    const std::uint64_t total = buckets_.wait_total_ns(bytes, now_ns);
    if (own == 0 && total == 0) return queue;
    wait_ns = std::min(wait_ns, std::max(own, total));
    if (own == 0) return nullptr;  // the one that came later takes no token that this one waits for
  }
  return nullptr;
}

void Throttle::run_ready() {
  if (std::exchange(running_, true)) return;
  executor_.cancel(std::exchange(timer_, 0));
  constexpr std::uint64_t kNever = ~std::uint64_t{0};
  std::uint64_t wait_ns = kNever;
  while (waiting() > 0) {
    const std::uint64_t now_ns = executor_.now_ns();
    wait_ns = kNever;
    std::deque<Waiting>* const queue = next_ready(now_ns, wait_ns);
    if (queue == nullptr) break;
    Waiting next = std::move(queue->front());
    queue->pop_front();
    const auto direction = queue == &queues_[0] ? IoDirection::read : IoDirection::write;
    buckets_.take(direction, next.bytes, now_ns);
    if (next.waited) counters_.throttled_ns += now_ns - next.since_ns;
    next.run();
  }
  running_ = false;
  if (waiting() > 0) {
    timer_ = executor_.run_after(wait_ns, [this] {
      timer_ = 0;
      run_ready();
    });
  }
}

}  // namespace cairn::image
