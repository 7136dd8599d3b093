// NativeMap of binding.d.ts as the objecter's map.
#pragma once

#include <napi.h>

#include "objecter/objecter.hh"

namespace cairn::binding {

objecter::ClientMap get_client_map(const Napi::Object& object);

}  // namespace cairn::binding
