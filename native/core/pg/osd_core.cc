// Dispatch of frames to PGs and of events to TypeScript: see osd_core.hh.
#include "pg/osd_core.hh"

#include <algorithm>
#include <utility>

#include "base/heap_cache.hh"
#include "net/handshake.hh"

namespace cairn::pg {

namespace {
constexpr std::size_t kMaxWaitingForMap = 10'000;
constexpr std::size_t kMaxQueuedControl = 10'000;
// Longer than a checkpoint cycle under load, so that its memory is not released within it.
constexpr std::uint64_t kReleaseIntervalNs = 5'000'000'000;
// 8 MiB at a time: what buffers keep at most, 128 MiB, takes four seconds.
constexpr std::uint64_t kReleaseStepNs = 250'000'000;
}  // namespace

OsdCore::OsdCore(io::Executor& executor, object_store::ObjectStore& store, OsdEvents& events,
                 OsdId self)
    : executor_(executor),
      store_(store),
      events_(events),
      self_(self),
      heartbeat_(*this),
      links_(executor_, *this),
      splitter_(*this),
      loop_tick_ns_(executor.now_ns()) {}

// Operations may outlive it in callbacks of the store.
OsdCore::~OsdCore() { under_way_->on_free(nullptr); }

void OsdCore::attach(net::Messenger& messenger) {
  messenger_ = &messenger;
  links_.attach(messenger);
  keep_heaps_small();
  release_memory();
}

void OsdCore::release_memory() {
  store_.release_memory();
  if (release_heap_cache()) trim_heaps();
  release_buffers();
}

// What they need is judged by a whole interval: it begins when the last step is done.
void OsdCore::release_buffers() {
  if (Buffer::release_unused())
    executor_.run_after(kReleaseStepNs, [this] { release_buffers(); });
  else
    executor_.run_after(kReleaseIntervalNs, [this] { release_memory(); });
}

void OsdCore::detach() {
  set_peers({});
  connections_.clear();
  messenger_ = nullptr;
}

Status OsdCore::load() {
  auto snapshots = store_.load_pgs();
  if (!snapshots) return snapshots.status();
  std::vector<PgId> half_made;
  for (const object_store::PgSnapshot& snapshot : *snapshots) {
    if (is_half_made(snapshot)) {
      half_made.push_back(snapshot.pg);
      continue;
    }
    PgHost& host = *this;
    auto pg = std::make_unique<Pg>(host, snapshot.pg);
    CAIRN_RETURN_IF_ERROR(pg->load(snapshot));
    add_pg(snapshot.pg, std::move(pg));
  }
  remove_half_made(half_made);
  return Status::ok();
}

Pg& OsdCore::add_pg(PgId id, std::unique_ptr<Pg> pg) {
  pg_index_[id] = pg.get();
  return *(pgs_[id] = std::move(pg));
}

Pg* OsdCore::find(PgId pg) const {
  Pg* const* const found = pg_index_.find(pg);
  return found == nullptr ? nullptr : *found;
}

const Pg* OsdCore::find_pg(PgId pg) const { return find(pg); }

const RemovedSnaps& OsdCore::removed_snaps(PoolId pool) const {
  static const RemovedSnaps kNone;
  const auto found = removed_snaps_.find(pool);
  return found == removed_snaps_.end() ? kNone : found->second;
}

void OsdCore::set_map_epoch(Epoch epoch) {
  CAIRN_ASSERT(epoch >= map_epoch_);
  map_epoch_ = epoch;
  std::deque<ClientOp> waiting = std::exchange(waiting_for_map_, {});
  for (ClientOp& op : waiting) handle_op(std::move(op));
}

void OsdCore::set_blocklist(std::vector<ClientId> clients) {
  const auto before = std::exchange(blocklist_, {clients.begin(), clients.end()});
  for (const ClientId client : clients) {
    if (before.contains(client)) continue;
    for (auto& [id, pg] : pgs_) pg->forget_watches_of(client);
  }
}

void OsdCore::set_peers(const std::vector<Peer>& peers) {
  if (messenger_ == nullptr) return;
  const std::vector<Peer> before = std::exchange(peers_, peers);
  for (const auto& [connection, entity] : connections_) {
    if (Status status = admit(entity); !status) messenger_->close(connection, std::move(status));
  }
  std::erase_if(queued_control_, [&peers](const auto& entry) {
    return std::none_of(peers.begin(), peers.end(),
                        [&entry](const Peer& peer) { return peer.osd == entry.first; });
  });
  links_.set_peers(peers);
  heartbeat_.set_peers(peers);
  for (const Peer& peer : before) {
    if (is_peer(peer.osd)) continue;
    for (auto& [id, pg] : pgs_) pg->peer_gone(peer.osd);
  }
}

bool OsdCore::is_peer(OsdId osd) const {
  return std::any_of(peers_.begin(), peers_.end(),
                     [osd](const Peer& peer) { return peer.osd == osd; });
}

void OsdCore::start_interval(PgId id, IntervalSpec spec) {
  if (splitter_.will_make(id) || removals_behind_splits_.contains(id)) {
    starts_behind_splits_[id] = std::move(spec);
    return;
  }
  PgHost& host = *this;
  Pg* pg = find(id);
  if (pg == nullptr) pg = &add_pg(id, std::make_unique<Pg>(host, id, spec.pg_num));
  pg->start_interval(std::move(spec));
}

void OsdCore::activate(PgId id, Activation activation) {
  if (Pg* pg = find(id)) pg->activate(std::move(activation));
}

void OsdCore::go_active(PgId id, Epoch interval) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval && pg->phase() == Phase::peering) {
    pg->go_active();
  }
}

void OsdCore::set_recovery(PgId id, Epoch interval, std::size_t max_in_flight) {
  Pg* pg = find(id);
  if (pg != nullptr && pg->spec().interval == interval) pg->set_recovery(max_in_flight);
}

void OsdCore::remove_pg(PgId id) {
  if (waits_for_split(id)) {
    removals_behind_splits_.insert(id);
    starts_behind_splits_.erase(id);
    if (Pg* pg = find(id)) pg->close();
    return;
  }
  object_store::Transaction transaction;
  transaction.remove_pg(id);
  store_.submit(std::move(transaction), [this](Status) { check_store(); });
  auto node = pgs_.extract(id);
  if (!node) return;
  pg_index_.erase(id);
  // Callbacks of the store may still hold it: it closes its gate and stays until the end.
  node.mapped()->close();
  removed_.push_back(std::move(node.mapped()));
}

void OsdCore::send_control(OsdId osd, ByteSpan body) {
  net::Frame frame;
  frame.type = net::FrameType::control;
  frame.meta.assign(body.begin(), body.end());
  if (links_.send(osd, frame)) return;
  auto& queue = queued_control_[osd];
  if (queue.size() < kMaxQueuedControl) queue.push_back(std::move(frame.meta));
}

std::vector<PgStatus> OsdCore::pg_statuses() const {
  std::vector<PgStatus> result;
  result.reserve(pgs_.size());
  for (const auto& [id, pg] : pgs_) {
    result.push_back({id, pg->spec(), pg->phase(), pg->info(), pg->peer_missing_count(),
                      store_.object_count(id), store_.stored_bytes(id), pg->scrub_record(),
                      pg->pg_num()});
  }
  return result;
}

PgCounters OsdCore::counters() const {
  PgCounters sum;
  for (const auto& [id, pg] : pgs_) sum.add(pg->counters());
  return sum;
}

std::uint64_t OsdCore::oldest_operation_ns() const {
  std::uint64_t oldest = 0;
  const std::uint64_t now = executor_.now_ns();
  for (const auto& [id, pg] : pgs_) oldest = std::max(oldest, pg->oldest_operation_ns(now));
  return oldest;
}

std::vector<std::pair<OsdId, std::uint64_t>> OsdCore::round_trips() const {
  std::vector<std::pair<OsdId, std::uint64_t>> result;
  for (const Peer& peer : peers_) {
    result.emplace_back(peer.osd, heartbeat_.round_trip_ns(peer.osd));
  }
  return result;
}

Status OsdCore::admit(const net::Entity& peer) {
  if (peer.kind != net::EntityKind::osd) return Status::ok();
  const auto known = std::find_if(peers_.begin(), peers_.end(), [&peer](const Peer& other) {
    return static_cast<std::uint64_t>(other.osd) == peer.id;
  });
  const bool is_other = known != peers_.end() && known->incarnation != peer.incarnation;
  if (!is_other && peer.id != static_cast<std::uint64_t>(self_)) return Status::ok();
  return {ErrorCode::permission_denied,
          net::entity_text(peer) + " is not the OSD of that id in our map"};
}

void OsdCore::on_accepted(net::ConnectionId connection, const net::Entity& peer) {
  connections_[connection] = peer;
}

void OsdCore::on_connected(net::ConnectionId connection, const net::Entity& peer) {
  connections_[connection] = peer;
  links_.on_connected(connection);
}

void OsdCore::on_closed(net::ConnectionId connection, const Status& reason) {
  connections_.erase(connection);
  links_.on_closed(connection, reason);
}

void OsdCore::on_frame(net::ConnectionId connection, net::Frame frame) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  const net::Entity peer = found->second;
  Status status = dispatch(connection, peer, frame);
  if (!status) messenger_->close(connection, std::move(status));
}

Status OsdCore::dispatch(net::ConnectionId connection, const net::Entity& peer, net::Frame& frame) {
  if (frame.type == net::FrameType::op) {
    ClientOp op;
    CAIRN_RETURN_IF_ERROR(net::decode(frame, op.request));
    if (peer.kind == net::EntityKind::client && op.request.id.client != peer.id) {
      return Status(ErrorCode::protocol_error, "an operation in another client's name");
    }
    op.connection = connection;
    op.data = std::move(frame.data);
    op.arrived_ns = executor_.now_ns();
    if (op.request.traced) op.times = std::make_unique<OpTimes>();
    handle_op(std::move(op));
    return Status::ok();
  }
  if (frame.type == net::FrameType::watch_notify_ack && peer.kind == net::EntityKind::client) {
    net::WatchNotifyAck ack;
    CAIRN_RETURN_IF_ERROR(net::decode(frame, ack));
    if (Pg* pg = find(ack.pg)) pg->on_watch_notify_ack(peer.id, std::move(ack));
    return Status::ok();
  }
  if (peer.kind != net::EntityKind::osd) {
    return Status(ErrorCode::protocol_error, "a client may only send operations");
  }
  return dispatch_osd(connection, peer, frame);
}

Status OsdCore::dispatch_osd(net::ConnectionId connection, const net::Entity& peer,
                             net::Frame& frame) {
  const auto osd = static_cast<OsdId>(peer.id);
  switch (frame.type) {
    case net::FrameType::replicate: {
      net::Replicate message;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, message));
      if (Pg* pg = find(message.pg)) {
        pg->on_replicate(connection, std::move(message), std::move(frame.data));
      }
      return Status::ok();
    }
    case net::FrameType::replicate_ack: {
      net::ReplicateAck ack;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, ack));
      if (Pg* pg = find(ack.pg)) pg->on_replicate_ack(osd, ack);
      return Status::ok();
    }
    case net::FrameType::pull: {
      net::Pull pull;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, pull));
      if (Pg* pg = find(pull.pg)) {
        pg->on_pull(connection, pull);
      } else {
        send_on(connection, net::encode(net::PushAck{pull.pg, pull.interval, pull.object,
                                                     ErrorCode::stale_epoch}));
      }
      return Status::ok();
    }
    case net::FrameType::push: {
      net::Push push;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, push));
      if (Pg* pg = find(push.pg)) {
        pg->on_push(connection, osd, std::move(push), std::move(frame.data));
      }
      return Status::ok();
    }
    case net::FrameType::push_ack: {
      net::PushAck ack;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, ack));
      if (Pg* pg = find(ack.pg)) pg->on_push_ack(osd, ack);
      return Status::ok();
    }
    case net::FrameType::lease:
    case net::FrameType::lease_ack:
      return dispatch_lease(connection, osd, frame);
    case net::FrameType::ping: {
      net::Ping ping;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, ping));
      net::Ping answer = current_ping();
      answer.sent_ns = ping.sent_ns;
      send_on(connection, net::encode_pong(answer));
      return Status::ok();
    }
    case net::FrameType::pong: {
      net::Ping pong;
      CAIRN_RETURN_IF_ERROR(net::decode(frame, pong));
      heartbeat_.on_pong(osd, peer.incarnation, pong);
      return Status::ok();
    }
    case net::FrameType::control:
      events_.on_control(peer, frame.meta);
      return Status::ok();
    default:
      return dispatch_scrub(connection, osd, frame);
  }
}

void OsdCore::handle_op(ClientOp&& op) {
  if (op.request.map_epoch > map_epoch_) {
    if (waiting_for_map_.size() >= kMaxWaitingForMap) {
      return refuse(op, ErrorCode::busy, "too many operations wait for the map");
    }
    events_.on_need_map(op.request.map_epoch);
    waiting_for_map_.push_back(std::move(op));
    return;
  }
  admit_op(std::move(op));
}

void OsdCore::begin_op(ClientOp&& op) {
  if (Pg* pg = find(op.request.pg)) return pg->on_client_op(std::move(op));
  refuse(op, ErrorCode::not_primary, "no such PG here");
}

void OsdCore::refuse(const ClientOp& op, ErrorCode code, const char* message) {
  net::OpReply answer;
  answer.sequence = op.request.id.sequence;
  answer.code = code;
  answer.epoch = map_epoch_;
  answer.message = message;
  send_on(op.connection, net::encode(answer, {}));
}

void OsdCore::send_to_osd(OsdId osd, net::Frame frame) { links_.send(osd, std::move(frame)); }

void OsdCore::send_on(net::ConnectionId connection, net::Frame frame) {
  if (connections_.contains(connection)) messenger_->send(connection, std::move(frame));
}

void OsdCore::interval_started(PgId pg, Epoch interval, const PgInfo& info) {
  if (!splitter_.on_interval_started(pg)) events_.on_interval_started(pg, interval, info);
}

void OsdCore::activated(PgId pg, Epoch interval, const Status& status) {
  events_.on_activated(pg, interval, status);
  check_store();
}

void OsdCore::recovery_progress(PgId pg, Epoch interval, std::uint64_t missing_count) {
  events_.on_recovery_progress(pg, interval, missing_count);
}

void OsdCore::recovery_failed(PgId pg, Epoch interval, const std::string& object,
                              const Status& status) {
  events_.on_recovery_failed(pg, interval, object, status);
}

void OsdCore::store_refused(PgId, const Status& status) {
  if (std::exchange(store_failure_reported_, true)) return;
  events_.on_store_failed(status);
}

void OsdCore::check_store() {
  const Status& failure = store_.failure();
  if (failure || store_failure_reported_) return;
  store_failure_reported_ = true;
  const std::string text = "a write or flush of the disk failed: " + failure.message();
  events_.on_store_failed(Status(failure.code(), text));
}

void OsdCore::send_ping(OsdId osd, const net::Ping& ping) {
  links_.send(osd, net::encode_ping(ping));
  check_store();
}

net::Ping OsdCore::current_ping() {
  net::Ping ping;
  ping.sent_ns = executor_.now_ns();
  ping.epoch = map_epoch_;
  ping.loop_age_ms = static_cast<std::uint32_t>((ping.sent_ns - loop_tick_ns_) / 1'000'000);
  if (const std::uint64_t since_ns = store_.oldest_pending_ns(); since_ns != 0) {
    ping.disk_age_ms = static_cast<std::uint32_t>((ping.sent_ns - since_ns) / 1'000'000);
  }
  return ping;
}

void OsdCore::peer_failed(OsdId osd, std::uint64_t incarnation, const std::string& reason) {
  events_.on_peer_failed(osd, incarnation, reason);
}

void OsdCore::peer_recovered(OsdId osd, std::uint64_t incarnation) {
  events_.on_peer_recovered(osd, incarnation);
}

void OsdCore::on_link_up(OsdId osd) {
  if (auto queued = queued_control_.extract(osd)) {
    for (auto& body : queued.mapped()) send_control(osd, body);
  }
  for (auto& [id, pg] : pgs_) pg->peer_reconnected(osd);
}

void OsdCore::on_link_refused(OsdId osd, std::uint64_t incarnation) {
  heartbeat_.on_refused(osd, incarnation);
}

}  // namespace cairn::pg
