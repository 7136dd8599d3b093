// Recovery: objects that a member of the acting set lacks are pulled to the primary, then pushed to
// whoever lacks them. No write touches an object while it is missing anywhere, so its parts are all
// of one state. A half-applied object stays in the durable missing set until its last part.
#include <algorithm>
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_pull_failed);
CAIRN_DEFINE_PROBE(pg_object_unfound);
CAIRN_DEFINE_PROBE(pg_recovered_deletion);

namespace {
constexpr std::uint64_t kRetryNs = 1'000'000'000;
}  // namespace

bool Pg::object_is_missing_anywhere(const std::string& object) const {
  if (missing_.contains(object)) return true;
  return std::any_of(peer_missing_.begin(), peer_missing_.end(),
                     [&object](const auto& peer) { return peer.second.contains(object); });
}

void Pg::set_recovery(std::size_t max_in_flight) {
  recovery_limit_ = max_in_flight;
  pump_recovery();
}

void Pg::pump_recovery() {
  if (phase_ != Phase::active) return;
  // What a client waits for goes first, beside the limit, and also when recovery is paused.
  while (!wanted_.empty() && recovering_.size() < recovery_limit_ + kMaxRecoveriesInFlight) {
    const std::string object = std::move(wanted_.front());
    wanted_.pop_front();
    if (!recovering_.contains(object) && object_is_missing_anywhere(object)) start_recovery(object);
  }
  // Listed first: a recovery that ends at once changes the sets.
  std::vector<std::string> next;
  const auto list = [this, &next](const std::string& object) {
    if (recovering_.size() + next.size() >= recovery_limit_) return false;
    if (!recovering_.contains(object)) next.push_back(object);
    return true;
  };
  for (auto it = missing_.begin(); it != missing_.end() && list(it->first); ++it) continue;
  for (const auto& [osd, objects] : peer_missing_) {
    for (auto it = objects.begin(); it != objects.end() && list(*it); ++it) continue;
  }
  for (const std::string& object : next) {
    if (!recovering_.contains(object)) start_recovery(object);
  }
}

void Pg::start_recovery(const std::string& object) {
  recovering_[object].attempt = ++recovery_attempts_;
  if (missing_.contains(object)) return pull_object(object);
  push_object(object);
}

OsdId Pg::next_source(const std::string& object) const {
  const std::vector<OsdId>& tried = recovering_.at(object).tried;
  const auto may_have_it = [this, &object, &tried](OsdId source) {
    if (!host_.is_peer(source)) return false;
    const auto lacks = peer_missing_.find(source);
    if (lacks != peer_missing_.end() && lacks->second.contains(object)) return false;
    return std::find(tried.begin(), tried.end(), source) == tried.end();
  };
  if (const auto repair = repair_sources_.find(object); repair != repair_sources_.end()) {
    const auto good = std::find_if(repair->second.begin(), repair->second.end(), may_have_it);
    if (good != repair->second.end() && *good != host_.self()) return *good;
  }
  const auto found = std::find_if(sources_.begin(), sources_.end(), may_have_it);
  if (found != sources_.end()) return *found;
  if (!missing_.at(object).is_known()) return kNoOsd;
  const auto other = std::find_if(other_sources_.begin(), other_sources_.end(), may_have_it);
  return other == other_sources_.end() ? kNoOsd : *other;
}

void Pg::pull_object(const std::string& object) {
  if (missing_.at(object).removed && !planted(PlantedBug::resurrect_delete)) {
    return remove_missing(object);
  }
  if (fetcher_.is_fetching(object)) {
    // Its answers could not be told from ours.
    recovering_.erase(object);
    return retry_recovery(object);
  }
  const OsdId source = next_source(object);
  if (source == kNoOsd) return report_unfound(object);
  recovering_[object].pulling_from = source;
  host_.send_to_osd(source, net::encode(net::Pull{id_, spec_.interval, object}));
}

// A deletion needs no source: it is carried out here, then on those that lack it too.
void Pg::remove_missing(const std::string& object) {
  pg_recovered_deletion.hit();
  net::Push push;
  push.pg = id_;
  push.interval = spec_.interval;
  push.object = object;
  push.first = push.last = push.is_pull_reply = true;
  recovering_[object].pulling_from = host_.self();
  on_push(0, host_.self(), std::move(push), {});
}

// Reported, and tried again; nobody is shown anything of it.
void Pg::report_unfound(const std::string& object) {
  pg_object_unfound.hit();
  recovering_.erase(object);
  retry_unfound(object, Status(ErrorCode::unfound, "no reachable OSD has the object"));
}

void Pg::retry_unfound(const std::string& object, const Status& status) {
  host_.recovery_failed(id_, spec_.interval, object, status);
  retry_recovery(object);
}

void Pg::retry_recovery(const std::string& object) {
  host_.executor().run_after(kRetryNs, [this, object, interval = spec_.interval] {
    if (current(interval) && phase_ == Phase::active && object_is_missing_anywhere(object) &&
        !recovering_.contains(object)) {
      start_recovery(object);
    }
  });
}

void Pg::pull_failed(const std::string& object, const Status& status) {
  const auto found = recovering_.find(object);
  if (found == recovering_.end() || found->second.pulling_from == kNoOsd) return;
  pg_pull_failed.hit();
  found->second.tried.push_back(std::exchange(found->second.pulling_from, kNoOsd));
  host_.recovery_failed(id_, spec_.interval, object, status);
  pull_object(object);
}

void Pg::peer_gone(OsdId osd) {
  fetcher_.source_gone(osd);
  std::vector<std::string> asked;
  for (const auto& [object, recovery] : recovering_) {
    if (recovery.pulling_from == osd) asked.push_back(object);
  }
  for (const std::string& object : asked) {
    pull_failed(object, Status(ErrorCode::disconnected, "the source is down"));
  }
}

void Pg::push_object(const std::string& object) {
  auto outgoing = std::make_shared<Outgoing>();
  outgoing->object = object;
  outgoing->interval = spec_.interval;
  Recovery& recovery = recovering_[object];
  outgoing->attempt = recovery.attempt;
  for (const auto& [osd, objects] : peer_missing_) {
    if (!objects.contains(object)) continue;
    outgoing->targets.push_back(osd);
    recovery.pushing_to.insert(osd);
  }
  if (outgoing->targets.empty()) return recovery_step_done(object);
  send_object(std::move(outgoing));
}

void Pg::on_pull(net::ConnectionId from, const net::Pull& pull) {
  if (!current(pull.interval) || missing_.contains(pull.object)) {
    const ErrorCode code = current(pull.interval) ? ErrorCode::unfound : ErrorCode::stale_epoch;
    host_.send_on(from, net::encode(net::PushAck{id_, pull.interval, pull.object, code}));
    return;
  }
  auto outgoing = std::make_shared<Outgoing>();
  outgoing->object = pull.object;
  outgoing->interval = pull.interval;
  outgoing->reply_to = from;
  send_object(std::move(outgoing));
}

void Pg::push_applied(const net::Push& push, net::ConnectionId connection, const Status& status) {
  if (!status && push.is_pull_reply) {
    const auto own = recovering_.find(push.object);
    const bool is_deletion = own != recovering_.end() && own->second.pulling_from == host_.self();
    if (!is_deletion) return pull_failed(push.object, status);
    // There is no other source to ask, and a store that refuses at once is not asked in a hot loop.
    recovering_.erase(own);
    return retry_recovery(push.object);
  }
  if (!push.last && status) return;
  if (status) {
    missing_.erase(push.object);
    bad_copies_.erase(push.object);
    incoming_.erase(push.object);
    received_.insert(push.object);
  }
  if (!push.is_pull_reply) {
    const net::PushAck ack{id_, push.interval, push.object, status.code()};
    return host_.send_on(connection, net::encode(ack));
  }
  const auto found = recovering_.find(push.object);
  if (found == recovering_.end()) return;
  found->second.pulling_from = kNoOsd;
  ++counters_.recovered_objects;
  push_object(push.object);
}

void Pg::on_push_ack(OsdId from, const net::PushAck& ack) {
  if (!current(ack.interval) || fetcher_.on_refusal(from, ack)) return;
  const auto found = recovering_.find(ack.object);
  if (found == recovering_.end()) return;
  if (found->second.pulling_from == from) {
    return pull_failed(ack.object, Status(ack.code, "the source could not give the object"));
  }
  if (!found->second.pushing_to.contains(from)) return;
  if (ack.code != ErrorCode::ok) {
    host_.recovery_failed(id_, spec_.interval, ack.object, Status(ack.code, "the push failed"));
    recovering_.erase(found);
    return retry_recovery(ack.object);
  }
  found->second.pushing_to.erase(from);
  ++counters_.recovered_objects;
  if (const auto peer = peer_missing_.find(from); peer != peer_missing_.end()) {
    peer->second.erase(ack.object);
    if (peer->second.empty()) peer_missing_.erase(peer);
  }
  if (found->second.pushing_to.empty()) recovery_step_done(ack.object);
}

void Pg::recovery_step_done(const std::string& object) {
  recovering_.erase(object);
  repair_sources_.erase(object);
  repairer_.object_recovered(object);
  open_object(object);
  report_progress();
  pump_recovery();
}

void Pg::report_progress() {
  host_.recovery_progress(id_, spec_.interval, missing_.size() + peer_missing_count());
}

}  // namespace cairn::pg
