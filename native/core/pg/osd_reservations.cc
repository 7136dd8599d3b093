// The queue of operations in front of the PGs, while somebody has a reservation.
#include <utility>

#include "pg/osd_core.hh"

namespace cairn::pg {

void OsdCore::admit_op(ClientOp&& op) {
  const net::Reservation& reservation = op.request.reservation;
  if (reservation.iops == 0 && !reservations_.reserves()) {
    op.slot = OpSlot(under_way_);
    return begin_op(std::move(op));
  }
  const std::uint64_t now_ns = executor_.now_ns();
  const StreamId stream{op.request.id.client, reservation.stream};
  reservations_.heard(stream, reservation, now_ns);
  if (reservations_.size() == 0 && under_way_->under_way() < under_way_bound_) {
    op.slot = OpSlot(under_way_);
    return begin_op(std::move(op));
  }
  under_way_->on_free([this] {
    // Not inside the end of an operation.
    if (reservations_.size() == 0 || std::exchange(begin_due_, true)) return;
    executor_.post([this] {
      begin_due_ = false;
      begin_waiting_ops();
    });
  });
  ++reservation_counters_.queued;
  const net::Reservation reserved = reservation;
  reservations_.push(stream, reserved, std::move(op), now_ns);
  if (under_way_->under_way() < under_way_bound_) begin_waiting_ops();
}

void OsdCore::begin_waiting_ops() {
  const std::uint64_t now_ns = executor_.now_ns();
  while (under_way_->under_way() < under_way_bound_) {
    std::optional<ClientOp> op = reservations_.pop(now_ns);
    if (!op) break;
    reservation_counters_.waited_ns.record(now_ns - op->arrived_ns);
    op->slot = OpSlot(under_way_);
    begin_op(std::move(*op));
  }
  if (now_ns - silent_forgotten_ns_ < ReservationQueue<ClientOp>::kForgottenAfterNs) return;
  silent_forgotten_ns_ = now_ns;
  reservations_.forget_silent(now_ns);
}

ReservationCounters OsdCore::reservation_counters() const {
  ReservationCounters counters = reservation_counters_;
  counters.waiting = reservations_.size();
  return counters;
}

}  // namespace cairn::pg
