// SimHost: one simulated process as the host of an addon object. Everything runs on the JavaScript
// thread, when SimWorld.runUntil() says so; calls from JavaScript and tasks for it take a while, as
// they do between two threads, and stay in their order.
#pragma once

#include <deque>

#include "core_host.hh"
#include "io/process_executor.hh"
#include "io/random.hh"
#include "io/sim_executor.hh"

namespace cairn::binding {

class SimHost final : public CoreHost {
 public:
  // js_tasks: where tasks for JavaScript go once they are due; it outlives the host.
  SimHost(io::Executor& world, int drift_ppm, std::deque<JsTask>& js_tasks, io::Random random)
      : executor_(world, drift_ppm), js_tasks_(js_tasks), random_(random) {}

  io::ProcessExecutor& executor() { return executor_; }
  void post(io::Task task) override {
    posted_.push_back(std::move(task));
    executor_.run_after(delay_ns(), [this] { take_first(posted_)(); });
  }
  void to_js(JsTask task) override {
    returned_.push_back(std::move(task));
    executor_.run_after(delay_ns(), [this] { js_tasks_.push_back(take_first(returned_)); });
  }
  void stop_and_join() override { ended_ = true; }
  // The process is over: by stop_and_join(), or killed.
  bool has_ended() const { return ended_; }
  void kill() {
    ended_ = true;
    executor_.end();
  }

 private:
  static constexpr std::uint64_t kMaxHopNs = 100'000;
  std::uint64_t delay_ns() { return random_.below(kMaxHopNs); }
  // Whichever timer runs out first takes what was handed over first.
  template <typename Handed>
  static Handed take_first(std::deque<Handed>& queue) {
    Handed first = std::move(queue.front());
    queue.pop_front();
    return first;
  }

  io::ProcessExecutor executor_;
  std::deque<JsTask>& js_tasks_;
  io::Random random_;
  std::deque<io::Task> posted_;
  std::deque<JsTask> returned_;
  bool ended_ = false;
};

}  // namespace cairn::binding
