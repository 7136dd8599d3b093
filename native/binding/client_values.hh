// Values of copy jobs between JavaScript and the core: the shapes of native/binding.d.ts.
#pragma once

#include "client_state.hh"
#include "convert.hh"
#include "qcow2/import_job.hh"

namespace cairn::binding {

qcow2::SourceExtent get_extent(const Napi::Object& object);

// Options of serveNbd().
std::vector<BitmapSpec> get_bitmaps(const Napi::Value& value);
NbdSpec get_nbd_spec(const Napi::Object& object);

}  // namespace cairn::binding
