// Reads wait for the lease of their PG; replicas grant it: see lease.hh.
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "pg/pg.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_read_waited_for_lease);
CAIRN_DEFINE_PROBE(pg_lease_asked_again);
CAIRN_DEFINE_PROBE(pg_lease_refused);
CAIRN_DEFINE_PROBE(pg_active_waited_for_old_lease);

// True: the operation may show what this copy holds. Guards of a mutation show it too: that they
// fail is an answer.
bool Pg::has_lease_for(const ClientOp& op) {
  if (!needs_guard(op)) return true;
  const std::uint64_t now = host_.executor().now_ns();
  if (lease_.is_due(now)) ask_for_lease();
  return lease_.holds(now) || planted(PlantedBug::read_without_lease);
}

void Pg::ask_for_lease() {
  const std::uint64_t now = host_.executor().now_ns();
  if (lease_asked_ns_ != 0 && now - lease_asked_ns_ < kLeaseRetryNs) return;
  lease_asked_ns_ = now;
  host_.request_lease(*this);
}

void Pg::wait_for_lease(ClientOp op) {
  if (waiting_bytes_ + kWaitingOpBytes + op.data.size() > kMaxWaitingBytes) {
    return refuse(op, ErrorCode::busy, "the PG waits for a read lease and its queue is full");
  }
  pg_read_waited_for_lease.hit();
  waiting_bytes_ += kWaitingOpBytes + op.data.size();
  ++counters_.waiting;
  op.slot.release();
  waiting_for_lease_.push_back(std::move(op));
  retry_lease_later();
}

void Pg::retry_lease_later() {
  if (std::exchange(lease_retry_due_, true)) return;
  host_.executor().run_after(kLeaseRetryNs, [this] {
    lease_retry_due_ = false;
    if (waiting_for_lease_.empty()) return;
    pg_lease_asked_again.hit();
    ask_for_lease();
    retry_lease_later();
  });
}

void Pg::on_lease_granted(OsdId replica, Epoch interval, std::uint64_t sent_ns) {
  const std::uint64_t now = host_.executor().now_ns();
  if (!current(interval) || phase_ != Phase::active || sent_ns > now) return;
  lease_.granted(replica, sent_ns);
  if (!lease_.holds(now)) return;
  lease_asked_ns_ = 0;
  std::deque<ClientOp> waiting = std::exchange(waiting_for_lease_, {});
  for (const ClientOp& op : waiting) waiting_bytes_ -= kWaitingOpBytes + op.data.size();
  for (ClientOp& op : waiting) admit(std::move(op));
}

bool Pg::grant_lease(OsdId primary, Epoch interval) {
  const bool follows = current(interval) && phase_ == Phase::replica_active &&
                       !spec_.acting.empty() && spec_.acting.front() == primary;
  if (follows) {
    granted_lease_.grant(primary, host_.executor().now_ns());
  } else {
    pg_lease_refused.hit();
  }
  return follows;
}

// A new primary does not serve while an old one may still believe in its lease.
bool Pg::waits_for_old_lease() {
  const std::uint64_t now = host_.executor().now_ns();
  if (now >= serve_not_before_ns_) return false;
  pg_active_waited_for_old_lease.hit();
  host_.executor().run_after(serve_not_before_ns_ - now, [this, interval = spec_.interval] {
    if (current(interval) && phase_ == Phase::peering) go_active();
  });
  return true;
}

}  // namespace cairn::pg
