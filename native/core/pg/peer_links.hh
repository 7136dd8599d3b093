// PeerLinks: one outgoing connection per peer OSD, dialed on demand and again after a loss, while
// the map says that the peer is up. Frames to a peer that is not connected are dropped: the PGs
// send again after on_link_up. It owns no policy about failure.
#pragma once

#include <map>
#include <memory>
#include <unordered_map>

#include "io/executor.hh"
#include "net/messenger.hh"
#include "pg/heartbeat.hh"

namespace cairn::pg {

class PeerLinksHost {
 public:
  virtual ~PeerLinksHost() = default;
  virtual void on_link_up(OsdId osd) = 0;
  virtual void on_link_refused(OsdId osd, std::uint64_t incarnation) = 0;
};

class PeerLinks {
 public:
  static constexpr std::uint64_t kRedialNs = 100'000'000;

  PeerLinks(io::Executor& executor, PeerLinksHost& host) : executor_(executor), host_(host) {}
  void attach(net::Messenger& messenger) { messenger_ = &messenger; }
  // Closes links to peers that are gone or have another incarnation, dials new ones.
  void set_peers(const std::vector<Peer>& peers);
  bool send(OsdId osd, net::Frame frame);
  // True when the connection was one of these links.
  bool on_connected(net::ConnectionId connection);
  bool on_closed(net::ConnectionId connection, const Status& reason);
  // The OSD at the other end of a link, kNoOsd for other connections.
  OsdId osd_of(net::ConnectionId connection) const;

 private:
  struct Link {
    Peer peer;
    net::ConnectionId connection = 0;
    std::uint64_t up_since_ns = 0;
    bool up = false;
  };
  void dial(OsdId osd);
  // Nothing happens when the links are gone by then.
  void dial_after(std::uint64_t delay_ns, OsdId osd);

  io::Executor& executor_;
  PeerLinksHost& host_;
  net::Messenger* messenger_ = nullptr;
  std::map<OsdId, Link> links_;
  std::unordered_map<net::ConnectionId, OsdId> by_connection_;
  std::shared_ptr<const bool> life_ = std::make_shared<const bool>(true);
};

}  // namespace cairn::pg
