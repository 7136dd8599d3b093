// Stopping and ending of a simulated process: see process_executor.hh.
#include "io/process_executor.hh"

#include <cmath>
#include <utility>

namespace cairn::io {

Task ProcessExecutor::token(TimerId id) {
  return [life = std::weak_ptr<ProcessExecutor*>(life_), id] {
    if (const auto alive = life.lock()) (*alive)->fall_due(id);
  };
}

void ProcessExecutor::post(Task task) {
  if (ended_) return;
  posted_.push_back(std::move(task));
  inner_.post(token(kPosted));
}

TimerId ProcessExecutor::run_after(std::uint64_t delay_ns, Task task) {
  if (ended_) return 0;
  const TimerId id = next_id_++;
  // Not before its own clock shows it.
  const std::uint64_t inner_ns =
      rate_ == 1 ? delay_ns
                 : static_cast<std::uint64_t>(std::ceil(static_cast<double>(delay_ns) / rate_)) + 1;
  entries_[id] = {std::move(task), inner_.run_after(inner_ns, token(id))};
  return id;
}

void ProcessExecutor::cancel(TimerId id) {
  const auto node = entries_.extract(id);
  if (node) inner_.cancel(node.mapped().inner);
}

void ProcessExecutor::fall_due(TimerId id) {
  if (stopped_) return held_.push_back(id);
  if (id == kPosted) {
    Task task = std::move(posted_.front());
    posted_.pop_front();
    return task();
  }
  auto node = entries_.extract(id);
  if (node) node.mapped().task();
}

void ProcessExecutor::resume() {
  stopped_ = false;
  for (const TimerId id : std::exchange(held_, {})) inner_.post(token(id));
}

void ProcessExecutor::end() {
  if (std::exchange(ended_, true)) return;
  life_.reset();
  held_.clear();
  // One at a time: what a task owns may cancel others.
  while (!posted_.empty()) {
    const Task dropped = std::move(posted_.front());
    posted_.pop_front();
  }
  while (!entries_.empty()) {
    const auto dropped = entries_.extract(entries_.begin());
    inner_.cancel(dropped.mapped().inner);
  }
}

}  // namespace cairn::io
