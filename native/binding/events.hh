// An event of native/binding.d.ts on its way to JavaScript. Events of one wake-up of the core cross
// together (the host batches them); the callback gets each in an array of its own, in order.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "core_host.hh"

namespace cairn::binding {

using EventCallback = std::shared_ptr<Napi::FunctionReference>;

// From any thread. fill(env, event) sets the fields; it runs on the JavaScript thread.
template <typename Fill>
void emit_event(CoreHost& host, const EventCallback& callback, const char* type, Fill fill) {
  host.to_js([callback, type, fill = std::move(fill)](Napi::Env env) mutable {
    Napi::Object event = Napi::Object::New(env);
    event.Set("type", type);
    fill(env, event);
    Napi::Array batch = Napi::Array::New(env, 1);
    batch.Set(0U, event);
    callback->Call({batch});
  });
}

}  // namespace cairn::binding
