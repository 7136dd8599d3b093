// SimWorld of binding.d.ts: a whole cluster's executor, network and disks in virtual time, stepped
// by JavaScript. A NativeOsd whose options name a world lives in it.
//
// Invariants: one thread; the same seed and calls give the same run; the native core never runs but
// inside runUntil(). Disks outlive the OSDs that use them.
#pragma once

#include <napi.h>

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "io/sim_disk.hh"
#include "net/sim_network.hh"
#include "osd_platform.hh"
#include "sim_host.hh"

namespace cairn::binding {

// The disk of one OSD and the process that runs on it.
struct SimMachine {
  SimMachine(io::SimDiskImage formatted, int drift_ppm)
      : image(std::move(formatted)), clock_drift_ppm(drift_ppm) {}
  io::SimDiskImage image;             // while no process has it open
  std::shared_ptr<io::SimDisk> disk;  // while one has
  const int clock_drift_ppm;
  SimHost* process = nullptr;
  std::function<void()> teardown;  // of the process
  io::SimDisk::Options latency;
  std::uint64_t disk_faults = 0;  // delivered by disks that are gone
};

// What outlives the JavaScript object as long as anything lives in it.
struct SimWorldState {
  SimWorldState(std::uint64_t seed, std::uint64_t pg_log_entries_kept);
  ~SimWorldState();
  SimMachine& machine(OsdId osd);
  std::shared_ptr<io::Disk> open_disk(OsdId osd, io::Executor& executor);
  // The process of an OSD dies. loses_unflushed: with the power of its host.
  void crash(OsdId osd, bool loses_unflushed);

  const std::uint64_t log_entries_kept;
  io::Random random;
  io::SimExecutor executor;
  net::SimNetwork network;
  std::deque<JsTask> js_tasks;
  std::map<OsdId, SimMachine> machines;
};

std::string sim_host_name(OsdId osd);
std::shared_ptr<SimWorldState> get_sim_world(const Napi::Value& world);
Result<std::unique_ptr<OsdPlatform>> make_sim_osd_platform(const Napi::Value& world,
                                                           const OsdSelf& self);

}  // namespace cairn::binding
