// Pg: the gate of one placement group on one OSD.
//
// Purpose: decides for each operation whether it may run now, in which order, and when it may be
// acknowledged. TypeScript's peering says which interval it is, who acts, and which objects are
// missing where; everything per operation is here.
//
// Invariants
//  - Between start_interval() and activate() nothing is applied and nothing acknowledged. The
//    interval_started event comes only after every transaction submitted before is durable, so the
//    last_update that it reports does not change any more.
//  - A write is acknowledged when the local store and every other member of the acting set have it
//    durable, in the interval in which it was accepted.
//  - A read waits for every in-flight write of its object that it overlaps, also one that began
//    while the store read, and is served only under a lease of all other members (lease.hh).
//  - Log entries are numbered without gaps; a replica accepts only the next number of its interval.
//  - An operation on an object that is missing here, or a write to one that is missing on a member
//    of the acting set, waits until that object (and only that) is recovered.
//  - An operation under a fencing token is served only when the whole acting set has that token
//    durable and no higher one has been seen (fence.hh).
//  - The clone that a change's snap context asks for has every change of its head that was logged
//    before, and none after: it is made by the same log entry (snap_writes.cc).
//  - A resent mutation (same RequestId) is answered from the log, never applied again; one that the
//    log has forgotten is refused (dup_horizon.hh).
//
// It does not choose intervals, leaders or what is authoritative, and it knows no sockets.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/histogram.hh"
#include "base/ids.hh"
#include "net/messages.hh"
#include "net/messenger.hh"
#include "net/watch_messages.hh"
#include "object_store/object_store.hh"
#include "pg/client_op.hh"
#include "pg/dup_horizon.hh"
#include "pg/family_cache.hh"
#include "pg/fence.hh"
#include "pg/lease.hh"
#include "pg/missing.hh"
#include "pg/object_fetcher.hh"
#include "pg/outgoing.hh"
#include "pg/pg_host.hh"
#include "pg/pg_log.hh"
#include "pg/pg_values.hh"
#include "pg/recent_fills.hh"
#include "pg/scrub_gate.hh"
#include "pg/scrubber.hh"
#include "pg/snap_trimmer.hh"
#include "pg/watch.hh"

namespace cairn::pg {

class Pg : private ScrubGate, private ScrubEvents, private SnapTrimGate {
 public:
  static constexpr std::uint64_t kLogEntriesKept = kDefaultLogEntriesKept;
  // So many while a client that is heard may still resend the oldest of them.
  static constexpr std::uint64_t kMaxLogEntries = 2 * kLogEntriesKept;
  static constexpr std::uint64_t kMaxWaitingBytes = std::uint64_t{64} << 20;
  static constexpr std::size_t kMaxRecoveriesInFlight = 4;
  static constexpr std::uint64_t kWaitingOpBytes = 256;  // of one that waits, without its data

  // pg_num: of the pool, for a PG that has nothing yet; 0: it comes with load().
  Pg(PgHost& host, PgId id, std::uint32_t pg_num = 0);
  // From what the store held at its opening.
  Status load(const object_store::PgSnapshot& snapshot);

  PgId id() const { return id_; }
  Phase phase() const { return phase_; }
  const IntervalSpec& spec() const { return spec_; }
  PgInfo info() const;
  const PgLog& log() const { return log_; }
  const DupHorizon& horizon() const { return horizon_; }
  const std::map<std::string, Missing>& missing() const { return missing_; }
  const PgCounters& counters() const { return counters_; }
  // As the last scrub left it (set_scrub_record), opaque here; empty: never scrubbed.
  const std::string& scrub_record() const { return scrub_record_; }
  // How many PGs the pool had when this copy was last divided; 0: not known.
  std::uint32_t pg_num() const { return pg_num_; }
  // False: a split has given objects of this name to another PG. Its log may still have them.
  bool owns(std::string_view object) const;
  std::uint64_t peer_missing_count() const;
  // Age of the oldest operation that waits or is in flight, 0 when there is none.
  std::uint64_t oldest_operation_ns(std::uint64_t now_ns) const;

  // --- commands of peering
  void start_interval(IntervalSpec spec);
  void close() { start_interval({spec_.interval + 1, {}, 1, Role::stray, 0}); }  // it is to go
  void activate(Activation activation);
  // Primary: serves from now on (after all members activated and the monitor knows).
  void go_active();
  // Primary: recovers missing objects, at most this many at a time; 0 pauses.
  void set_recovery(std::size_t max_in_flight);
  // Primary, active: scrub.
  void start_scrub(ScrubSpec spec);
  void stop_scrub();
  // Primary: the scrub is over; all members keep this.
  void set_scrub_record(std::string record);
  // Primary, active: rids the objects of removed snapshots.
  void start_snap_trim(SnapTrimSpec spec);
  void stop_snap_trim();

  // --- pg_split.cc: for PgSplitter, while the gate is closed
  // Of a copy that has no number yet.
  void set_pg_num(std::uint32_t pg_num);
  // When twice as many PGs are made of those that there are.
  bool goes_to_child(std::string_view object) const;
  // What the child is to have of this PG but for objects, and what the store has to keep of both;
  // gave_child() when that is durable.
  void split_off(Pg& child, object_store::Transaction& transaction) const;
  void gave_child();
  void report_interval_again();

  // --- traffic
  void on_client_op(ClientOp&& op);
  void on_replicate(net::ConnectionId from, net::Replicate&& message, const Buffer& data);
  void on_replicate_ack(OsdId from, const net::ReplicateAck& ack);
  void on_watch_notify_ack(ClientId from, net::WatchNotifyAck ack);
  void forget_watches_of(ClientId client) { watches_.forget_client(client); }
  void on_pull(net::ConnectionId from, const net::Pull& pull);
  void on_push(net::ConnectionId connection, OsdId from, net::Push push, Buffer data);
  void on_push_ack(OsdId from, const net::PushAck& ack);
  void on_scrub_request(net::ConnectionId from, net::ScrubRequest request);
  void on_scrub_reply(OsdId from, net::ScrubReply reply);
  void on_mark_missing(net::ConnectionId from, const net::MarkMissing& message);
  void on_mark_missing_ack(OsdId from, const net::MarkMissingAck& ack);
  void on_lease_granted(OsdId replica, Epoch interval, std::uint64_t sent_ns);
  // Replica: false when it does not follow this primary in this interval.
  bool grant_lease(OsdId primary, Epoch interval);
  // The connection to a peer is new: what it has not acknowledged is sent again.
  void peer_reconnected(OsdId osd);
  // The map shows a peer down: what it was to give is asked of others.
  void peer_gone(OsdId osd);

 private:
  struct ObjectState {
    std::uint32_t in_flight_writes = 0;
    bool locked = false;  // an operation with reads before its write runs alone
    std::vector<ClientOp> waiting;
  };
  struct InFlightWrite {
    ClientOp op;
    net::OpReply reply;
    net::Replicate message;         // for a resend to a reconnected peer; its entry is in the log
    ObjectState* state = nullptr;   // of its object: stays while a write is in flight
    std::uint64_t waiting_for = 0;  // member_bit() of those that have not acknowledged; self too
    std::uint64_t begin = 0, end = 0;
    bool whole_object = false;
  };
  struct ReplicaAck {
    std::uint64_t number = 0;
    net::ConnectionId connection = 0;
    std::optional<std::uint64_t> started_ns;  // of a traced one
  };
  struct Recovery {
    std::uint64_t attempt = 0;  // tells it from one that was started anew
    OsdId pulling_from = kNoOsd;
    std::set<OsdId> pushing_to;
    std::vector<OsdId> tried;  // sources that could not give it
  };
  struct Arrived {
    net::ConnectionId connection = 0;
    net::Push push;
    Buffer data;
  };
  // An object that arrives by pushes.
  struct Incoming {
    std::uint64_t attempt = 0;  // its first part may come again
    bool is_dropping = false;   // the store is asked what goes with the first part
    std::deque<Arrived> held;   // parts behind that one
  };

  // pg.cc: admission and order
  void admit(ClientOp&& op);
  bool waits_for_recovery(const ClientOp& op);
  bool answer_duplicate(const ClientOp& op);
  bool is_forgotten(const ClientOp& op) const;
  // A change whose client has had its answer, and has gone on. It is in no log when there was
  // nothing to do, or a guard refused it; carried out now, it might find something to do.
  bool is_answered(const ClientOp& op) const;
  bool blocked_by_object(const ClientOp& op) const;
  void refuse(const ClientOp& op, ErrorCode code, std::string message);
  void reply(const ClientOp& op, net::OpReply reply, Buffer data);
  void release_object(const std::string& object);
  void drop_waiting();
  // Behind recovery of that object, which a client waits for.
  void wait_for_object(const std::string& object, ClientOp op);

  // fence_gate.cc
  // True: the operation has been refused (its client, its object or its token), or waits for its
  // token.
  bool held_by_fence(ClientOp& op);
  void refuse_fenced(const ClientOp& op);
  void load_fence(const std::string& key);
  void raise_fence(const net::Fence& fence);
  std::deque<ClientOp> take_fenced(const std::string& key);
  void release_fenced(const std::string& key);

  // pg_lease.cc
  bool has_lease_for(const ClientOp& op);
  void ask_for_lease();
  void wait_for_lease(ClientOp op);
  void retry_lease_later();
  bool waits_for_old_lease();

  // execute.cc: steps of an operation
  struct Running;  // an operation whose reading steps and guards are being carried out
  using Fetched = UniqueFunction<void(std::unique_ptr<Running>, FetchedRange)>;
  void execute(ClientOp&& op);
  void run_steps(std::unique_ptr<Running> running);
  void run_read(std::unique_ptr<Running> running, const net::Step& step);
  void run_exists(std::unique_ptr<Running> running, net::StepCode code);
  void exists_found(std::unique_ptr<Running> running, net::StepCode code, bool exists);
  void steps_done(std::unique_ptr<Running> running);
  // False when a higher token was seen meanwhile: the operation has been refused.
  bool fence_still_holds(std::unique_ptr<Running>& running);
  void fail_steps(std::unique_ptr<Running> running, ErrorCode code, std::string message);
  void merge_partial_write(std::unique_ptr<Running> running);
  void merge_and_commit(std::unique_ptr<Running> running, std::uint64_t begin, const Buffer& old);
  // not_found, invalid_argument: what the operation says about snapshots can't be.
  Status check_snaps(const net::OpRequest& request) const;
  // False when the interval is over: the operation has been refused.
  bool still_current(const Running& running);
  static bool needs_guard(const ClientOp& op);
  static bool whole_blocks(const ClientOp& op);
  // no_space when the store has no room for what the operation may add.
  Status room_for(const ClientOp& op) const;
  bool overlaps_in_flight(const ClientOp& op) const;
  // True: a write that the read overlaps began meanwhile, or layers that it looked at were filled;
  // it is carried out again behind that.
  bool read_again(Running& running);

  // omap_steps.cc
  struct OmapRead;
  void run_omap(std::unique_ptr<Running> running);
  void ask_omap(const std::shared_ptr<OmapRead>& read, std::size_t index);
  void omap_found(const std::shared_ptr<OmapRead>& read);
  void judge_omap(OmapRead& read);

  // snap_steps.cc: reading steps about blocks and layers
  struct Listing;
  struct LayerPair;
  void run_sparse_read(std::unique_ptr<Running> running, const net::Step& step);
  void run_extents(std::unique_ptr<Running> running, const net::Step& step);
  void extents_found(std::unique_ptr<Running> running, const net::Step& step, bool exists,
                     std::vector<net::ExtentRun> runs);
  void run_diff(std::unique_ptr<Running> running, const net::Step& step);
  // The older of the two layers, when the newer one came from another member.
  void fetch_older_layer(std::unique_ptr<Running> running, const Status& damage, std::uint64_t from,
                         std::shared_ptr<LayerPair> pair);
  void run_list(std::unique_ptr<Running> running, const net::Step& step);
  void list_next(const std::shared_ptr<Listing>& listing);
  static Status take_page(Listing& listing, const std::vector<object_store::ListedObject>& found);
  void measure_next(const std::shared_ptr<Listing>& listing);

  // layers.cc
  struct LayerRead;
  static LayerRead layer_read(const Running& running, std::uint64_t offset, std::uint64_t length);
  void read_layer(LayerRead read);
  void read_head(LayerRead read);
  void read_known_layer(LayerRead read, std::optional<std::uint64_t> layer);
  void info_of_layer(const std::string& object, std::optional<std::uint64_t> layer,
                     const object_store::ObjectInfo& head, object_store::InfoDone done);
  // from 0: against nothing.
  void compare_layers(const std::string& object, std::uint64_t from, std::uint64_t to,
                      UniqueFunction<void(Status, LayerPair)> done);

  // snap_writes.cc
  void load_family(std::unique_ptr<Running> running);
  // What the store said of the head as a family; none: the operation has failed, or is over.
  std::optional<Family> family_found(std::unique_ptr<Running>& running, const Status& status,
                                     bool stored, const Version& version, std::string_view attr);
  void run_copyup(std::unique_ptr<Running> running);
  // Behind all guards: gives the lock back and commits.
  void commit_running(std::unique_ptr<Running> running);
  // With what snapshots ask for. What the operation depends on is in the cache.
  void commit_change(ClientOp&& op, net::OpReply reply);

  // sparsify.cc
  struct ZeroSearch;
  // Reads the object beside other operations on it; then the operation passes the gate again.
  void find_zeros(ClientOp op);
  void search_next(const std::shared_ptr<ZeroSearch>& search);
  void run_sparsify(std::unique_ptr<Running> running);

  // layer_steps.cc: several layers at once
  struct LayerLook;
  void run_lacking(std::unique_ptr<Running> running, const net::Step& step);
  void run_fill(std::unique_ptr<Running> running);
  // Finds the family and the blocks of its layers.
  void look_at_layers(std::unique_ptr<LayerLook> look);
  void look_at_next(std::unique_ptr<LayerLook> look);
  void commit_fill(std::unique_ptr<LayerLook> look);

  // pg_snap_trim.cc: SnapTrimGate, and the change of an object
  PgId trimmed_pg() const override { return id_; }
  io::Executor& trim_executor() override { return host_.executor(); }
  object_store::ObjectStore& trim_store() override { return host_.store(); }
  std::vector<std::string> missing_objects() const override;
  void trim_object(const std::string& object) override;
  void trim_done(std::uint64_t id, const Status& status) override;
  void execute_trim(ClientOp&& op);
  void commit_trim(ClientOp&& op);

  // watch_steps.cc
  void run_watch(std::unique_ptr<Running> running, const net::Step& step);
  void run_list_watchers(std::unique_ptr<Running> running);
  void run_notify(std::unique_ptr<Running> running, const net::Step& step);

  // replication.cc
  void commit_write(ClientOp&& op, net::OpReply reply, const FamilyPlan& plan);
  void send_to_members(const InFlightWrite& write);
  // Adds what an entry does to the transaction.
  void add_steps(const net::LogEntry& entry, const std::vector<net::Step>& steps,
                 const Buffer& data, object_store::Transaction& transaction) const;
  void apply_entry(net::LogEntry&& entry, const std::vector<net::Step>& steps, const Buffer& data,
                   std::uint64_t trim_to);
  void entry_durable(std::uint64_t number);
  void acknowledge_entry(std::uint64_t number);
  void acknowledge(const ReplicaAck& ack);
  // Of the acting set; 0: not in it.
  std::uint64_t member_bit(OsdId osd) const;
  void member_done(std::uint64_t number, OsdId member);
  // For the trace of a write: it has become durable there.
  void note_commit(std::uint64_t number, OsdId member, std::uint64_t commit_ns);
  void finish_write(InFlightWrite& write);
  std::uint64_t trim_point();
  // Forgets log entries, but not that there were such requests.
  void trim_log(std::uint64_t up_to_number, object_store::Transaction& transaction);
  // Hands a transaction to the store; done runs when it is durable, whatever the interval is then.
  void submit(object_store::Transaction transaction, object_store::Done done);
  void check_outcome(const Status& status, bool is_logged);
  void report_interval_when_quiet();

  // recovery.cc
  void pump_recovery();
  void start_recovery(const std::string& object);
  void pull_object(const std::string& object);
  OsdId next_source(const std::string& object) const;
  void report_unfound(const std::string& object);
  void remove_missing(const std::string& object);
  void push_object(const std::string& object);
  void push_applied(const net::Push& push, net::ConnectionId connection, const Status& status);
  void retry_recovery(const std::string& object);
  void pull_failed(const std::string& object, const Status& status);
  void retry_unfound(const std::string& object, const Status& status);
  void recovery_step_done(const std::string& object);
  bool object_is_missing_anywhere(const std::string& object) const;
  void report_progress();

  // push_source.cc
  // False when the interval or the attempt that it belongs to is over.
  bool wanted_still(const Outgoing& outgoing) const;
  void send_object(std::shared_ptr<Outgoing> outgoing);
  void send_next_layer(std::shared_ptr<Outgoing> outgoing);
  void send_next_part(std::shared_ptr<Outgoing> outgoing);
  void fill_part(std::shared_ptr<Outgoing> outgoing);
  void read_piece(std::shared_ptr<Outgoing> outgoing);
  void add_piece(Outgoing& outgoing, const ReadPiece& piece,
                 const object_store::ReadResult& read) const;
  void deliver_part(Outgoing& outgoing);

  // push_target.cc
  // Finds what the copy has of the family, to drop it with the first part.
  void drop_layers(net::ConnectionId connection, net::Push push, Buffer data);
  void take_part(net::ConnectionId connection, const net::Push& push, Buffer data,
                 const std::vector<std::uint64_t>& old_layers);
  void apply_push(const net::Push& push, const Buffer& data,
                  const std::vector<std::uint64_t>& old_layers, object_store::Done done);

  // pg_scrub.cc: ScrubGate, and reads that meet a bad block
  PgId pg() const override { return id_; }
  Epoch interval() const override { return spec_.interval; }
  OsdId own_id() const override { return host_.self(); }
  const std::vector<OsdId>& members() const override { return spec_.acting; }
  io::Executor& scrub_executor() override { return host_.executor(); }
  object_store::ObjectStore& scrub_store() override { return host_.store(); }
  ScrubEvents& scrub_events() override { return *this; }
  void send_to_member(OsdId osd, net::Frame frame) override;
  bool take_scrub_place() override { return host_.take_scrub_place(id_); }
  void leave_scrub_place() override { host_.leave_scrub_place(id_); }
  bool is_quiet(const NameRange& range) const override;
  bool is_object_quiet(const std::string& object) const override;
  void hold_ended(const NameRange& range) override;
  bool is_unsettled(const std::string& object) const override;
  const net::LogEntry* newest_entry(const std::string& object) const override;
  void close_object(const std::string& object) override;
  void open_object(const std::string& object) override;
  void lose_copies(const std::string& object, const std::vector<OsdId>& copies,
                   const std::vector<OsdId>& sources, const Version& version) override;
  void lose_own_copy(const std::string& object, const Version& version, object_store::Done done);
  // ScrubEvents: counted here, then handed on
  void on_scrub_object(PgId pg, Epoch interval, std::uint64_t id, const ObjectVerdict& verdict,
                       bool repaired) override;
  void on_scrub_progress(PgId pg, Epoch interval, std::uint64_t id, const std::string& after,
                         const ScrubCounts& counts) override;
  void on_scrub_done(PgId pg, Epoch interval, std::uint64_t id, const Status& status) override;
  void on_read_repair(PgId pg, const std::string& object, const std::string& damage,
                      const Status& status) override;
  // True when the operation was taken over: it waits until the local copy is replaced.
  bool repair_and_retry(Running& running, const Status& status);
  // True when the operation was taken over: what the own disk can't give is repaired and read
  // again, or, when that was no help, asked of the other members. `then` goes on with it, with no
  // operation on the object beside it.
  bool helped_by_others(std::unique_ptr<Running>& running, const Status& damage,
                        const FetchWanted& wanted, Fetched then);
  // Ends an operation that the own disk has not told what it needs of an object's metadata, which a
  // repair can't bring back.
  void fail_read(std::unique_ptr<Running> running, const Status& status);
  // What the client is told of that: while there are other copies it asks again when the disk gave
  // nothing, until another OSD leads. Each counts as a read that failed, and an OSD with many of
  // them ends (osd/read-errors.ts).
  ErrorCode refusal_of(const std::string& object, const Status& status);
  // A push or a pull met damage in the local copy, or it can't be read.
  void source_failed(const Outgoing& outgoing, const Status& status);
  std::vector<OsdId> other_holders(const std::string& object) const;
  void keep_scrub_record(const std::string& record, object_store::Done done);
  void recheck_scrub();

  ObjectId object_id(const std::string& name) const { return ObjectId{id_.pool, name, kHead}; }
  ObjectId layer_id(const std::string& name, std::uint64_t clone) const {
    return ObjectId{id_.pool, name, clone};
  }
  bool current(Epoch interval) const { return interval == spec_.interval; }
  std::string encode_info() const { return encode_info(pg_num_); }
  std::string encode_info(std::uint32_t pg_num) const;

  PgHost& host_;
  PgId id_;
  std::uint32_t pg_num_ = 0;
  IntervalSpec spec_;
  Phase phase_ = Phase::peering;
  PgLog log_;
  DupHorizon horizon_;
  std::uint64_t first_held_ = 0;  // where trim_point() has last found an entry held
  Epoch last_epoch_started_ = 0;

  std::map<std::uint64_t, InFlightWrite> in_flight_;      // by entry number
  std::unordered_map<std::string, ObjectState> objects_;  // only objects with something under way
  FamilyCache families_;
  RecentFills fills_;
  std::deque<ClientOp> waiting_for_active_;
  std::deque<ClientOp> waiting_for_lease_;
  std::uint64_t waiting_bytes_ = 0;
  FenceTable fence_;
  std::unordered_map<std::string, std::deque<ClientOp>> waiting_for_fence_;  // by fence key
  WatchTable watches_;
  std::uint64_t active_since_ns_ = 0;
  std::uint64_t undurable_ = 0;  // local transactions not yet durable
  bool interval_report_due_ = false;
  std::deque<ReplicaAck> replica_acks_;  // replica: entries to acknowledge, ascending

  ReadLease lease_;
  GrantedLease granted_lease_;
  std::uint64_t lease_asked_ns_ = 0;  // when it was asked for and not yet granted
  bool lease_retry_due_ = false;
  std::uint64_t serve_not_before_ns_ = 0;  // an older primary's lease may last until then

  std::map<std::string, Missing> missing_;
  // Of these, those whose copy here was called bad in this life of the OSD: what is left of it says
  // nothing, not even of its layers.
  std::set<std::string> bad_copies_;
  std::map<OsdId, std::set<std::string>> peer_missing_;
  std::vector<OsdId> sources_;
  std::vector<OsdId> other_sources_;
  std::size_t recovery_limit_ = 0;
  std::map<std::string, Recovery> recovering_;
  std::uint64_t recovery_attempts_ = 0;
  std::map<std::string, Incoming> incoming_;
  std::uint64_t incoming_attempts_ = 0;
  // What has arrived whole in this interval, so that parts of an abandoned attempt can't undo it.
  std::set<std::string> received_;
  std::deque<std::string> wanted_;  // objects that a client waits for
  std::map<std::string, std::deque<ClientOp>> waiting_for_object_;
  // Who to ask first for a missing object whose copy here was bad.
  std::map<std::string, std::vector<OsdId>> repair_sources_;
  std::string scrub_record_;
  ScrubReader scrub_reader_;
  MemberRequests scrub_requests_;
  ObjectFetcher fetcher_;
  Repairer repairer_;
  Scrubber scrubber_;
  SnapTrimmer trimmer_;
  PgCounters counters_;
};

}  // namespace cairn::pg
