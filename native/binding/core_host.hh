// CoreHost: where the native half of an addon object runs, and its way back to JavaScript, as a
// port. Implementations: CoreThread (a reactor with a thread of its own), SimHost (a process in a
// simulated world, on the JavaScript thread, in virtual time).
#pragma once

#include <napi.h>

#include "base/unique_function.hh"
#include "io/executor.hh"

namespace cairn::binding {

using JsTask = UniqueFunction<void(Napi::Env)>;

class CoreHost {
 public:
  virtual ~CoreHost() = default;
  // From JavaScript, or from the core itself: runs the task on the core's executor.
  virtual void post(io::Task task) = 0;
  // Runs the task on the JavaScript thread, in the order of the calls.
  virtual void to_js(JsTask task) = 0;
  // On the JavaScript thread: ends the executor; nothing is posted any more.
  virtual void stop_and_join() = 0;
};

}  // namespace cairn::binding
