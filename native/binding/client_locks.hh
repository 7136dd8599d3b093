// What TypeScript's exclusive locks need of the core, as tasks for its thread: gates of images,
// fencing sweeps, watches. The functions read JavaScript's arguments now; the tasks run there.
#pragma once

#include <napi.h>

#include <functional>

#include "binding_promise.hh"
#include "client_state.hh"

namespace cairn::binding {

using ClientTask = std::function<void(ClientState&)>;
using ClientQuestion = std::function<void(ClientState&, const Promise&)>;

const char* access_event_name(image::AccessEvent event);

ClientTask open_gate_task(const Napi::CallbackInfo& info);
ClientQuestion drain_gate_task(const Napi::CallbackInfo& info);
ClientTask fail_gate_task(const Napi::CallbackInfo& info);
ClientTask released_task(const Napi::CallbackInfo& info);
ClientQuestion sweep_fence_task(const Napi::CallbackInfo& info);
ClientQuestion watch_task(const Napi::CallbackInfo& info, std::uint32_t id);
ClientQuestion unwatch_task(const Napi::CallbackInfo& info);
ClientTask answer_notify_task(const Napi::CallbackInfo& info);

}  // namespace cairn::binding
