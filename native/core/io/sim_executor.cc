// The stepping of SimExecutor.
#include "io/sim_executor.hh"

#include <utility>

namespace cairn::io {

namespace {

std::uint64_t add_clamped(std::uint64_t a, std::uint64_t b) {
  return b > SimExecutor::kNoLimit - a ? SimExecutor::kNoLimit : a + b;
}

}  // namespace

SimExecutor::SimExecutor(const Options& options)
    : random_(options.seed), shuffle_(options.shuffle), now_ns_(options.start_ns) {}

SimExecutor::~SimExecutor() {
  // One at a time, while this is still whole: what a task owns may cancel others.
  while (!timers_.empty()) timers_.pop();
  while (!posted_.empty()) {
    const Task dropped = std::move(posted_.front());
    posted_.pop_front();
  }
}

void SimExecutor::post(Task task) { posted_.push_back(std::move(task)); }

TimerId SimExecutor::run_after(std::uint64_t delay_ns, Task task) {
  const std::uint64_t rank = shuffle_ ? random_.next() : timer_rank_++;
  return timers_.add(add_clamped(now_ns_, delay_ns), rank, std::move(task));
}

void SimExecutor::cancel(TimerId id) { timers_.cancel(id); }

std::uint64_t SimExecutor::next_due_ns() const {
  return posted_.empty() ? timers_.next_due_ns() : now_ns_;
}

bool SimExecutor::step() {
  if (idle()) return false;
  now_ns_ = next_due_ns();
  const bool timer_due = !timers_.empty() && timers_.next_due_ns() <= now_ns_;
  bool take_timer = posted_.empty();
  if (!take_timer && timer_due && shuffle_) take_timer = random_.below(2) == 0;
  Task task;
  if (take_timer) {
    task = timers_.pop();
  } else {
    task = std::move(posted_.front());
    posted_.pop_front();
  }
  ++steps_;
  task();
  return true;
}

std::uint64_t SimExecutor::run_until_idle(std::uint64_t max_steps) {
  std::uint64_t count = 0;
  while (count < max_steps && step()) ++count;
  return count;
}

void SimExecutor::run_for(std::uint64_t duration_ns) {
  const std::uint64_t end = add_clamped(now_ns_, duration_ns);
  while (!idle() && next_due_ns() <= end) step();
  now_ns_ = end;
}

bool SimExecutor::run_until(UniqueFunction<bool()> condition, std::uint64_t limit_ns) {
  const std::uint64_t end = add_clamped(now_ns_, limit_ns);
  while (!condition()) {
    if (idle()) return false;
    if (next_due_ns() > end) {
      now_ns_ = end;
      return condition();
    }
    step();
  }
  return true;
}

}  // namespace cairn::io
