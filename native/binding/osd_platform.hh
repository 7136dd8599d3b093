// OsdPlatform: what a NativeOsd stands on, as a port: its executor, disk and messenger.
// Implementations: the host's (real_osd_platform.cc), and a machine of a simulated world.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/log.hh"
#include "core_host.hh"
#include "io/disk.hh"
#include "net/messenger.hh"
#include "object_store/object_store.hh"
#include "pg/pg.hh"

namespace cairn::binding {

using LogLine = std::function<void(LogLevel, std::string_view)>;

// Who the OSD is, as its options say.
struct OsdSelf {
  std::string path;
  net::ClusterId cluster{};
  OsdId osd = kNoOsd;
  std::uint64_t incarnation = 0;
  bool local_sockets = true;
  bool moves_overwrites = true;
  std::optional<std::uint64_t> metadata_cache_bytes;
};

class OsdPlatform {
 public:
  virtual ~OsdPlatform() = default;
  virtual CoreHost& host() = 0;
  virtual io::Executor& executor() = 0;
  // The disk of the store; shared, since a simulated one outlives the process.
  virtual Result<std::shared_ptr<io::Disk>> open_disk() = 0;
  virtual object_store::Options store_options() = 0;
  virtual std::uint64_t log_entries_kept() { return pg::kDefaultLogEntriesKept; }
  virtual std::unique_ptr<net::Messenger> make_messenger(net::MessengerHandler& handler,
                                                         LogLine log) = 0;
  // teardown drops all that the OSD has, at once, as the death of its process does; it is for
  // platforms whose processes can die alone.
  virtual void on_death(std::function<void()> teardown) = 0;
};

Result<std::unique_ptr<OsdPlatform>> make_real_osd_platform(Napi::Env env, OsdSelf self);

}  // namespace cairn::binding
