// OsdCore: the native half of an OSD daemon. It owns the PGs, dispatches frames to them, keeps the
// links to peers, and hands control messages and events to TypeScript (OsdEvents).
//
// Invariants: it runs on one executor and owns no thread. An operation of a client whose map is
// newer than ours waits until TypeScript has brought that map and the intervals that follow from
// it. It computes no placement and decides no interval.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/flat_map.hh"
#include "io/scoped_executor.hh"
#include "net/lease_messages.hh"
#include "net/messenger.hh"
#include "object_store/object_store.hh"
#include "pg/heartbeat.hh"
#include "pg/peer_links.hh"
#include "pg/pg.hh"
#include "pg/pg_splitter.hh"
#include "pg/reservation_queue.hh"

namespace cairn::pg {

// What TypeScript hears; every method is called on the core's executor.
class OsdEvents : public ScrubEvents {
 public:
  virtual void on_interval_started(PgId pg, Epoch interval, const PgInfo& info) = 0;
  virtual void on_activated(PgId pg, Epoch interval, const Status& status) = 0;
  virtual void on_recovery_progress(PgId pg, Epoch interval, std::uint64_t missing_count) = 0;
  virtual void on_recovery_failed(PgId pg, Epoch interval, const std::string& object,
                                  const Status& status) = 0;
  virtual void on_control(const net::Entity& from, ByteSpan body) = 0;
  virtual void on_need_map(Epoch at_least) = 0;
  virtual void on_peer_failed(OsdId osd, std::uint64_t incarnation, const std::string& reason) = 0;
  // A peer that was reported answers again.
  virtual void on_peer_recovered(OsdId, std::uint64_t /*incarnation*/) {}
  virtual void on_store_failed(const Status& status) = 0;
  // ok: no object of the PG has anything of the snapshots that were given.
  virtual void on_snap_trim_done(PgId, Epoch, std::uint64_t /*id*/, const Status&) {}
};

struct PgStatus {
  PgId pg;
  IntervalSpec spec;
  Phase phase = Phase::peering;
  PgInfo info;
  std::uint64_t peer_missing_count = 0;
  std::uint64_t object_count = 0;
  std::uint64_t stored_bytes = 0;
  std::string scrub_record;
  std::uint32_t pg_num = 0;  // when it was last split; 0: not known
};

// Of the operations of clients, those that wait for others' reservations.
struct ReservationCounters {
  std::uint64_t queued = 0;  // so far
  std::uint64_t waiting = 0;
  Histogram waited_ns;
};

class OsdCore : public net::MessengerHandler,
                private PgHost,
                private HeartbeatHost,
                private PeerLinksHost,
                private PgSplitterHost {
 public:
  OsdCore(io::Executor& executor, object_store::ObjectStore& store, OsdEvents& events, OsdId self);
  ~OsdCore() override;
  // The messenger needs the core as its handler, so it comes second.
  void attach(net::Messenger& messenger);
  // Before the messenger goes: closes the links; nothing is sent or heard any more.
  void detach();
  // Loads the PGs from the store (blocking).
  Status load();

  // --- from TypeScript
  // The intervals that follow from this epoch have been started.
  void set_map_epoch(Epoch epoch);
  void set_peers(const std::vector<Peer>& peers);
  void set_full(bool full) { full_ = full; }
  // Of the map; before set_map_epoch() of the epoch that has it: an operation that was sent with
  // that epoch meets it. Their operations are refused, also those that wait already.
  void set_blocklist(std::vector<ClientId> clients);
  // Of the map: snapshots of the pool that count as not there. Before set_map_epoch(), as above.
  void set_removed_snaps(PoolId pool, RemovedSnaps snaps) {
    removed_snaps_[pool] = std::move(snaps);
  }
  // Of all pools.
  void set_removed_snaps(std::map<PoolId, RemovedSnaps> pools) {
    removed_snaps_ = std::move(pools);
  }
  void set_log_entries_kept(std::uint64_t entries) { log_entries_kept_ = entries; }
  // While somebody has a reservation, so many operations are under way at a time.
  void set_operations_under_way(std::uint64_t bound) { under_way_bound_ = bound; }
  ReservationCounters reservation_counters() const;
  void loop_tick() { loop_tick_ns_ = executor_.now_ns(); }
  // The pool has so many PGs: this copy is split before it, or a child of it, says anything about
  // an interval that starts afterwards (pg_splitter.hh). Before the start_interval() calls of the
  // epoch.
  void set_pg_num(PgId pg, std::uint32_t pg_num) { splitter_.want(pg, pg_num); }
  void start_interval(PgId pg, IntervalSpec spec);
  void activate(PgId pg, Activation activation);
  void go_active(PgId pg, Epoch interval);
  void set_recovery(PgId pg, Epoch interval, std::size_t max_in_flight);
  void start_scrub(PgId pg, Epoch interval, ScrubSpec spec);
  void stop_scrub(PgId pg, Epoch interval);
  void set_scrub_record(PgId pg, Epoch interval, std::string record);
  // on_snap_trim_done() follows, unless a new interval comes first.
  void start_snap_trim(PgId pg, Epoch interval, SnapTrimSpec spec);
  void stop_snap_trim(PgId pg, Epoch interval);
  bool take_scrub_place(PgId pg) override;
  void leave_scrub_place(PgId pg) override;
  void remove_pg(PgId pg);
  // Queued until the link is up; lost when the peer leaves the map.
  void send_control(OsdId osd, ByteSpan body);
  std::vector<PgStatus> pg_statuses() const;
  const Pg* find_pg(PgId pg) const;
  PgCounters counters() const;
  std::uint64_t oldest_operation_ns() const;
  std::vector<std::pair<OsdId, std::uint64_t>> round_trips() const;

  // --- MessengerHandler
  // permission_denied: an OSD that claims our id, or that of a peer whose incarnation in the map is
  // another one (it may also be our map that is old: it dials again).
  Status admit(const net::Entity& peer) override;
  void on_accepted(net::ConnectionId connection, const net::Entity& peer) override;
  void on_connected(net::ConnectionId connection, const net::Entity& peer) override;
  void on_frame(net::ConnectionId connection, net::Frame frame) override;
  void on_closed(net::ConnectionId connection, const Status& reason) override;

 private:
  // PgHost
  object_store::ObjectStore& store() override { return store_; }
  io::Executor& executor() override { return executor_; }
  OsdId self() const override { return self_; }
  Epoch map_epoch() const override { return map_epoch_; }
  bool full() const override { return full_; }
  const RemovedSnaps& removed_snaps(PoolId pool) const override;
  bool blocklisted(ClientId client) const override { return blocklist_.contains(client); }
  std::uint64_t log_entries_kept() const override { return log_entries_kept_; }
  void send_to_osd(OsdId osd, net::Frame frame) override;
  bool is_peer(OsdId osd) const override;
  void send_on(net::ConnectionId connection, net::Frame frame) override;
  void request_lease(const Pg& pg) override;
  void interval_started(PgId pg, Epoch interval, const PgInfo& info) override;
  void activated(PgId pg, Epoch interval, const Status& status) override;
  void store_refused(PgId pg, const Status& status) override;
  void recovery_progress(PgId pg, Epoch interval, std::uint64_t missing_count) override;
  void recovery_failed(PgId pg, Epoch interval, const std::string& object,
                       const Status& status) override;
  ScrubEvents& scrub_events() override { return events_; }
  void snap_trim_done(PgId pg, Epoch interval, std::uint64_t id, const Status& status) override {
    events_.on_snap_trim_done(pg, interval, id, status);
  }
  // HeartbeatHost
  void send_ping(OsdId osd, const net::Ping& ping) override;
  net::Ping current_ping() override;
  void peer_failed(OsdId osd, std::uint64_t incarnation, const std::string& reason) override;
  void peer_recovered(OsdId osd, std::uint64_t incarnation) override;
  // PeerLinksHost
  void on_link_up(OsdId osd) override;
  void on_link_refused(OsdId osd, std::uint64_t incarnation) override;

  // PgSplitterHost: osd_splits.cc
  object_store::ObjectStore& split_store() override { return store_; }
  Pg* find_for_split(PgId pg) override { return find(pg); }
  std::unique_ptr<Pg> make_for_split(PgId pg) override;
  void child_made(std::unique_ptr<Pg> child) override;
  void split_over(PgId pg, bool holds_report) override;
  void split_failed(PgId parent, const Status& status) override;
  void remove_half_made(const std::vector<PgId>& half_made);
  bool waits_for_split(PgId pg) const;

  Status dispatch(net::ConnectionId connection, const net::Entity& peer, net::Frame& frame);
  Status dispatch_osd(net::ConnectionId connection, const net::Entity& peer, net::Frame& frame);
  Status dispatch_scrub(net::ConnectionId connection, OsdId from, const net::Frame& frame);
  Status dispatch_lease(net::ConnectionId connection, OsdId osd, const net::Frame& frame);
  void grant_leases(net::ConnectionId connection, OsdId primary, net::Lease lease);
  void leases_granted(OsdId replica, const net::Lease& lease);
  void handle_op(ClientOp&& op);
  // osd_reservations.cc: behind the map, in front of the PG.
  void admit_op(ClientOp&& op);
  void begin_op(ClientOp&& op);
  void begin_waiting_ops();
  void refuse(const ClientOp& op, ErrorCode code, const char* message);
  void check_store();
  void release_memory();
  void release_buffers();
  Pg* find(PgId pg) const;
  Pg& add_pg(PgId id, std::unique_ptr<Pg> pg);

  io::ScopedExecutor executor_;
  object_store::ObjectStore& store_;
  OsdEvents& events_;
  OsdId self_;
  net::Messenger* messenger_ = nullptr;
  Heartbeat heartbeat_;
  PeerLinks links_;
  std::unordered_map<PgId, std::unique_ptr<Pg>, PgIdHash> pgs_;
  FlatMap<PgId, Pg*, PgIdHash> pg_index_;  // the same ones, for find()
  std::vector<std::unique_ptr<Pg>> removed_;
  PgSplitter splitter_;
  std::map<PgId, IntervalSpec> starts_behind_splits_;  // of PGs that a split is to make
  std::set<PgId> removals_behind_splits_;              // PGs that go when their splits are over
  std::unordered_map<net::ConnectionId, net::Entity> connections_;
  std::map<OsdId, std::vector<std::vector<std::byte>>> queued_control_;
  std::deque<ClientOp> waiting_for_map_;
  std::shared_ptr<OpCount> under_way_ = std::make_shared<OpCount>();
  std::uint64_t under_way_bound_ = 128;
  ReservationQueue<ClientOp> reservations_;
  ReservationCounters reservation_counters_;
  std::uint64_t silent_forgotten_ns_ = 0;
  bool begin_due_ = false;
  // The PG that this OSD takes part in scrubbing, and until when that holds without a new question.
  std::optional<PgId> scrub_place_;
  std::uint64_t scrub_place_until_ns_ = 0;
  Epoch map_epoch_ = 0;
  bool full_ = false;
  std::unordered_set<ClientId> blocklist_;
  std::map<PoolId, RemovedSnaps> removed_snaps_;
  std::uint64_t log_entries_kept_ = kDefaultLogEntriesKept;
  bool store_failure_reported_ = false;
  std::uint64_t loop_tick_ns_ = 0;
  std::map<OsdId, std::uint64_t> leases_asked_ns_;  // when all those of a peer were asked for
  std::vector<Peer> peers_;
};

}  // namespace cairn::pg
