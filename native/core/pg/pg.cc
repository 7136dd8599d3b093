// The gate: intervals, admission of client operations, their order per object.
#include "pg/pg.hh"

#include <algorithm>
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_duplicate_answered);
CAIRN_DEFINE_PROBE(pg_duplicate_in_flight);
CAIRN_DEFINE_PROBE(pg_stale_op_refused);
CAIRN_DEFINE_PROBE(pg_op_waits_for_active);
CAIRN_DEFINE_PROBE(pg_op_waits_for_recovery);
CAIRN_DEFINE_PROBE(pg_op_waits_for_object);
CAIRN_DEFINE_PROBE(pg_interval_ends_in_flight_write);
CAIRN_DEFINE_PROBE(pg_log_rewound);
CAIRN_DEFINE_PROBE(pg_log_reset);
CAIRN_DEFINE_PROBE(pg_forgotten_request_refused);
CAIRN_DEFINE_PROBE(pg_answered_request_refused);

void PgCounters::add(const PgCounters& other) {
  reads += other.reads;
  writes += other.writes;
  read_bytes += other.read_bytes;
  write_bytes += other.write_bytes;
  duplicates += other.duplicates;
  refused_fenced += other.refused_fenced;
  refused_stale += other.refused_stale;
  waiting += other.waiting;
  recovered_objects += other.recovered_objects;
  recovered_bytes += other.recovered_bytes;
  scrubbed_objects += other.scrubbed_objects;
  scrubbed_bytes += other.scrubbed_bytes;
  scrub_errors += other.scrub_errors;
  scrub_repaired += other.scrub_repaired;
  read_repairs += other.read_repairs;
  read_repairs_failed += other.read_repairs_failed;
  trimmed_objects += other.trimmed_objects;
  trimmed_clones += other.trimmed_clones;
  write_ns.merge(other.write_ns);
  read_ns.merge(other.read_ns);
}

Pg::Pg(PgHost& host, PgId id, std::uint32_t pg_num)
    : host_(host),
      id_(id),
      pg_num_(pg_num),
      scrub_reader_(host.executor(), host.store(), id),
      scrub_requests_(*this, scrub_reader_),
      fetcher_(*this),
      repairer_(*this, scrub_requests_, scrub_reader_),
      scrubber_(*this, scrub_requests_, repairer_),
      trimmer_(*this) {}

std::string Pg::encode_info(std::uint32_t pg_num) const {
  Writer writer;
  writer.put(last_epoch_started_);
  writer.put(log_.head().epoch);
  writer.put(log_.head().number);
  writer.put(pg_num);
  return std::string(as_text(writer.span()));
}

Status Pg::load(const object_store::PgSnapshot& snapshot) {
  Version base;
  for (const auto& [key, value] : snapshot.meta) {
    if (key == kInfoKey) {
      Reader reader(as_bytes(value));
      last_epoch_started_ = reader.get<std::uint32_t>();
      base.epoch = reader.get<std::uint32_t>();
      base.number = reader.get<std::uint64_t>();
      // Copies of older programs, which split nothing, do not have it.
      if (reader.remaining() != 0) pg_num_ = reader.get<std::uint32_t>();
      if (!reader.at_end()) return Status(ErrorCode::corrupt, "PG info is malformed");
    } else if (key.starts_with(kMissingPrefix)) {
      auto missing = decode_missing(value);
      if (!missing) return missing.status();
      missing_[key.substr(std::string_view(kMissingPrefix).size())] = *missing;
    } else if (key == kScrubKey) {
      scrub_record_ = value;
    } else {
      auto known = horizon_.load(key, value);
      if (!known) return known.status();
    }
  }
  // What was promised before the restart is not known.
  granted_lease_.assume_full(host_.executor().now_ns());
  log_.reset(base);
  if (!snapshot.log.empty()) {
    if (snapshot.log.front().number == 0) return Status(ErrorCode::corrupt, "PG log entry 0");
    log_.reset(Version{0, snapshot.log.front().number - 1});
  }
  for (const object_store::LogEntryBytes& stored : snapshot.log) {
    Reader reader(stored.bytes);
    net::LogEntry entry;
    CAIRN_RETURN_IF_ERROR(net::decode(reader, entry));
    if (entry.version.number != log_.head_number() + 1 || entry.version.number != stored.number) {
      return Status(ErrorCode::corrupt, "PG log has a gap");
    }
    log_.append(std::move(entry));
  }
  return Status::ok();
}

PgInfo Pg::info() const {
  return PgInfo{log_.head(),
                log_.tail_number(),
                last_epoch_started_,
                missing_.size(),
                granted_lease_.remaining_ns(host_.executor().now_ns()),
                granted_lease_.holder()};
}

std::uint64_t Pg::peer_missing_count() const {
  std::uint64_t count = 0;
  for (const auto& [osd, objects] : peer_missing_) count += objects.size();
  return count;
}

std::uint64_t Pg::oldest_operation_ns(std::uint64_t now_ns) const {
  std::uint64_t oldest = now_ns;
  const auto look = [&oldest](const auto& queue) {
    if (!queue.empty()) oldest = std::min(oldest, queue.front().arrived_ns);
  };
  if (!in_flight_.empty()) oldest = std::min(oldest, in_flight_.begin()->second.op.arrived_ns);
  look(waiting_for_active_);
  look(waiting_for_lease_);
  for (const auto& [name, state] : objects_) look(state.waiting);
  for (const auto& [name, queue] : waiting_for_object_) look(queue);
  for (const auto& [key, queue] : waiting_for_fence_) look(queue);
  return now_ns - oldest;
}

void Pg::start_interval(IntervalSpec spec) {
  CAIRN_ASSERT(spec.interval >= spec_.interval);
  CAIRN_ASSERT(spec.acting.size() < 64);
  spec_ = std::move(spec);
  phase_ = Phase::peering;
  // In-flight writes of the old interval are applied here, but nobody is told so: peering decides
  // whether they stay, and the client's resend finds them in the log or not.
  if (!in_flight_.empty()) pg_interval_ends_in_flight_write.hit();
  fetcher_.reset();
  for (auto& [number, write] : in_flight_) refuse(write.op, ErrorCode::stale_epoch, "new interval");
  in_flight_.clear();
  drop_waiting();
  fence_.clear();
  watches_.end_all();
  if (spec_.role != Role::primary) watches_.forget_watchers();
  objects_.clear();
  families_.clear();
  fills_.clear();
  peer_missing_.clear();
  sources_.clear();
  other_sources_.clear();
  recovering_.clear();
  repair_sources_.clear();
  scrubber_.reset();
  trimmer_.reset();
  repairer_.reset();
  scrub_requests_.forget_all();
  host_.leave_scrub_place(id_);
  incoming_.clear();
  received_.clear();
  wanted_.clear();
  recovery_limit_ = 0;
  replica_acks_.clear();
  std::vector<OsdId> replicas = spec_.acting;
  std::erase(replicas, host_.self());
  lease_.start(replicas);
  horizon_.start_interval();
  lease_asked_ns_ = 0;
  serve_not_before_ns_ = 0;
  interval_report_due_ = true;
  host_.executor().post([this] { report_interval_when_quiet(); });
}

void Pg::report_interval_when_quiet() {
  if (!interval_report_due_ || undurable_ != 0) return;
  interval_report_due_ = false;
  host_.interval_started(id_, spec_.interval, info());
}

void Pg::drop_waiting() {
  const auto refuse_all = [this](auto& queue) {
    for (ClientOp& op : queue) refuse(op, ErrorCode::stale_epoch, "new interval");
    queue.clear();
  };
  refuse_all(waiting_for_active_);
  refuse_all(waiting_for_lease_);
  for (auto& [name, state] : objects_) refuse_all(state.waiting);
  for (auto& [name, queue] : waiting_for_object_) refuse_all(queue);
  for (auto& [key, queue] : waiting_for_fence_) refuse_all(queue);
  waiting_for_object_.clear();
  waiting_for_fence_.clear();
  waiting_bytes_ = 0;
}

void Pg::activate(Activation activation) {
  if (!current(activation.interval) || phase_ != Phase::peering) return;
  object_store::Transaction transaction;
  std::set<std::string> rewound;
  if (activation.reset_log) {
    pg_log_reset.hit();
    log_.reset(activation.log_base);
    transaction.log_reset(id_, activation.log_base.number + 1);
    if (activation.horizon) horizon_.merge(*activation.horizon);
    horizon_.store(id_, transaction);
  } else if (activation.rewind_to < log_.head_number()) {
    CAIRN_ASSERT(activation.rewind_to >= log_.tail_number());
    pg_log_rewound.hit();
    for (const net::LogEntry& entry : log_.entries_after(activation.rewind_to, log_.size())) {
      rewound.insert(entry.object);
    }
    log_.rewind(activation.rewind_to);
    transaction.log_rewind(id_, activation.rewind_to);
  }
  for (net::LogEntry& entry : activation.entries) {
    Writer writer;
    net::encode(entry, writer);
    transaction.log_append(id_, entry.version.number, writer.take());
    log_.append(std::move(entry));
  }
  for (const auto& [name, missing] : activation.missing) {
    if (planted(PlantedBug::forget_divergent) && rewound.contains(name)) continue;
    const auto [known, is_new] = missing_.try_emplace(name, missing);
    if (!is_new && known->second == missing) continue;
    known->second = missing;
    transaction.pg_meta_set(id_, kMissingPrefix + name, encode_missing(missing));
  }
  for (auto& [osd, objects] : activation.peer_missing) {
    if (!objects.empty()) peer_missing_[osd] = {objects.begin(), objects.end()};
  }
  sources_ = activation.sources;
  other_sources_ = activation.other_sources;
  if (activation.lease_wait_ns != 0) {
    const std::uint64_t wait_ns = planted(PlantedBug::no_lease_margin)
                                      ? activation.lease_wait_ns
                                      : with_drift_margin(activation.lease_wait_ns);
    serve_not_before_ns_ = host_.executor().now_ns() + wait_ns;
  }
  last_epoch_started_ = spec_.interval;
  transaction.pg_meta_set(id_, kInfoKey, encode_info());
  submit(std::move(transaction), [this, interval = spec_.interval](Status status) {
    if (!current(interval)) return;
    if (status && spec_.role == Role::replica) phase_ = Phase::replica_active;
    host_.activated(id_, interval, status);
  });
}

void Pg::go_active() {
  CAIRN_ASSERT(spec_.role == Role::primary && phase_ == Phase::peering);
  CAIRN_ASSERT(spec_.acting.size() >= spec_.min_size);
  if (waits_for_old_lease()) return;
  phase_ = Phase::active;
  active_since_ns_ = host_.executor().now_ns();
  watches_.restart_timeouts(active_since_ns_);
  std::deque<ClientOp> waiting = std::exchange(waiting_for_active_, {});
  waiting_bytes_ = 0;
  for (ClientOp& op : waiting) on_client_op(std::move(op));
  report_progress();
  pump_recovery();  // set_recovery() may have come before
}

void Pg::refuse(const ClientOp& op, ErrorCode code, std::string message) {
  ++counters_.refused_stale;
  net::OpReply answer;
  answer.code = code;
  answer.message = std::move(message);
  reply(op, std::move(answer), {});
}

void Pg::reply(const ClientOp& op, net::OpReply answer, Buffer data) {
  answer.sequence = op.request.id.sequence;
  answer.epoch = host_.map_epoch();
  if (op.times != nullptr) {
    answer.trace = op.times->trace(op.arrived_ns, host_.executor().now_ns());
  }
  host_.send_on(op.connection, net::encode(answer, std::move(data)));
}

void Pg::on_client_op(ClientOp&& op) {
  if (spec_.role != Role::primary) return refuse(op, ErrorCode::not_primary, "not the primary");
  if (op.request.map_epoch < spec_.interval && !planted(PlantedBug::stale_interval_op)) {
    pg_stale_op_refused.hit();
    return refuse(op, ErrorCode::stale_epoch, "sent in an older interval");
  }
  // Its client has not heard that the pool has more PGs, whatever epoch it names. (What only reads
  // may be about the PG itself, and name nothing that is in it.)
  if (op.request.mutates() && !owns(op.request.object)) {
    return refuse(op, ErrorCode::stale_epoch, "the object belongs to another PG");
  }
  if (phase_ == Phase::active) {
    horizon_.heard(op.request.id.client, op.request.oldest_unacked);
    if (is_forgotten(op)) {
      pg_forgotten_request_refused.hit();
      return refuse(op, ErrorCode::too_old, "a resend of what may have been applied long ago");
    }
    if (is_answered(op)) {
      pg_answered_request_refused.hit();
      return refuse(op, ErrorCode::too_old, "a late copy of what has been answered");
    }
    return admit(std::move(op));
  }
  const std::uint64_t bytes = op.data.size() + kWaitingOpBytes;
  if (waiting_bytes_ + bytes > kMaxWaitingBytes) {
    return refuse(op, ErrorCode::busy, "the PG is peering and its queue is full");
  }
  pg_op_waits_for_active.hit();
  waiting_bytes_ += bytes;
  ++counters_.waiting;
  op.slot.release();
  waiting_for_active_.push_back(std::move(op));
}

void Pg::admit(ClientOp&& op) {
  if (held_by_fence(op)) return;
  if (op.request.mutates() && answer_duplicate(op)) return;
  if (waits_for_recovery(op)) {
    pg_op_waits_for_recovery.hit();
    const std::string object = op.request.object;
    return wait_for_object(object, std::move(op));
  }
  if (blocked_by_object(op)) {
    pg_op_waits_for_object.hit();
    objects_[op.request.object].waiting.push_back(std::move(op));
    return;
  }
  execute(std::move(op));
}

void Pg::wait_for_object(const std::string& object, ClientOp op) {
  wanted_.push_back(object);
  op.slot.release();
  waiting_for_object_[object].push_back(std::move(op));
  ++counters_.waiting;
  pump_recovery();
}

bool Pg::answer_duplicate(const ClientOp& op) {
  const net::LogEntry* entry = log_.find(op.request.id);
  if (entry == nullptr || planted(PlantedBug::no_dedup)) return false;
  ++counters_.duplicates;
  const auto found = in_flight_.find(entry->version.number);
  if (found != in_flight_.end()) {
    // Still being replicated: the answer goes to whoever asked last.
    pg_duplicate_in_flight.hit();
    found->second.op.connection = op.connection;
    return true;
  }
  pg_duplicate_answered.hit();
  net::OpReply answer;
  answer.exists = true;
  reply(op, std::move(answer), {});
  return true;
}

bool Pg::is_forgotten(const ClientOp& op) const {
  const RequestId& id = op.request.id;
  return op.request.mutates() && log_.find(id) == nullptr && !planted(PlantedBug::no_dedup) &&
         horizon_.may_have_been_applied(id, op.request.resent);
}

bool Pg::is_answered(const ClientOp& op) const {
  const RequestId& id = op.request.id;
  return op.request.mutates() && horizon_.was_answered(id) && log_.find(id) == nullptr &&
         !planted(PlantedBug::no_dedup);
}

bool Pg::waits_for_recovery(const ClientOp& op) {
  const std::string& object = op.request.object;
  // An operation behind one that waits keeps its order.
  if (waiting_for_object_.contains(object)) return true;
  if (missing_.empty() && peer_missing_.empty()) return false;
  if (missing_.contains(object)) return true;
  return op.changes() && object_is_missing_anywhere(object);
}

bool Pg::blocked_by_object(const ClientOp& op) const {
  if (op.changes() && scrubber_.holds(op.request.object)) return true;
  const auto found = objects_.find(op.request.object);
  if (found == objects_.end()) return false;
  const ObjectState& state = found->second;
  if (state.locked || !state.waiting.empty()) return true;
  if (state.in_flight_writes == 0) return false;
  if (op.request.mutates()) return needs_guard(op) || !whole_blocks(op);
  return overlaps_in_flight(op);
}

bool Pg::overlaps_in_flight(const ClientOp& op) const {
  for (const auto& [number, write] : in_flight_) {
    if (write.op.request.object != op.request.object) continue;
    if (write.whole_object) return true;
    for (const net::Step& step : op.request.steps) {
      const bool has_bounds = step.code == net::StepCode::read ||
                              step.code == net::StepCode::extents ||
                              step.code == net::StepCode::sparse_read;
      if (!has_bounds) return true;
      if (step.offset < write.end && write.begin < step.offset + step.length) return true;
    }
  }
  return false;
}

void Pg::release_object(const std::string& object) {
  recheck_scrub();
  const auto found = objects_.find(object);
  if (found == objects_.end()) return;
  if (found->second.waiting.empty()) {
    if (found->second.in_flight_writes == 0 && !found->second.locked) objects_.erase(found);
    return;
  }
  // Take them all and let each pass the gate again: those that still must wait queue in order.
  std::vector<ClientOp> waiting = std::exchange(found->second.waiting, {});
  if (found->second.in_flight_writes == 0 && !found->second.locked) objects_.erase(found);
  for (ClientOp& op : waiting) admit(std::move(op));
}

}  // namespace cairn::pg
