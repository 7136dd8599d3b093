// SimExecutor: an Executor in virtual time. Time stands still while tasks run and jumps to the next
// timer when none is left, so that hours of timeouts pass in milliseconds. The same seed and the
// same calls give the same order: a run can be repeated. One thread, no system calls.
#pragma once

#include <cstdint>
#include <deque>

#include "base/unique_function.hh"
#include "io/executor.hh"
#include "io/random.hh"
#include "io/timer_queue.hh"

namespace cairn::io {

class SimExecutor final : public Executor {
 public:
  struct Options {
    std::uint64_t seed = 1;
    // Timers with the same due time, and posted tasks against them, in an order drawn from the
    // seed. Posted tasks stay first in, first out among themselves: that is promised.
    bool shuffle = false;
    std::uint64_t start_ns = 1'000'000'000;  // now_ns() at the beginning
  };
  static constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

  SimExecutor() : SimExecutor(Options{}) {}
  explicit SimExecutor(const Options& options);
  ~SimExecutor() override;
  SimExecutor(const SimExecutor&) = delete;
  SimExecutor& operator=(const SimExecutor&) = delete;

  std::uint64_t now_ns() const override { return now_ns_; }
  void post(Task task) override;
  TimerId run_after(std::uint64_t delay_ns, Task task) override;
  void cancel(TimerId id) override;

  // Runs one task, after moving the time to it. False: there was none.
  bool step();
  // Runs tasks until none is left or so many have run; returns how many. A periodic timer never
  // lets it end without a limit.
  std::uint64_t run_until_idle(std::uint64_t max_steps = kNoLimit);
  // Runs everything due in the next duration_ns; afterwards that time has passed.
  void run_for(std::uint64_t duration_ns);
  // Runs tasks until the condition holds (asked before each task): true; or until limit_ns have
  // passed or nothing is left to do: its last value.
  bool run_until(UniqueFunction<bool()> condition, std::uint64_t limit_ns);

  bool idle() const { return posted_.empty() && timers_.empty(); }
  std::uint64_t steps() const { return steps_; }  // tasks run so far

 private:
  // The due time of the next task; there must be one.
  std::uint64_t next_due_ns() const;

  Random random_;
  const bool shuffle_;
  std::uint64_t now_ns_;
  std::uint64_t timer_rank_ = 0;
  std::uint64_t steps_ = 0;
  std::deque<Task> posted_;
  TimerQueue timers_;
};

}  // namespace cairn::io
