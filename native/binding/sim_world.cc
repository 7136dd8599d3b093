// The simulated world's state and its platform for OSDs: see sim_world.hh.
#include "sim_world.hh"

#include <utility>

#include "base/assert.hh"
#include "net/sim_messenger.hh"

namespace cairn::binding {

namespace {

// Small, so that checkpoints and flushes of the key-value state happen all the time.
object_store::Options small_store_options() {
  object_store::Options options;
  options.large_write_bytes = std::uint64_t{32} << 10;
  options.pending_data_bytes = std::uint64_t{256} << 10;
  options.redirect_run_blocks = 4;
  options.discard_piece_blocks = 8;
  options.discard_rest_ns = 20'000'000;
  options.released_bytes = std::uint64_t{1} << 20;
  options.group_wait_ns = 300'000;
  options.metadata_cache_bytes = std::uint64_t{64} << 10;
  options.kv_write_buffer_bytes = std::uint64_t{64} << 10;
  options.kv_block_cache_bytes = std::uint64_t{64} << 10;
  options.threaded_kv = false;
  return options;
}

class SimOsdPlatform final : public OsdPlatform {
 public:
  SimOsdPlatform(std::shared_ptr<SimWorldState> world, OsdSelf self)
      : world_(std::move(world)),
        self_(std::move(self)),
        host_(world_->executor, world_->machine(self_.osd).clock_drift_ppm, world_->js_tasks,
              world_->random.fork()) {
    world_->machine(self_.osd).process = &host_;
  }
  ~SimOsdPlatform() override {
    SimMachine& machine = world_->machine(self_.osd);
    if (machine.process != &host_) return;
    machine.process = nullptr;
    machine.teardown = nullptr;
  }

  CoreHost& host() override { return host_; }
  io::Executor& executor() override { return host_.executor(); }
  Result<std::shared_ptr<io::Disk>> open_disk() override {
    return world_->open_disk(self_.osd, host_.executor());
  }
  object_store::Options store_options() override { return small_store_options(); }
  std::uint64_t log_entries_kept() override { return world_->log_entries_kept; }
  std::unique_ptr<net::Messenger> make_messenger(net::MessengerHandler& handler, LogLine) override {
    net::SimMessengerConfig config;
    config.host = sim_host_name(self_.osd);
    config.cluster = self_.cluster;
    config.self = {net::EntityKind::osd, static_cast<std::uint64_t>(self_.osd), self_.incarnation};
    return std::make_unique<net::SimMessenger>(world_->network, handler, std::move(config));
  }
  void on_death(std::function<void()> teardown) override {
    world_->machine(self_.osd).teardown = std::move(teardown);
  }

 private:
  std::shared_ptr<SimWorldState> world_;
  OsdSelf self_;
  SimHost host_;
};

}  // namespace

std::string sim_host_name(OsdId osd) { return "osd" + std::to_string(osd); }

SimWorldState::SimWorldState(std::uint64_t seed, std::uint64_t pg_log_entries_kept)
    : log_entries_kept(pg_log_entries_kept),
      random(seed),
      executor({.seed = random.next(), .shuffle = true}),
      network(executor, random.next()) {}

SimWorldState::~SimWorldState() = default;

SimMachine& SimWorldState::machine(OsdId osd) {
  const auto found = machines.find(osd);
  CAIRN_ASSERT(found != machines.end());
  return found->second;
}

std::shared_ptr<io::Disk> SimWorldState::open_disk(OsdId osd, io::Executor& process) {
  SimMachine& on = machine(osd);
  if (on.disk != nullptr) {
    on.disk_faults += on.disk->counters().faults;
    on.image = on.disk->image();
  }
  on.latency.seed = random.next();
  on.disk = std::make_shared<io::SimDisk>(process, on.image, on.latency);
  return on.disk;
}

void SimWorldState::crash(OsdId osd, bool loses_unflushed) {
  SimMachine& on = machine(osd);
  if (on.process == nullptr || on.process->has_ended()) return;
  on.process->kill();
  if (on.disk != nullptr) {
    io::Random choices = random.fork();
    const io::SimDiskImage before = on.disk->image();
    const std::vector<io::PendingWrite> pending = before.pending();
    on.image = before.crash(loses_unflushed ? io::CrashChoice::draw(pending, choices)
                                            : io::CrashChoice::keep_first(pending.size()));
    on.disk_faults += on.disk->counters().faults;
    on.disk.reset();
  }
  if (on.teardown) std::exchange(on.teardown, nullptr)();
  on.process = nullptr;
  network.thaw(sim_host_name(osd));
}

Result<std::unique_ptr<OsdPlatform>> make_sim_osd_platform(const Napi::Value& world,
                                                           const OsdSelf& self) {
  std::shared_ptr<SimWorldState> state = get_sim_world(world);
  // A life that has closed its store has let the disk go, before JavaScript has heard of its end.
  if (state->machine(self.osd).disk.use_count() > 1) {
    return Status(ErrorCode::busy, "another process runs on this disk");
  }
  return std::unique_ptr<OsdPlatform>(std::make_unique<SimOsdPlatform>(std::move(state), self));
}

}  // namespace cairn::binding
