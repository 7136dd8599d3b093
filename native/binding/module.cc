// The addon's entry point.
#include <napi.h>

#include "exports.hh"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Osd", cairn::binding::define_osd(env));
  exports.Set("Client", cairn::binding::define_client(env));
  exports.Set("SimWorld", cairn::binding::define_sim_world(env));
  exports.Set("SimClient", cairn::binding::define_sim_client(env));
  cairn::binding::define_functions(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(cairn, init)
