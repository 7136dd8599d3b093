// Values of copy jobs and benchmarks between JavaScript and the core: the shapes of
// native/binding.d.ts.
#pragma once

#include "convert.hh"
#include "image/bench_job.hh"
#include "qcow2/import_job.hh"

namespace cairn::binding {

qcow2::SourceExtent get_extent(const Napi::Object& object);
Napi::Value bench_value(Napi::Env env, const image::BenchReport& report);

}  // namespace cairn::binding
