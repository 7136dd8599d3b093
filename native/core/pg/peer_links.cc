// Outgoing connections to peer OSDs: see peer_links.hh.
#include "pg/peer_links.hh"

namespace cairn::pg {

void PeerLinks::set_peers(const std::vector<Peer>& peers) {
  std::map<OsdId, Link> next;
  for (const Peer& peer : peers) {
    const auto known = links_.find(peer.osd);
    if (known != links_.end() && known->second.peer.incarnation == peer.incarnation &&
        known->second.peer.address == peer.address) {
      next[peer.osd] = known->second;
      links_.erase(known);
    } else {
      next[peer.osd] = Link{peer, 0, 0, false};
    }
  }
  std::map<OsdId, Link> gone = std::exchange(links_, std::move(next));
  for (const auto& [osd, link] : gone) {
    if (link.connection == 0) continue;
    by_connection_.erase(link.connection);
    messenger_->close(link.connection, Status(ErrorCode::canceled, "the peer left the map"));
  }
  for (const auto& [osd, link] : links_) {
    if (link.connection == 0) dial(osd);
  }
}

void PeerLinks::dial(OsdId osd) {
  const auto found = links_.find(osd);
  if (found == links_.end() || found->second.connection != 0) return;
  Link& link = found->second;
  const net::Entity expected{net::EntityKind::osd, static_cast<std::uint64_t>(osd),
                             link.peer.incarnation};
  link.connection = messenger_->connect(link.peer.address, expected);
  by_connection_[link.connection] = osd;
}

bool PeerLinks::send(OsdId osd, net::Frame frame) {
  const auto found = links_.find(osd);
  if (found == links_.end() || !found->second.up) return false;
  messenger_->send(found->second.connection, std::move(frame));
  return true;
}

bool PeerLinks::on_connected(net::ConnectionId connection) {
  const auto found = by_connection_.find(connection);
  if (found == by_connection_.end()) return false;
  Link& link = links_[found->second];
  link.up = true;
  link.up_since_ns = executor_.now_ns();
  host_.on_link_up(found->second);
  return true;
}

bool PeerLinks::on_closed(net::ConnectionId connection, const Status& reason) {
  const auto found = by_connection_.find(connection);
  if (found == by_connection_.end()) return false;
  const OsdId osd = found->second;
  by_connection_.erase(found);
  Link& link = links_[osd];
  const bool was_up = link.up;
  link.up = false;
  link.connection = 0;
  // A refused dial means that no process listens there; wrong_daemon: another one does;
  // permission_denied: the peer is there, and its map does not know us yet.
  const bool refused = !was_up && reason.code() != ErrorCode::permission_denied &&
                       (reason.message().find("refused") != std::string::npos ||
                        reason.code() == ErrorCode::wrong_daemon);
  if (refused) host_.on_link_refused(osd, link.peer.incarnation);
  // The first dial after the loss of a good link is immediate: it tells a dead process from a lost
  // connection. A peer that hangs up again and again is dialed at a pace.
  const bool was_good = was_up && executor_.now_ns() - link.up_since_ns >= kRedialNs;
  dial_after(was_good ? 0 : kRedialNs, osd);
  return true;
}

void PeerLinks::dial_after(std::uint64_t delay_ns, OsdId osd) {
  executor_.run_after(delay_ns, [this, life = std::weak_ptr<const bool>(life_), osd] {
    if (!life.expired()) dial(osd);
  });
}

OsdId PeerLinks::osd_of(net::ConnectionId connection) const {
  const auto found = by_connection_.find(connection);
  return found == by_connection_.end() ? kNoOsd : found->second;
}

}  // namespace cairn::pg
