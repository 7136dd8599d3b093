// What the parts of the binding give to module.cc.
#pragma once

#include <napi.h>

namespace cairn::binding {

Napi::Function define_osd(Napi::Env env);
Napi::Function define_client(Napi::Env env);
// For simulations.
Napi::Function define_sim_world(Napi::Env env);
Napi::Function define_sim_client(Napi::Env env);
// formatStore, crc32c, errorCodes, crush*, objectPgSeed, probes, plantedBugs
void define_functions(Napi::Env env, Napi::Object exports);

}  // namespace cairn::binding
