// Gates, sweeps and watches for TypeScript: see client_locks.hh.
#include "client_locks.hh"

#include <utility>

#include "convert.hh"
#include "objecter/fence_sweep.hh"

namespace cairn::binding {

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

std::uint32_t handle_of(const Napi::CallbackInfo& info) { return info[0].ToNumber().Uint32Value(); }

// {key, token}
net::Fence get_fence(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {get_text(object, "key"), get_u64(object, "token")};
}

}  // namespace

const char* access_event_name(image::AccessEvent event) {
  switch (event) {
    case image::AccessEvent::wanted:
      return "wanted";
    case image::AccessEvent::unused:
      return "unused";
    case image::AccessEvent::fenced:
      return "fenced";
  }
  return "";
}

ClientTask open_gate_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info), fence = get_fence(info[1])](ClientState& state) {
    if (image::Image* image = state.image(handle)) image->gate().open(fence);
  };
}

ClientQuestion drain_gate_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info)](ClientState& state, const Promise& promise) {
    image::Image* image = state.image(handle);
    if (image == nullptr) return promise.resolve_undefined();
    image->gate().close([promise] { promise.resolve_undefined(); });
  };
}

ClientTask fail_gate_task(const Napi::CallbackInfo& info) {
  const std::string text = info[1].ToString().Utf8Value();
  const Status why(info[2].ToBoolean() ? ErrorCode::fenced : ErrorCode::canceled, text);
  return [handle = handle_of(info), why](ClientState& state) {
    if (image::Image* image = state.image(handle)) image->gate().fail(why);
  };
}

ClientTask released_task(const Napi::CallbackInfo& info) {
  return [handle = handle_of(info)](ClientState& state) {
    if (image::Image* image = state.image(handle)) image->gate().released();
  };
}

ClientQuestion sweep_fence_task(const Napi::CallbackInfo& info) {
  const PoolId pool = info[0].ToNumber().Uint32Value();
  const std::uint64_t timeout_ns = info[2].ToNumber().Uint32Value() * kNsPerMs;
  return
      [pool, timeout_ns, fence = get_fence(info[1])](ClientState& state, const Promise& promise) {
        objecter::sweep_fence(state.reactor(), state.objecter(), pool, fence, timeout_ns,
                              [promise](const Status& status, objecter::SweepResult result) {
                                if (!status) return promise.reject(status);
                                promise.resolve([result](Napi::Env env) -> Napi::Value {
                                  Napi::Object object = Napi::Object::New(env);
                                  object.Set("raised", result.raised);
                                  object.Set("silent", result.silent);
                                  return object;
                                });
                              });
      };
}

ClientQuestion watch_task(const Napi::CallbackInfo& info, std::uint32_t id) {
  const auto options = info[2].As<Napi::Object>();
  const objecter::WatchSpec spec{info[0].ToNumber().Uint32Value(), info[1].ToString().Utf8Value(),
                                 get_text(options, "cookie"), get_text(options, "description"),
                                 get_u64(options, "timeoutMs")};
  return [id, spec](ClientState& state, const Promise& promise) {
    state.watches().watch(id, spec, [id, promise](const Status& status) {
      if (!status) return promise.reject(status);
      promise.resolve([id](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, id); });
    });
  };
}

ClientQuestion unwatch_task(const Napi::CallbackInfo& info) {
  return [id = handle_of(info)](ClientState& state, const Promise& promise) {
    state.watches().unwatch(id, [promise](const Status& status) { promise.settle(status); });
  };
}

ClientTask answer_notify_task(const Napi::CallbackInfo& info) {
  const auto answer = static_cast<std::uint64_t>(info[0].ToNumber().Int64Value());
  const std::vector<std::byte> reply = get_bytes(info[1]);
  return [answer, text = std::string(as_text(reply))](ClientState& state) {
    state.watches().answer(answer, text);
  };
}

}  // namespace cairn::binding
