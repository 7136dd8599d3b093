// CoreThread: a reactor with a thread of its own, and the way back to JavaScript.
//
// Tasks go in with post() (any thread), closures for JavaScript with to_js() (any thread); both are
// batched, one wake-up per batch. The thread ends in stop_and_join(), after its last task.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.hh"
#include "core_host.hh"
#include "io/reactor.hh"

namespace cairn::binding {

class CoreThread final : public CoreHost {
 public:
  static Result<std::unique_ptr<CoreThread>> start(Napi::Env env, const char* name);
  ~CoreThread() override;

  io::Reactor& reactor() { return *reactor_; }
  void post(io::Task task) override { reactor_->post_from_any_thread(std::move(task)); }
  void to_js(JsTask task) override;
  // A JavaScript function that the core's thread may hold: it is let go on the JavaScript thread.
  std::shared_ptr<Napi::FunctionReference> hold(const Napi::Value& function);
  // On the JavaScript thread: ends the reactor, waits for the thread, lets Node exit.
  void stop_and_join() override;

 private:
  CoreThread() = default;
  // Closures on their way; shared with wake-ups that are still queued in Node when this is gone.
  struct Queue {
    std::mutex mutex;
    std::vector<JsTask> tasks;
    bool scheduled = false;
  };
  static void drain(Queue& queue, Napi::Env env);

  std::unique_ptr<io::Reactor> reactor_;
  std::thread thread_;
  Napi::ThreadSafeFunction wake_js_;
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  bool joined_ = false;
};

}  // namespace cairn::binding
