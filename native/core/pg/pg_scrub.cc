// A Pg's part in scrub and repair: it answers the primary's questions, holds operations back, loses
// bad copies, and serves a read that met a bad block from another member's copy.
#include <algorithm>
#include <utility>

#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_read_met_damage);
CAIRN_DEFINE_PROBE(pg_read_repair_without_source);
CAIRN_DEFINE_PROBE(pg_read_from_other_copy);
CAIRN_DEFINE_PROBE(pg_read_from_other_copy_waits);
CAIRN_DEFINE_PROBE(pg_unread_is_asked_again);
CAIRN_DEFINE_PROBE(pg_push_source_damaged);
CAIRN_DEFINE_PROBE(pg_pull_source_damaged);
CAIRN_DEFINE_PROBE(pg_scrub_place_taken);
CAIRN_DEFINE_PROBE(pg_object_stays_closed);

namespace {
// Of data, or (corrupt) of what the store knows about an object.
bool is_damage(const Status& status) {
  return status.code() == ErrorCode::checksum_mismatch || status.code() == ErrorCode::io_error ||
         status.code() == ErrorCode::corrupt;
}
}  // namespace

// ---- commands

void Pg::start_scrub(ScrubSpec spec) {
  if (phase_ != Phase::active) {
    const Status status(ErrorCode::not_active, "the PG does not serve");
    return host_.scrub_events().on_scrub_done(id_, spec_.interval, spec.id, status);
  }
  scrubber_.start(std::move(spec));
}

void Pg::stop_scrub() { scrubber_.stop(); }

void Pg::set_scrub_record(std::string record) {
  if (phase_ != Phase::active || record.size() > net::kMaxScrubRecordBytes) return;
  for (const OsdId osd : spec_.acting) {
    if (osd == host_.self()) continue;
    net::ScrubRequest request;
    request.question = net::ScrubQuestion::record;
    request.record = record;
    // A member that does not hear of it scrubs earlier when it becomes primary: no harm.
    scrub_requests_.ask(osd, std::move(request), [](const Status&, const net::ScrubReply&) {});
  }
  keep_scrub_record(record, [](const Status&) {});
}

void Pg::keep_scrub_record(const std::string& record, object_store::Done done) {
  scrub_record_ = record;
  object_store::Transaction transaction;
  transaction.pg_meta_set(id_, kScrubKey, record);
  submit(std::move(transaction), std::move(done));
}

// ---- a member's answers

void Pg::on_scrub_request(net::ConnectionId from, net::ScrubRequest request) {
  net::ScrubReply reply;
  reply.pg = id_;
  reply.interval = request.interval;
  reply.id = request.id;
  const auto refuse_with = [this, from, &reply](ErrorCode code) {
    reply.code = code;
    host_.send_on(from, net::encode(reply));
  };
  if (!current(request.interval) || phase_ == Phase::peering) {
    return refuse_with(ErrorCode::stale_epoch);
  }
  const auto send = [this, from](const net::ScrubReply& answer) {
    host_.send_on(from, net::encode(answer));
  };
  switch (request.question) {
    case net::ScrubQuestion::list:
      if (!host_.take_scrub_place(id_)) return refuse_with(ErrorCode::busy);
      return scrub_reader_.list(
          request.name, request.end,
          [send, reply = std::move(reply)](const Status& status, std::string end,
                                           std::vector<net::ScrubObject> objects) mutable {
            reply.code = status.code();
            reply.end = std::move(end);
            reply.objects = std::move(objects);
            send(reply);
          });
    case net::ScrubQuestion::verify:
      return scrub_reader_.verify(
          request.name, request.bytes_per_second,
          [send, reply = std::move(reply)](net::ScrubObject object) mutable {
            reply.objects.push_back(std::move(object));
            send(reply);
          });
    case net::ScrubQuestion::reserve:
      if (host_.take_scrub_place(id_)) return send(reply);
      pg_scrub_place_taken.hit();
      return refuse_with(ErrorCode::busy);
    case net::ScrubQuestion::leave:
      host_.leave_scrub_place(id_);
      return send(reply);
    case net::ScrubQuestion::record:
      return keep_scrub_record(request.record,
                               [send, reply = std::move(reply)](const Status& status) mutable {
                                 reply.code = status.code();
                                 send(reply);
                               });
  }
}

void Pg::on_mark_missing(net::ConnectionId from, const net::MarkMissing& message) {
  net::MarkMissingAck ack{id_, message.interval, message.id, ErrorCode::ok};
  if (!current(message.interval) || phase_ != Phase::replica_active) {
    ack.code = ErrorCode::stale_epoch;
    return host_.send_on(from, net::encode(ack));
  }
  incoming_.erase(message.object);
  lose_own_copy(message.object, message.version, [this, from, ack](const Status& status) mutable {
    ack.code = status.code();
    host_.send_on(from, net::encode(ack));
  });
}

// The version is noted, too: who knows only that it lacks the object can't tell, once its log has
// gone on, which of the others' copies is the good one.
void Pg::lose_own_copy(const std::string& object, const Version& version, object_store::Done done) {
  received_.erase(object);
  bad_copies_.insert(object);
  const Missing& missing = missing_[object] = {version, false};
  object_store::Transaction transaction;
  transaction.pg_meta_set(id_, kMissingPrefix + object, encode_missing(missing));
  submit(std::move(transaction), std::move(done));
}

void Pg::on_scrub_reply(OsdId from, net::ScrubReply reply) {
  if (current(reply.interval)) scrub_requests_.on_reply(from, std::move(reply));
}

void Pg::on_mark_missing_ack(OsdId from, const net::MarkMissingAck& ack) {
  if (current(ack.interval)) scrub_requests_.on_mark_missing_ack(from, ack);
}

// ---- ScrubGate

void Pg::send_to_member(OsdId osd, net::Frame frame) { host_.send_to_osd(osd, std::move(frame)); }

bool Pg::is_object_quiet(const std::string& object) const {
  const auto found = objects_.find(object);
  return found == objects_.end() || (found->second.in_flight_writes == 0 && !found->second.locked);
}

bool Pg::is_quiet(const NameRange& range) const {
  return std::all_of(objects_.begin(), objects_.end(), [this, &range](const auto& entry) {
    return !range.contains(entry.first) || is_object_quiet(entry.first);
  });
}

void Pg::hold_ended(const NameRange& range) {
  std::vector<std::string> held;
  for (const auto& [object, state] : objects_) {
    if (range.contains(object) && !state.waiting.empty()) held.push_back(object);
  }
  for (const std::string& object : held) release_object(object);
}

bool Pg::is_unsettled(const std::string& object) const {
  return waiting_for_object_.contains(object) || recovering_.contains(object) ||
         object_is_missing_anywhere(object);
}

const net::LogEntry* Pg::newest_entry(const std::string& object) const {
  for (std::uint64_t number = log_.head_number(); number > log_.tail_number(); --number) {
    if (log_.at(number).object == object) return &log_.at(number);
  }
  return nullptr;
}

void Pg::close_object(const std::string& object) { waiting_for_object_[object]; }

// Not while somebody else relies on its being closed: a fetch ends beside a repair that began
// meanwhile, and the other way round.
void Pg::open_object(const std::string& object) {
  if (repairer_.is_repairing(object) || fetcher_.is_fetching(object)) {
    pg_object_stays_closed.hit();
    return;
  }
  const auto waiting = waiting_for_object_.find(object);
  if (waiting == waiting_for_object_.end()) return;
  std::deque<ClientOp> ops = std::move(waiting->second);
  waiting_for_object_.erase(waiting);
  for (ClientOp& op : ops) admit(std::move(op));
}

void Pg::lose_copies(const std::string& object, const std::vector<OsdId>& copies,
                     const std::vector<OsdId>& sources, const Version& version) {
  repair_sources_[object] = sources;
  for (const OsdId osd : copies) {
    if (osd != host_.self()) {
      peer_missing_[osd].insert(object);
      continue;
    }
    trimmer_.object_lost(object);
    lose_own_copy(object, version, [](const Status&) {});
  }
  wanted_.push_front(object);
  pump_recovery();
}

void Pg::recheck_scrub() {
  if (!scrubber_.is_running() && !repairer_.is_waiting()) return;
  // Later: whoever ends a write is not done with the object yet.
  host_.executor().post([this] {
    scrubber_.recheck();
    repairer_.recheck();
  });
}

// ---- damage that others come upon

std::vector<OsdId> Pg::other_holders(const std::string& object) const {
  std::vector<OsdId> holders;
  for (const OsdId osd : spec_.acting) {
    const auto lacks = peer_missing_.find(osd);
    const bool has = lacks == peer_missing_.end() || !lacks->second.contains(object);
    if (osd != host_.self() && has) holders.push_back(osd);
  }
  return holders;
}

bool Pg::repair_and_retry(Running& running, const Status& status) {
  if (!is_damage(status) || running.op.repaired) return false;
  pg_read_met_damage.hit();
  const std::string object = running.op.request.object;
  std::vector<OsdId> holders = other_holders(object);
  const auto report = [this, object, damage = status.to_string()](const Status& outcome) {
    on_read_repair(id_, object, damage, outcome);
  };
  if (holders.empty()) {
    pg_read_repair_without_source.hit();
    report(Status(ErrorCode::unfound, "there is no other copy"));
    return false;
  }
  close_object(object);
  running.op.slot.release();
  running.op.repaired = true;
  waiting_for_object_[object].push_back(std::move(running.op));
  if (running.locked) objects_[object].locked = false;
  if (!repairer_.is_repairing(object)) {
    repairer_.repair(object, {{host_.self()}, std::move(holders), true}, report);
  }
  release_object(object);
  return true;
}

bool Pg::helped_by_others(std::unique_ptr<Running>& running, const Status& damage,
                          const FetchWanted& wanted, Fetched then) {
  if (repair_and_retry(*running, damage)) return true;
  const std::string object = running->op.request.object;
  std::vector<OsdId> holders = other_holders(object);
  if (!is_damage(damage) || holders.empty()) return false;
  if (fetcher_.is_fetching(object) || repairer_.is_repairing(object)) {
    pg_read_from_other_copy_waits.hit();
    running->op.slot.release();
    waiting_for_object_[object].push_back(std::move(running->op));
    if (running->locked) objects_[object].locked = false;
    release_object(object);
    return true;
  }
  if (!running->locked && !is_object_quiet(object)) {
    // What the other members show of a write that is under way must not be seen yet.
    objects_[object].waiting.push_back(std::move(running->op));
    return true;
  }
  pg_read_from_other_copy.hit();
  running->op.slot.release();
  close_object(object);
  fetcher_.fetch(object, wanted, std::move(holders),
                 [this, object, damage, running = std::move(running), then = std::move(then)](
                     Status status, FetchedRange range) mutable {
                   if (!still_current(*running)) return;
                   if (status) {
                     then(std::move(running), std::move(range));
                   } else if (status.code() == ErrorCode::disconnected) {
                     // Whole copies may be there: the client asks again, of whoever leads then.
                     fail_steps(std::move(running), ErrorCode::busy, status.message());
                   } else {
                     fail_steps(std::move(running), damage.code(), damage.message());
                   }
                   // Unless it goes on with another layer of the object.
                   open_object(object);
                 });
  return true;
}

void Pg::fail_read(std::unique_ptr<Running> running, const Status& status) {
  const bool asks_again = !running->op.trims;  // what trims does later, whatever happened
  const ErrorCode code =
      asks_again ? refusal_of(running->op.request.object, status) : status.code();
  fail_steps(std::move(running), code, status.message());
}

ErrorCode Pg::refusal_of(const std::string& object, const Status& status) {
  if (status.code() != ErrorCode::io_error || other_holders(object).empty()) return status.code();
  pg_unread_is_asked_again.hit();
  on_read_repair(id_, object, status.to_string(), Status(ErrorCode::unfound, "not repaired"));
  return ErrorCode::busy;
}

void Pg::source_failed(const Outgoing& outgoing, const Status& status) {
  const std::string& object = outgoing.object;
  if (outgoing.reply_to != 0) {
    // The puller asks another source.
    pg_pull_source_damaged.hit();
    const net::PushAck ack{id_, outgoing.interval, object, status.code()};
    return host_.send_on(outgoing.reply_to, net::encode(ack));
  }
  pg_push_source_damaged.hit();
  std::vector<OsdId> holders = other_holders(object);
  if (!is_damage(status) || holders.empty() || repairer_.is_repairing(object)) {
    recovering_.erase(object);
    return retry_unfound(object, Status(ErrorCode::unfound, status.message()));
  }
  // It begins anew when the own copy has been replaced.
  recovering_.erase(object);
  repairer_.repair(object, {{host_.self()}, std::move(holders), true},
                   [this, object, damage = status.to_string()](const Status& outcome) {
                     on_read_repair(id_, object, damage, outcome);
                     if (!outcome) retry_unfound(object, outcome);
                   });
}

// ---- ScrubEvents

void Pg::on_scrub_object(PgId pg, Epoch interval, std::uint64_t id, const ObjectVerdict& verdict,
                         bool repaired) {
  host_.scrub_events().on_scrub_object(pg, interval, id, verdict, repaired);
}

void Pg::on_scrub_progress(PgId pg, Epoch interval, std::uint64_t id, const std::string& after,
                           const ScrubCounts& counts) {
  counters_.scrubbed_objects += counts.objects;
  counters_.scrubbed_bytes += counts.bytes;
  counters_.scrub_errors += counts.errors;
  counters_.scrub_repaired += counts.repaired;
  host_.scrub_events().on_scrub_progress(pg, interval, id, after, counts);
}

void Pg::on_scrub_done(PgId pg, Epoch interval, std::uint64_t id, const Status& status) {
  host_.scrub_events().on_scrub_done(pg, interval, id, status);
}

void Pg::on_read_repair(PgId pg, const std::string& object, const std::string& damage,
                        const Status& status) {
  ++(status ? counters_.read_repairs : counters_.read_repairs_failed);
  host_.scrub_events().on_read_repair(pg, object, damage, status);
}

}  // namespace cairn::pg
