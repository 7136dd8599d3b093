// The reactor thread of an addon object: see core_thread.hh.
#include "core_thread.hh"

#include <utility>

namespace cairn::binding {

Result<std::unique_ptr<CoreThread>> CoreThread::start(Napi::Env env, const char* name) {
  auto reactor = io::Reactor::create();
  if (!reactor) return reactor.status();
  std::unique_ptr<CoreThread> thread(new CoreThread);
  thread->reactor_ = std::move(*reactor);
  const Napi::Function nothing = Napi::Function::New(env, [](const Napi::CallbackInfo&) {});
  thread->wake_js_ = Napi::ThreadSafeFunction::New(env, nothing, name, 0, 1);
  CoreThread* self = thread.get();
  thread->thread_ = std::thread([self] { self->reactor_->run(); });
  return thread;
}

CoreThread::~CoreThread() { stop_and_join(); }

void CoreThread::to_js(JsTask task) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(task));
    if (std::exchange(scheduled_, true)) return;
  }
  wake_js_.NonBlockingCall([this](Napi::Env env, const Napi::Function&) { drain(env); });
}

void CoreThread::drain(Napi::Env env) {
  std::vector<JsTask> batch;
  {
    const std::lock_guard lock(mutex_);
    batch.swap(queue_);
    scheduled_ = false;
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
