// ScopedExecutor: an executor whose tasks die with it. An object that posts tasks or sets timers
// with itself captured has one as a member, and needs no cancelling in its destructor.
#pragma once

#include <memory>
#include <utility>

#include "io/executor.hh"

namespace cairn::io {

class ScopedExecutor final : public Executor {
 public:
  // inner outlives it.
  explicit ScopedExecutor(Executor& inner) : inner_(inner) {}
  ~ScopedExecutor() override { *alive_ = false; }
  ScopedExecutor(const ScopedExecutor&) = delete;
  ScopedExecutor& operator=(const ScopedExecutor&) = delete;

  std::uint64_t now_ns() const override { return inner_.now_ns(); }
  void post(Task task) override { inner_.post(guarded(std::move(task))); }
  TimerId run_after(std::uint64_t delay_ns, Task task) override {
    return inner_.run_after(delay_ns, guarded(std::move(task)));
  }
  void cancel(TimerId id) override { inner_.cancel(id); }

 private:
  Task guarded(Task task) const {
    return [alive = alive_, task = std::move(task)]() mutable {
      if (*alive) task();
    };
  }

  Executor& inner_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace cairn::io
