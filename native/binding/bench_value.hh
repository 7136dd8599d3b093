// Load on a device between JavaScript and the core: BenchOptions and BenchResult of binding.d.ts.
#pragma once

#include <napi.h>

#include "image/bench_job.hh"

namespace cairn::binding {

image::BenchSpec get_bench_spec(const Napi::Object& options);
Napi::Value bench_value(Napi::Env env, const image::BenchReport& report);

}  // namespace cairn::binding
