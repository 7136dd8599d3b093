// Faults of a disk between JavaScript and the core: DiskFaults of binding.d.ts.
#pragma once

#include <napi.h>

#include "io/fault_disk.hh"

namespace cairn::binding {

io::DiskFaults get_disk_faults(const Napi::Object& object);
Napi::Value disk_fault_counters_value(Napi::Env env, const io::FaultDisk::Counters& counters);

}  // namespace cairn::binding
