// Leases between two OSDs: one request of a primary carries all PGs that it leads with that peer,
// so that the traffic grows with the peers and not with the PGs. See lease.hh.
#include <algorithm>

#include "pg/osd_core.hh"

namespace cairn::pg {

namespace {

bool leads_with(const Pg& pg, OsdId peer) {
  const auto& acting = pg.spec().acting;
  return pg.phase() == Phase::active &&
         std::find(acting.begin(), acting.end(), peer) != acting.end();
}

}  // namespace

void OsdCore::request_lease(const Pg& asking) {
  const std::uint64_t now = executor_.now_ns();
  for (const OsdId peer : asking.spec().acting) {
    if (peer == self_) continue;
    net::Lease lease;
    lease.sent_ns = now;
    std::uint64_t& asked_ns = leases_asked_ns_[peer];
    if (asked_ns == 0 || now - asked_ns >= kLeaseNs / 4) {
      asked_ns = now;
      for (const auto& [id, pg] : pgs_) {
        if (!leads_with(*pg, peer) || lease.pgs.size() == net::kMaxLeasePgs - 1) continue;
        lease.pgs.push_back({id, pg->spec().interval});
      }
    }
    const net::LeasedPg own{asking.id(), asking.spec().interval};
    if (std::find(lease.pgs.begin(), lease.pgs.end(), own) == lease.pgs.end()) {
      lease.pgs.push_back(own);
    }
    links_.send(peer, net::encode_lease(lease));
  }
}

Status OsdCore::dispatch_lease(net::ConnectionId connection, OsdId osd, const net::Frame& frame) {
  net::Lease lease;
  CAIRN_RETURN_IF_ERROR(net::decode(frame, lease));
  if (frame.type == net::FrameType::lease) {
    grant_leases(connection, osd, std::move(lease));
  } else {
    leases_granted(osd, lease);
  }
  return Status::ok();
}

void OsdCore::grant_leases(net::ConnectionId connection, OsdId primary, net::Lease lease) {
  std::erase_if(lease.pgs, [this, primary](const net::LeasedPg& leased) {
    Pg* pg = find(leased.pg);
    return pg == nullptr || !pg->grant_lease(primary, leased.interval);
  });
  send_on(connection, net::encode_lease_ack(lease));
}

void OsdCore::leases_granted(OsdId replica, const net::Lease& lease) {
  for (const auto& [id, interval] : lease.pgs) {
    if (Pg* pg = find(id)) pg->on_lease_granted(replica, interval, lease.sent_ns);
  }
}

}  // namespace cairn::pg
