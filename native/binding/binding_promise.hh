// A JavaScript promise that any thread may settle, through a CoreHost: the first time counts.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "base/status.hh"
#include "core_host.hh"

namespace cairn::binding {

Napi::Value error_value(Napi::Env env, const Status& status);

class Promise {
 public:
  Promise(Napi::Env env, CoreHost& host)
      : host_(&host), state_(std::make_shared<State>(Napi::Promise::Deferred(env))) {}

  // On the JavaScript thread, as settled() and what ends with _now.
  Napi::Value value() const { return state_->deferred.Promise(); }
  bool settled() const { return state_->settled; }
  void reject_now(Napi::Env env, const Status& status) const {
    if (!std::exchange(state_->settled, true)) state_->deferred.Reject(error_value(env, status));
  }

  void resolve_undefined_now(Napi::Env env) const {
    if (!std::exchange(state_->settled, true)) state_->deferred.Resolve(env.Undefined());
  }
  // make: from an Env to the value; runs on the JavaScript thread.
  template <typename Make>
  void resolve(Make make) const {
    host_->to_js([state = state_, make = std::move(make)](Napi::Env env) mutable {
      if (!std::exchange(state->settled, true)) state->deferred.Resolve(make(env));
    });
  }
  void resolve_undefined() const {
    resolve([](Napi::Env env) { return env.Undefined(); });
  }
  void reject(const Status& status) const {
    host_->to_js([promise = *this, status](Napi::Env env) { promise.reject_now(env, status); });
  }
  void settle(const Status& status) const { status ? resolve_undefined() : reject(status); }

 private:
  struct State {
    explicit State(Napi::Promise::Deferred made) : deferred(made) {}
    Napi::Promise::Deferred deferred;
    bool settled = false;
  };

  CoreHost* host_;
  std::shared_ptr<State> state_;
};

}  // namespace cairn::binding
