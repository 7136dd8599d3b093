// Heartbeat: tells within a bounded time that a peer OSD does not answer. Native, so that a busy or
// hung TypeScript loop can't fake a failure of others; its own age is carried in each ping instead.
//
// Every kIntervalNs each peer gets a ping. A peer that has not answered for kGraceNs is reported,
// and again each kGraceNs while it stays silent. A refused connection is reported at once: the
// process is gone. The first good answer after a report takes it back. It decides nothing: the
// monitor does.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/ids.hh"
#include "io/executor.hh"
#include "net/messages.hh"
#include "net/messenger.hh"

namespace cairn::pg {

struct Peer {
  OsdId osd = kNoOsd;
  net::Address address;
  std::uint64_t incarnation = 0;
};

class HeartbeatHost {
 public:
  virtual ~HeartbeatHost() = default;
  virtual io::Executor& executor() = 0;
  virtual void send_ping(OsdId osd, const net::Ping& ping) = 0;
  virtual net::Ping current_ping() = 0;
  // reason: "heartbeat_timeout" | "connection_refused" | "loop_hung" | "disk_hung"
  virtual void peer_failed(OsdId osd, std::uint64_t incarnation, const std::string& reason) = 0;
  // A peer that was reported answers again, with no complaint about itself.
  virtual void peer_recovered(OsdId osd, std::uint64_t incarnation) = 0;
};

class Heartbeat {
 public:
  static constexpr std::uint64_t kIntervalNs = 250'000'000;
  static constexpr std::uint64_t kGraceNs = 1'200'000'000;
  static constexpr std::uint32_t kMaxLoopAgeMs = 10'000;
  static constexpr std::uint32_t kMaxDiskAgeMs = 10'000;

  explicit Heartbeat(HeartbeatHost& host) : host_(host) {}
  ~Heartbeat() { host_.executor().cancel(timer_); }
  // The peers to watch from now on; a known incarnation keeps its history.
  void set_peers(const std::vector<Peer>& peers);
  void on_pong(OsdId osd, std::uint64_t incarnation, const net::Ping& pong);
  void on_refused(OsdId osd, std::uint64_t incarnation);
  std::uint64_t round_trip_ns(OsdId osd) const;

 private:
  struct State {
    std::uint64_t incarnation = 0;
    std::uint64_t heard_ns = 0;
    std::uint64_t reported_ns = 0;
    std::uint64_t round_trip_ns = 0;
  };
  void tick();
  void report(OsdId osd, State& state, const std::string& reason);

  HeartbeatHost& host_;
  std::map<OsdId, State> peers_;
  io::TimerId timer_ = 0;
  std::uint64_t last_tick_ns_ = 0;
};

}  // namespace cairn::pg
