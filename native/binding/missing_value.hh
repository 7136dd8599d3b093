// The missing list of a copy as binding.d.ts has it: NativeMissing[].
#pragma once

#include <map>
#include <string>

#include "convert.hh"
#include "pg/missing.hh"

namespace cairn::binding {

inline Napi::Value missing_value(Napi::Env env, const std::map<std::string, pg::Missing>& missing) {
  Napi::Array array = Napi::Array::New(env, missing.size());
  std::uint32_t length = 0;
  for (const auto& [name, lacks] : missing) {
    Napi::Array triple = Napi::Array::New(env, 3);
    triple.Set(0U, name);
    triple.Set(1U, version_value(env, lacks.need));
    triple.Set(2U, Napi::Boolean::New(env, lacks.removed));
    array.Set(length++, triple);
  }
  return array;
}

}  // namespace cairn::binding
