// A JavaScript promise that any thread may settle, once, through a CoreHost.
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
      : host_(&host), deferred_(std::make_shared<Napi::Promise::Deferred>(env)) {}

  Napi::Value value() const { return deferred_->Promise(); }

  // make: from an Env to the value; runs on the JavaScript thread.
  template <typename Make>
  void resolve(Make make) const {
    host_->to_js([deferred = deferred_, make = std::move(make)](Napi::Env env) mutable {
      deferred->Resolve(make(env));
    });
  }
  void resolve_undefined() const {
    resolve([](Napi::Env env) { return env.Undefined(); });
  }
  void reject(const Status& status) const {
    host_->to_js([deferred = deferred_, status](Napi::Env env) {
      deferred->Reject(error_value(env, status));
    });
  }
  void settle(const Status& status) const { status ? resolve_undefined() : reject(status); }

 private:
  CoreHost* host_;
  std::shared_ptr<Napi::Promise::Deferred> deferred_;
};

}  // namespace cairn::binding
