// The shapes of DiskFaults and DiskFaultCounters: see binding.d.ts.
#include "disk_faults.hh"

#include "convert.hh"

namespace cairn::binding {

io::DiskFaults get_disk_faults(const Napi::Object& object) {
  const auto small = [&object](const char* key) {
    return static_cast<std::uint32_t>(get_u64(object, key));
  };
  io::DiskFaults faults;
  faults.hold_writes = get_flag(object, "holdWrites");
  faults.write_back_percent = small("writeBackPercent");
  faults.delay_ns = static_cast<std::uint64_t>(get_number(object, "delayMs") * 1e6);
  faults.operations_per_second = small("operationsPerSecond");
  faults.fail_reads = get_flag(object, "failReads");
  faults.fail_writes = get_flag(object, "failWrites");
  faults.fail_flushes = get_flag(object, "failFlushes");
  faults.full = get_flag(object, "full");
  faults.flip_reads = small("flipReads");
  return faults;
}

Napi::Value disk_fault_counters_value(Napi::Env env, const io::FaultDisk::Counters& counters) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&object](const char* name, std::uint64_t value) {
    object.Set(name, static_cast<double>(value));
  };
  set("heldBlocks", counters.held_blocks);
  set("flushedBlocks", counters.flushed_blocks);
  set("failed", counters.failed);
  set("delayed", counters.delayed);
  set("flipped", counters.flipped);
  return object;
}

}  // namespace cairn::binding
