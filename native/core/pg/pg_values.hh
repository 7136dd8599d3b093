// The values that a Pg gets from peering and gives to it, and its counters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/histogram.hh"
#include "base/ids.hh"
#include "net/messages.hh"
#include "pg/dup_horizon.hh"
#include "pg/missing.hh"

namespace cairn::pg {

constexpr std::uint64_t kDefaultLogEntriesKept = 1500;

// Keys of a PG's metadata in the store.
constexpr const char* kInfoKey = "info";
constexpr const char* kMissingPrefix = "missing/";
constexpr const char* kScrubKey = "scrub";

enum class Role : std::uint8_t { stray = 0, replica = 1, primary = 2 };
enum class Phase : std::uint8_t { peering = 0, replica_active = 1, active = 2 };

struct IntervalSpec {
  Epoch interval = 0;         // first epoch with this acting set
  std::vector<OsdId> acting;  // primary first; no holes
  std::uint32_t min_size = 1;
  Role role = Role::stray;
  std::uint32_t pg_num = 0;  // of the pool; 0: not known
};

// What peering needs to know of the local copy.
struct PgInfo {
  Version last_update;
  std::uint64_t log_tail = 0;  // number
  Epoch last_epoch_started = 0;
  std::uint64_t missing_count = 0;
  // A read lease that this copy has granted in an older interval, and to whom (kNoOsd: not known).
  std::uint64_t lease_remaining_ns = 0;
  OsdId lease_holder = kNoOsd;
};

// How the local copy becomes the authoritative one in this interval.
struct Activation {
  Epoch interval = 0;
  bool reset_log = false;              // the log does not reach: start it anew at log_base
  Version log_base;                    // with reset_log: version of the entry before the first
  std::optional<DupHorizon> horizon;   // with reset_log: of the authoritative copy
  std::uint64_t rewind_to = 0;         // without reset_log: entries above are divergent and go
  std::vector<net::LogEntry> entries;  // then these are appended
  std::vector<MissingObject> missing;  // what this copy lacks (over what it knew of them)
  // primary only: what the other members of the acting set lack
  std::vector<std::pair<OsdId, std::vector<std::string>>> peer_missing;
  // primary only: who has a whole copy of an object that is missing here (first that is up is
  // asked)
  std::vector<OsdId> sources;
  // primary only: who may have a version that is asked for by name
  std::vector<OsdId> other_sources;
  // primary only: nothing is served for so long, since an older primary may hold a read lease
  std::uint64_t lease_wait_ns = 0;
};

struct PgCounters {
  std::uint64_t reads = 0, writes = 0, read_bytes = 0, write_bytes = 0, duplicates = 0;
  std::uint64_t refused_fenced = 0;  // under a token that is not the highest any more
  std::uint64_t refused_stale = 0, waiting = 0, recovered_objects = 0, recovered_bytes = 0;
  std::uint64_t scrubbed_objects = 0, scrubbed_bytes = 0, scrub_errors = 0, scrub_repaired = 0;
  std::uint64_t read_repairs = 0, read_repairs_failed = 0;
  std::uint64_t trimmed_objects = 0, trimmed_clones = 0;
  Histogram write_ns, read_ns;
  void add(const PgCounters& other);
};

}  // namespace cairn::pg
