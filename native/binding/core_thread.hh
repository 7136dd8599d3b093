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
#include "base/unique_function.hh"
#include "io/reactor.hh"

namespace cairn::binding {

using JsTask = UniqueFunction<void(Napi::Env)>;

class CoreThread {
 public:
  static Result<std::unique_ptr<CoreThread>> start(Napi::Env env, const char* name);
  ~CoreThread();

  io::Reactor& reactor() { return *reactor_; }
  void post(io::Task task) { reactor_->post_from_any_thread(std::move(task)); }
  void to_js(JsTask task);
  // On the JavaScript thread: ends the reactor, waits for the thread, lets Node exit.
  void stop_and_join();

 private:
  CoreThread() = default;
  void drain(Napi::Env env);

  std::unique_ptr<io::Reactor> reactor_;
  std::thread thread_;
  Napi::ThreadSafeFunction wake_js_;
  std::mutex mutex_;
  std::vector<JsTask> queue_;
  bool scheduled_ = false;
  bool joined_ = false;
};

}  // namespace cairn::binding
