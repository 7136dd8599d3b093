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
  void post(io::Task task) override { executor_.run_after(delay_ns(posted_), std::move(task)); }
  void to_js(JsTask task) override {
    executor_.run_after(delay_ns(returned_), [this, task = std::move(task)]() mutable {
      js_tasks_.push_back(std::move(task));
    });
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
  // Due later than all before it.
  std::uint64_t delay_ns(std::uint64_t& last_due_ns) {
    const std::uint64_t now = executor_.now_ns();
    last_due_ns = std::max(last_due_ns + 1, now + random_.below(kMaxHopNs));
    return last_due_ns - now;
  }

  io::ProcessExecutor executor_;
  std::deque<JsTask>& js_tasks_;
  io::Random random_;
  std::uint64_t posted_ = 0, returned_ = 0;
  bool ended_ = false;
};

}  // namespace cairn::binding
