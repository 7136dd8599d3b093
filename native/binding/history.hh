// Histories between JavaScript and the core: HistoryOptions and History of binding.d.ts.
#pragma once

#include <napi.h>

#include "image/history_job.hh"

namespace cairn::binding {

image::HistorySpec get_history_spec(const Napi::Object& options);
Napi::Value history_value(Napi::Env env, const image::History& history);

}  // namespace cairn::binding
