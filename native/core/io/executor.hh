// Executor: one thread's clock, task queue and timers, as a port. All state of the core belongs to
// one executor: its callbacks run on its thread, one at a time, never inside the call that asked
// for them. Implementations: UringReactor (real), SimExecutor (virtual time, seeded).
#pragma once

#include <cstdint>

#include "base/unique_function.hh"

namespace cairn::io {

using Task = UniqueFunction<void()>;
using TimerId = std::uint64_t;  // 0: none

class Executor {
 public:
  virtual ~Executor() = default;
  // Nanoseconds of CLOCK_BOOTTIME (it goes on while the machine sleeps: leases need that).
  virtual std::uint64_t now_ns() const = 0;
  // Runs the task soon, after the current one; first in, first out. From this thread only.
  virtual void post(Task task) = 0;
  // Runs the task once, not before now + delay.
  virtual TimerId run_after(std::uint64_t delay_ns, Task task) = 0;
  // The task will not run; nothing happens when it ran already or the id is 0.
  virtual void cancel(TimerId id) = 0;
};

}  // namespace cairn::io
