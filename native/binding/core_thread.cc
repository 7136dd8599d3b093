// The reactor thread of an addon object: see core_thread.hh.
#include "core_thread.hh"

#include <utility>

#include "io/scheduling.hh"

namespace cairn::binding {

Result<std::unique_ptr<CoreThread>> CoreThread::start(Napi::Env env, const char* name) {
  auto reactor = io::Reactor::create();
  if (!reactor) return reactor.status();
  std::unique_ptr<CoreThread> thread(new CoreThread);
  thread->reactor_ = std::move(*reactor);
  const Napi::Function nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  thread->wake_js_ = Napi::ThreadSafeFunction::New(env, nothing, name, 0, 1);
  CoreThread* self = thread.get();
  thread->thread_ = std::thread([self] {
    io::name_this_thread("cairn-reactor");
    self->reactor_->run();
  });
  return thread;
}

CoreThread::~CoreThread() { stop_and_join(); }

void CoreThread::to_js(JsTask task) {
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->tasks.push_back(std::move(task));
    if (std::exchange(queue_->scheduled, true)) return;
  }
  wake_js_.NonBlockingCall(
      [queue = queue_](Napi::Env env, const Napi::Function&) { drain(*queue, env); });
}

std::shared_ptr<Napi::FunctionReference> CoreThread::hold(const Napi::Value& function) {
  auto* reference = new Napi::FunctionReference(Napi::Persistent(function.As<Napi::Function>()));
  return {reference, [this](Napi::FunctionReference* held) {
            if (joined_) {
              delete held;
            } else {
              to_js([held](Napi::Env) { delete held; });
            }
          }};
}

void CoreThread::drain(Queue& queue, Napi::Env env) {
  std::vector<JsTask> batch;
  {
    const std::lock_guard lock(queue.mutex);
    batch.swap(queue.tasks);
    queue.scheduled = false;
  }
  for (JsTask& task : batch) {
    const Napi::HandleScope scope(env);
    task(env);
  }
}

void CoreThread::stop_and_join() {
  if (std::exchange(joined_, true)) return;
  reactor_->stop();
  thread_.join();
  wake_js_.Release();
}

}  // namespace cairn::binding
