// The JavaScript object SimWorld: time, disks and faults of a simulated world (sim_world.hh).
#include <utility>

#include "base/assert.hh"
#include "convert.hh"
#include "exports.hh"
#include "object_store/object_store.hh"
#include "object_store/superblock.hh"
#include "sim_world.hh"

namespace cairn::binding {

namespace {

constexpr std::uint64_t kDiskBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kWalBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kKeyValueBytes = std::uint64_t{16} << 20;

object_store::Geometry geometry_of_sim() {
  object_store::Geometry geometry;
  geometry.wal_bytes = kWalBytes;
  geometry.kv_bytes = kKeyValueBytes;
  geometry.kv_unit_bytes = std::uint64_t{16} << 10;
  return geometry;
}

io::DiskFault fault_of_kind(const std::string& name) {
  io::DiskFault fault;
  if (name == "flip") {
    // Objects' data only: metadata that is damaged is an OSD that has failed.
    auto layout = object_store::make_layout(kDiskBytes, geometry_of_sim());
    CAIRN_ASSERT(layout);
    fault.action = io::DiskFault::Action::flip;
    fault.offset = layout->data_offset;
  } else if (name == "write") {
    fault.on = io::DiskFault::On::write;
  } else if (name == "flush") {
    fault.on = io::DiskFault::On::flush;
  } else {
    CAIRN_ASSERT(name == "read");
  }
  return fault;
}

class World : public Napi::ObjectWrap<World> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "SimWorld",
        {InstanceMethod<&World::now_ns>("nowNs"), InstanceMethod<&World::run_until>("runUntil"),
         InstanceMethod<&World::format_osd>("formatOsd"), InstanceMethod<&World::crash>("crash"),
         InstanceMethod<&World::freeze>("freeze"), InstanceMethod<&World::thaw>("thaw"),
         InstanceMethod<&World::partition>("partition"), InstanceMethod<&World::heal>("heal"),
         InstanceMethod<&World::reset_streams>("resetStreams"),
         InstanceMethod<&World::set_network>("setNetwork"),
         InstanceMethod<&World::add_disk_fault>("addDiskFault"),
         InstanceMethod<&World::clear_disk_faults>("clearDiskFaults"),
         InstanceMethod<&World::set_disk_latency>("setDiskLatency"),
         InstanceMethod<&World::counters>("counters"), InstanceMethod<&World::destroy>("destroy")});
  }

  explicit World(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<World>(info),
        state_(std::make_shared<SimWorldState>(
            get_bigint(info[0].As<Napi::Object>(), "seed"),
            get_u64(info[0].As<Napi::Object>(), "logEntriesKept"))) {}

  const std::shared_ptr<SimWorldState>& state() const { return state_; }

 private:
  static OsdId osd_of(const Napi::CallbackInfo& info) { return info[0].ToNumber().Int32Value(); }
  static std::string text(const Napi::CallbackInfo& info, std::size_t at) {
    return info[at].ToString().Utf8Value();
  }

  Napi::Value now_ns(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(state_->executor.now_ns()));
  }

  // An exception of a JavaScript callback is that of runUntil().
  Napi::Value run_until(const Napi::CallbackInfo& info) {
    const auto limit_ns = static_cast<std::uint64_t>(info[0].ToNumber().DoubleValue());
    io::SimExecutor& executor = state_->executor;
    std::deque<JsTask>& tasks = state_->js_tasks;
    const std::uint64_t now = executor.now_ns();
    if (limit_ns > now || !tasks.empty()) {
      const std::uint64_t left = limit_ns > now ? limit_ns - now : 0;
      const bool came = executor.run_until([&tasks] { return !tasks.empty(); }, left);
      if (!came && executor.now_ns() < limit_ns) executor.run_for(limit_ns - executor.now_ns());
    }
    while (!tasks.empty() && !info.Env().IsExceptionPending()) {
      const Napi::HandleScope scope(info.Env());
      JsTask task = std::move(tasks.front());
      tasks.pop_front();
      task(info.Env());
    }
    if (info.Env().IsExceptionPending()) return {};
    return now_ns(info);
  }

  void format_osd(const Napi::CallbackInfo& info) {
    const auto options = info[0].As<Napi::Object>();
    object_store::Identity identity;
    identity.cluster = get_uuid(options, "clusterId");
    identity.osd = static_cast<OsdId>(get_u64(options, "osd"));
    identity.store = get_uuid(options, "storeId");
    io::SimDisk disk(state_->executor, io::SimDiskImage(kDiskBytes));
    const Status status = object_store::ObjectStore::format(disk, identity, geometry_of_sim());
    if (!status) {
      const Napi::Value error = error_value(info.Env(), status);
      return Napi::Error(info.Env(), error).ThrowAsJavaScriptException();
    }
    const int drift_ppm = options.Get("clockDriftPpm").ToNumber().Int32Value();
    state_->machines.emplace(identity.osd, SimMachine(disk.image(), drift_ppm));
  }

  void crash(const Napi::CallbackInfo& info) {
    state_->crash(osd_of(info), info[1].ToBoolean().Value());
  }
  void freeze(const Napi::CallbackInfo& info) {
    SimHost* process = state_->machine(osd_of(info)).process;
    if (process == nullptr) return;
    process->executor().stop();
    state_->network.freeze(sim_host_name(osd_of(info)));
  }
  void thaw(const Napi::CallbackInfo& info) {
    SimHost* process = state_->machine(osd_of(info)).process;
    if (process != nullptr) process->executor().resume();
    state_->network.thaw(sim_host_name(osd_of(info)));
  }
  void partition(const Napi::CallbackInfo& info) {
    state_->network.partition(text(info, 0), text(info, 1));
  }
  void heal(const Napi::CallbackInfo& info) { state_->network.heal(text(info, 0), text(info, 1)); }
  void reset_streams(const Napi::CallbackInfo& info) {
    state_->network.reset_streams(text(info, 0), text(info, 1));
  }
  void set_network(const Napi::CallbackInfo& info) {
    const auto options = info[0].As<Napi::Object>();
    net::SimNetworkConfig config;
    config.min_delay_ns = get_u64(options, "minDelayNs");
    config.max_delay_ns = get_u64(options, "maxDelayNs");
    config.resets_per_million = static_cast<std::uint32_t>(get_u64(options, "resetsPerMillion"));
    config.corruptions_per_million =
        static_cast<std::uint32_t>(get_u64(options, "corruptionsPerMillion"));
    state_->network.set_config(config);
  }

  void add_disk_fault(const Napi::CallbackInfo& info) {
    const auto options = info[1].As<Napi::Object>();
    io::DiskFault fault = fault_of_kind(get_text(options, "on"));
    fault.skip = get_u64(options, "skip");
    fault.times = get_u64(options, "times");
    SimMachine& on = state_->machine(osd_of(info));
    if (on.disk != nullptr) on.disk->add_fault(fault);
  }
  void clear_disk_faults(const Napi::CallbackInfo& info) {
    SimMachine& on = state_->machine(osd_of(info));
    if (on.disk != nullptr) on.disk->clear_faults();
  }
  void set_disk_latency(const Napi::CallbackInfo& info) {
    SimMachine& on = state_->machine(osd_of(info));
    on.latency.min_latency_ns = static_cast<std::uint64_t>(info[1].ToNumber().Int64Value());
    on.latency.max_latency_ns = static_cast<std::uint64_t>(info[2].ToNumber().Int64Value());
    if (on.disk != nullptr) {
      on.disk->set_latency(on.latency.min_latency_ns, on.latency.max_latency_ns);
    }
  }

  Napi::Value counters(const Napi::CallbackInfo& info) {
    const net::SimNetworkCounters& network = state_->network.counters();
    std::uint64_t disk_faults = 0;
    for (const auto& [osd, machine] : state_->machines) {
      disk_faults += machine.disk_faults;
      if (machine.disk != nullptr) disk_faults += machine.disk->counters().faults;
    }
    Napi::Object object = Napi::Object::New(info.Env());
    const auto set = [&object](const char* name, std::uint64_t value) {
      object.Set(name, static_cast<double>(value));
    };
    set("steps", state_->executor.steps());
    set("networkWrites", network.writes);
    set("networkResets", network.resets);
    set("networkCorruptions", network.corruptions);
    set("heldByPartition", network.held_by_partition);
    set("heldByFreeze", network.held_by_freeze);
    set("diskFaults", disk_faults);
    return object;
  }

  // Everything in the world dies; its objects are of no use any more.
  void destroy(const Napi::CallbackInfo&) {
    for (const auto& [osd, machine] : state_->machines) state_->crash(osd, false);
    state_->js_tasks.clear();
  }

  std::shared_ptr<SimWorldState> state_;
};

}  // namespace

std::shared_ptr<SimWorldState> get_sim_world(const Napi::Value& world) {
  return World::Unwrap(world.As<Napi::Object>())->state();
}

Napi::Function define_sim_world(Napi::Env env) { return World::define(env); }

}  // namespace cairn::binding
