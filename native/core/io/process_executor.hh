// ProcessExecutor: the executor of one simulated process, over the executor of its whole world. It
// can be stopped as by SIGSTOP (what falls due waits, time goes on) and ended as by SIGKILL (what
// it was to do never happens), which the world's executor can do to no part of itself. Its clock
// may go faster or slower than that of the world, by parts in a million.
//
// Invariants: tasks that fall due while it is stopped run after resume(), in the order in which
// they fell due; posted tasks stay first in, first out; after end() nothing runs and nothing is
// kept.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "io/executor.hh"

namespace cairn::io {

class ProcessExecutor final : public Executor {
 public:
  // inner outlives it.
  explicit ProcessExecutor(Executor& inner, int drift_ppm = 0)
      : inner_(inner), rate_(1 + drift_ppm / 1e6) {}
  ~ProcessExecutor() override { end(); }
  ProcessExecutor(const ProcessExecutor&) = delete;
  ProcessExecutor& operator=(const ProcessExecutor&) = delete;

  std::uint64_t now_ns() const override {
    return rate_ == 1 ? inner_.now_ns()
                      : static_cast<std::uint64_t>(static_cast<double>(inner_.now_ns()) * rate_);
  }
  void post(Task task) override;
  TimerId run_after(std::uint64_t delay_ns, Task task) override;
  void cancel(TimerId id) override;

  void stop() { stopped_ = true; }
  void resume();
  // For good. Not inside one of its own tasks.
  void end();
  bool is_stopped() const { return stopped_; }

 private:
  struct Entry {
    Task task;
    TimerId inner = 0;
  };
  // kPosted: the posted task whose turn it is.
  static constexpr TimerId kPosted = 0;
  Task token(TimerId id);
  void fall_due(TimerId id);

  Executor& inner_;
  const double rate_;
  bool stopped_ = false;
  bool ended_ = false;
  TimerId next_id_ = 1;
  std::map<TimerId, Entry> entries_;
  std::deque<Task> posted_;
  std::vector<TimerId> held_;  // fell due while stopped
  // What was handed to the inner executor sees by it that this is gone.
  std::shared_ptr<ProcessExecutor*> life_ = std::make_shared<ProcessExecutor*>(this);
};

}  // namespace cairn::io
