// Read leases: why a primary that has been replaced without knowing it shows nobody old data.
//
// A primary serves reads only while every other member of its acting set has promised it that no
// newer interval will serve before the promise has run out. Any newer interval hears at least one
// member of an older one that may have served (peering); that member is either the old primary
// itself, which refuses the old interval from then on, or a replica, which tells how long its
// promise still lasts, and renews it no more. A primary without replicas needs no promise: nobody
// can go on without hearing it.
//
// Invariants
//  - The primary counts kLeaseNs from when it SENT the request; the replica counts kGrantNs from
//    when it received it. The difference is the margin for clocks that drift against each other;
//    clocks are CLOCK_BOOTTIME (io::Executor), so a suspended machine loses its leases.
//  - A promise outlives the interval in which it was given, and a restart: a copy found on disk may
//    have promised anything just before, so a full lease of an unknown holder is assumed.
//  - Nothing is sent while nobody reads: the lease runs out, and the next read asks for it.
//
// These are values only; pg_lease.cc asks for leases and lets reads wait for them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/ids.hh"

namespace cairn::pg {

constexpr std::uint64_t kLeaseNs = 400'000'000;
// Clocks may drift by a tenth against each other: far more than any does that still works.
constexpr std::uint64_t with_drift_margin(std::uint64_t duration_ns) {
  return duration_ns + duration_ns / 10;
}
constexpr std::uint64_t kGrantNs = with_drift_margin(kLeaseNs);
static_assert(with_drift_margin(kGrantNs) <= 500'000'000);
// An unanswered request is sent again after this long, while a read waits.
constexpr std::uint64_t kLeaseRetryNs = 50'000'000;

// The primary's side for one PG in one interval.
class ReadLease {
 public:
  // Nothing is granted yet. replicas: all members of the acting set but the primary.
  void start(const std::vector<OsdId>& replicas);
  // By a replica, for a request that was sent then. An answer that comes late changes nothing.
  void granted(OsdId replica, std::uint64_t sent_ns);
  bool holds(std::uint64_t now_ns) const;
  // Half of it is used up: time to ask again, so that a steady reader never waits.
  bool is_due(std::uint64_t now_ns) const;

 private:
  std::vector<std::pair<OsdId, std::uint64_t>> until_ns_;
};

// The replica's side for one PG, over all intervals.
class GrantedLease {
 public:
  void grant(OsdId holder, std::uint64_t now_ns);
  // After a restart.
  void assume_full(std::uint64_t now_ns) { grant(kNoOsd, now_ns); }
  std::uint64_t remaining_ns(std::uint64_t now_ns) const;
  // kNoOsd: not known.
  OsdId holder() const { return holder_; }

 private:
  OsdId holder_ = kNoOsd;
  std::uint64_t until_ns_ = 0;
};

}  // namespace cairn::pg
