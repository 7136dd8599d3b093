// Heartbeats between OSDs: see heartbeat.hh.
#include "pg/heartbeat.hh"

#include <utility>

namespace cairn::pg {

void Heartbeat::set_peers(const std::vector<Peer>& peers) {
  std::map<OsdId, State> next;
  for (const Peer& peer : peers) {
    const auto known = peers_.find(peer.osd);
    if (known != peers_.end() && known->second.incarnation == peer.incarnation) {
      next[peer.osd] = known->second;
    } else {
      next[peer.osd] = State{peer.incarnation, host_.executor().now_ns(), 0, 0};
    }
  }
  peers_ = std::move(next);
  if (timer_ == 0) {
    last_tick_ns_ = host_.executor().now_ns();
    timer_ = host_.executor().run_after(kIntervalNs, [this] { tick(); });
  }
}

void Heartbeat::tick() {
  const std::uint64_t now = host_.executor().now_ns();
  // If this process itself was stopped, the silence was ours: everybody gets a new chance.
  const bool was_stopped = now - last_tick_ns_ > kGraceNs / 2;
  last_tick_ns_ = now;
  const net::Ping ping = host_.current_ping();
  for (auto& [osd, state] : peers_) {
    if (was_stopped) state.heard_ns = now;
    host_.send_ping(osd, ping);
    if (now - state.heard_ns > kGraceNs) report(osd, state, "heartbeat_timeout");
  }
  timer_ = host_.executor().run_after(kIntervalNs, [this] { tick(); });
}

void Heartbeat::report(OsdId osd, State& state, const std::string& reason) {
  const std::uint64_t now = host_.executor().now_ns();
  if (state.reported_ns != 0 && now - state.reported_ns < kGraceNs) return;
  state.reported_ns = now;
  host_.peer_failed(osd, state.incarnation, reason);
}

void Heartbeat::on_pong(OsdId osd, std::uint64_t incarnation, const net::Ping& pong) {
  const auto found = peers_.find(osd);
  if (found == peers_.end() || found->second.incarnation != incarnation) return;
  State& state = found->second;
  state.heard_ns = host_.executor().now_ns();
  state.round_trip_ns = state.heard_ns - pong.sent_ns;
  if (pong.loop_age_ms > kMaxLoopAgeMs) return report(osd, state, "loop_hung");
  if (pong.disk_age_ms > kMaxDiskAgeMs) return report(osd, state, "disk_hung");
  if (std::exchange(state.reported_ns, 0) != 0) host_.peer_recovered(osd, state.incarnation);
}

void Heartbeat::on_refused(OsdId osd, std::uint64_t incarnation) {
  const auto found = peers_.find(osd);
  if (found == peers_.end() || found->second.incarnation != incarnation) return;
  report(osd, found->second, "connection_refused");
}

std::uint64_t Heartbeat::round_trip_ns(OsdId osd) const {
  const auto found = peers_.find(osd);
  return found == peers_.end() ? 0 : found->second.round_trip_ns;
}

}  // namespace cairn::pg
