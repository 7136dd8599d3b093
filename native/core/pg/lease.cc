// The arithmetic of leases: see lease.hh.
#include "pg/lease.hh"

#include <algorithm>

#include "base/planted_bug.hh"

namespace cairn::pg {

void ReadLease::start(const std::vector<OsdId>& replicas) {
  until_ns_.clear();
  for (const OsdId replica : replicas) until_ns_.emplace_back(replica, 0);
}

void ReadLease::granted(OsdId replica, std::uint64_t sent_ns) {
  for (auto& [osd, until_ns] : until_ns_) {
    if (osd == replica) until_ns = std::max(until_ns, sent_ns + kLeaseNs);
  }
}

bool ReadLease::holds(std::uint64_t now_ns) const {
  return std::all_of(until_ns_.begin(), until_ns_.end(),
                     [now_ns](const auto& grant) { return now_ns < grant.second; });
}

bool ReadLease::is_due(std::uint64_t now_ns) const { return !holds(now_ns + kLeaseNs / 2); }

void GrantedLease::grant(OsdId holder, std::uint64_t now_ns) {
  holder_ = holder;
  const bool has_margin = !planted(PlantedBug::no_lease_margin);
  until_ns_ = std::max(until_ns_, now_ns + (has_margin ? kGrantNs : kLeaseNs));
}

std::uint64_t GrantedLease::remaining_ns(std::uint64_t now_ns) const {
  return until_ns_ > now_ns ? until_ns_ - now_ns : 0;
}

}  // namespace cairn::pg
