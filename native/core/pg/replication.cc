// Replication: one log entry is applied here and on every other member of the acting set; the
// client hears of it when all of them have it durable.
#include <algorithm>
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "pg/pg.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_log_kept_for_resends);

using net::Step;
using net::StepCode;

CAIRN_DEFINE_PROBE(pg_stale_replicate_dropped);
CAIRN_DEFINE_PROBE(pg_replicate_repeated);
CAIRN_DEFINE_PROBE(pg_write_resent_to_peer);

namespace {

bool touches_more_than_data(StepCode code) {
  return code != StepCode::write && code != StepCode::write_zeroes && code != StepCode::punch;
}

}  // namespace

void Pg::submit(object_store::Transaction transaction, object_store::Done done) {
  ++undurable_;
  const bool is_logged = transaction.may_use_reserve();
  host_.store().submit(std::move(transaction),
                       [this, is_logged, done = std::move(done)](Status status) mutable {
                         check_outcome(status, is_logged);
                         done(std::move(status));
                         report_interval_when_quiet();
                       });
}

void Pg::check_outcome(const Status& status, bool is_logged) {
  --undurable_;
  // A push that is damaged, or has no room, is refused as a whole and asked for again;
  // anything else would leave the log ahead of the store.
  const bool is_refused_push = status.code() == ErrorCode::checksum_mismatch ||
                               (status.code() == ErrorCode::no_space && !is_logged);
  if (!status && !is_refused_push) host_.store_refused(id_, status);
}

std::uint64_t Pg::trim_point() {
  const std::uint64_t head = log_.head_number();
  const std::uint64_t tail = log_.tail_number();
  const std::uint64_t kept = host_.log_entries_kept();
  std::uint64_t to = head > kept ? head - kept : 0;
  // Nothing that is still in flight, and nothing a member may lack.
  if (!in_flight_.empty()) to = std::min(to, in_flight_.begin()->first - 1);
  // Trimmed in steps, so that most writes carry no trimming.
  const std::uint64_t step = kept / 8;
  if (to < tail + step) return 0;
  const std::uint64_t most = kMaxLogEntries / kLogEntriesKept * kept;
  const std::uint64_t limit = head > most ? head - most : 0;
  const std::uint64_t forced = std::max(tail, std::min(limit, to));
  // The entry that stood in the way of the last write mostly does so for hundreds of writes, until
  // its client is heard again or the limit reaches it: it is asked before all that lie before it,
  // which are cold memory.
  const bool is_asked_first = first_held_ > forced && first_held_ <= std::min(to, tail + step);
  if (is_asked_first && horizon_.is_held(log_.at(first_held_).request)) return 0;
  std::uint64_t unheld = forced;
  while (unheld < to && !horizon_.is_held(log_.at(unheld + 1).request)) ++unheld;
  if (unheld < to) {
    pg_log_kept_for_resends.hit();
    first_held_ = unheld + 1;
  }
  return unheld < tail + step ? 0 : unheld;
}

void Pg::trim_log(std::uint64_t up_to_number, object_store::Transaction& transaction) {
  const std::uint64_t last = std::min(up_to_number, log_.head_number());
  for (std::uint64_t number = log_.tail_number() + 1; number <= last; ++number) {
    horizon_.trimmed(log_.at(number));
  }
  log_.trim(last);
  transaction.log_trim(id_, last);
  horizon_.store(id_, transaction);
}

void Pg::add_steps(const net::LogEntry& entry, const std::vector<Step>& steps, const Buffer& data,
                   object_store::Transaction& transaction) const {
  const ObjectId object = object_id(entry.object);
  const Version version = entry.version;
  std::uint64_t written = 0;
  for (const Step& step : steps) {
    switch (step.code) {
      case StepCode::write:
        transaction.write(id_, object, step.offset, data.slice(written, step.length), version);
        written += step.length;
        break;
      case StepCode::write_zeroes:
        transaction.write_zeroes(id_, object, step.offset, step.length, version);
        break;
      case StepCode::punch:
        transaction.punch(id_, object, step.offset, step.length, version);
        break;
      case StepCode::touch:
        transaction.touch(id_, object, version);
        break;
      case StepCode::remove:
        transaction.remove(id_, object);
        break;
      case StepCode::omap_set:
        transaction.omap_set(id_, object, step.key, step.value, version);
        break;
      case StepCode::omap_remove:
        transaction.omap_remove(id_, object, step.key, version);
        break;
      case StepCode::clone_head:
        transaction.clone(id_, object, layer_id(entry.object, step.offset), version);
        break;
      case StepCode::restore_head:
        transaction.clone(id_, layer_id(entry.object, step.offset), object, version);
        break;
      case StepCode::remove_clone:
        transaction.remove(id_, layer_id(entry.object, step.offset));
        break;
      case StepCode::write_layer:
        transaction.write(id_, layer_id(entry.object, net::unpack_ids(step.value).front()),
                          step.offset, data.slice(written, step.length), version);
        written += step.length;
        break;
      case StepCode::share_blocks: {
        const std::vector<std::uint64_t> layers = net::unpack_ids(step.value);
        transaction.share(id_, layer_id(entry.object, layers.front()),
                          layer_id(entry.object, layers.back()), step.offset, step.length, version);
        break;
      }
      case StepCode::copy_clone:
        transaction.clone(id_, layer_id(entry.object, step.length),
                          layer_id(entry.object, step.offset), version);
        break;
      case StepCode::set_snapset:
        transaction.set_attr(id_, object, step.value, version);
        break;
      default:
        CAIRN_ASSERT(!"a log entry holds mutations only");
    }
  }
}

void Pg::apply_entry(net::LogEntry&& entry, const std::vector<Step>& steps, const Buffer& data,
                     std::uint64_t trim_to) {
  object_store::Transaction transaction;
  // The primary has asked for room; what is logged must happen on every member.
  transaction.allow_reserve();
  add_steps(entry, steps, data, transaction);
  const std::uint64_t number = entry.version.number;
  Writer writer;
  writer.reserve(48 + entry.object.size());
  net::encode(entry, writer);
  transaction.log_append(id_, number, writer.take());
  log_.append(std::move(entry));
  if (trim_to > log_.tail_number()) trim_log(trim_to, transaction);
  ++undurable_;
  // As submit(), with a callback that is small.
  host_.store().submit(std::move(transaction),
                       [this, number, interval = spec_.interval](const Status& status) {
                         check_outcome(status, true);
                         // A failed store acknowledges nothing; the OSD reports itself failed.
                         if (status && current(interval)) entry_durable(number);
                         report_interval_when_quiet();
                       });
}

void Pg::entry_durable(std::uint64_t number) {
  if (spec_.role != Role::primary) return acknowledge_entry(number);
  note_commit(number, host_.self(), 0);
  member_done(number, host_.self());
}

void Pg::commit_write(ClientOp&& op, net::OpReply answer, const FamilyPlan& plan) {
  ++counters_.writes;
  counters_.write_bytes += op.data.size();
  const std::uint64_t number = log_.head_number() + 1;
  const std::uint64_t trim_to = trim_point();
  InFlightWrite& write = in_flight_.try_emplace(in_flight_.end(), number)->second;
  write.op = std::move(op);
  net::Replicate& message = write.message;
  message.pg = id_;
  message.interval = spec_.interval;
  message.entry.version = Version{spec_.interval, number};
  message.entry.request = write.op.request.id;
  message.entry.object = write.op.request.object;
  message.trim_to = trim_to;
  message.steps = std::move(write.op.request.steps);
  std::erase_if(message.steps, [](const Step& step) {
    return !is_mutation(step.code) && !is_internal(step.code);
  });
  write.begin = ~std::uint64_t{0};
  for (const Step& step : message.steps) {
    message.entry.removes = step.code == StepCode::remove && !plan.writes_set;
    write.whole_object = write.whole_object || touches_more_than_data(step.code);
    write.begin = std::min(write.begin, step.offset);
    write.end = std::max(write.end, step.offset + step.length);
  }
  if (plan.clone != 0 && !planted(PlantedBug::skip_clone))
    message.steps.insert(message.steps.begin(), {StepCode::clone_head, plan.clone, 0, {}, {}});
  if (plan.writes_set) {
    SnapSet set = plan.after->set;
    set.whiteout = plan.after->head ? Version{} : message.entry.version;
    message.steps.push_back({StepCode::set_snapset, 0, 0, {}, encode_snap_set(set)});
  }
  message.traced = write.op.times != nullptr;
  if (message.traced) write.op.times->committing_ns = host_.executor().now_ns();
  write.waiting_for = (std::uint64_t{1} << spec_.acting.size()) - 1;
  answer.exists = true;
  write.reply = std::move(answer);
  write.state = &objects_[write.op.request.object];
  ++write.state->in_flight_writes;
  send_to_members(write);
  apply_entry(std::move(message.entry), message.steps, write.op.data, trim_to);
}

void Pg::send_to_members(const InFlightWrite& write) {
  std::size_t left = spec_.acting.size() - 1;
  if (left == 0) return;
  net::Frame frame = net::encode(write.message, write.op.data);
  for (const OsdId member : spec_.acting) {
    if (member == host_.self()) continue;
    host_.send_to_osd(member, --left == 0 ? std::move(frame) : frame);
  }
}

std::uint64_t Pg::member_bit(OsdId osd) const {
  const auto found = std::find(spec_.acting.begin(), spec_.acting.end(), osd);
  return found == spec_.acting.end() ? 0 : std::uint64_t{1} << (found - spec_.acting.begin());
}

void Pg::note_commit(std::uint64_t number, OsdId member, std::uint64_t commit_ns) {
  const auto found = in_flight_.find(number);
  if (found == in_flight_.end() || found->second.op.times == nullptr) return;
  OpTimes& times = *found->second.op.times;
  const std::uint64_t took_ns = host_.executor().now_ns() - times.committing_ns;
  if (member == host_.self()) {
    times.own_commit_ns = took_ns;
  } else {
    times.replica_ns = took_ns;
    times.replica_commit_ns = commit_ns;
  }
}

void Pg::member_done(std::uint64_t number, OsdId member) {
  const auto found = in_flight_.find(number);
  if (found == in_flight_.end()) return;
  if (member == host_.self()) found->second.op.slot.release();
  found->second.waiting_for &= ~member_bit(member);
  if (found->second.waiting_for == 0 || planted(PlantedBug::ack_before_replica)) {
    auto node = in_flight_.extract(found);
    finish_write(node.mapped());
  }
}

void Pg::finish_write(InFlightWrite& write) {
  const std::string& object = write.op.request.object;
  counters_.write_ns.record(host_.executor().now_ns() - write.op.arrived_ns);
  if (write.op.trims) {
    trimmer_.object_done(object, Status::ok(), write.op.trims_more);
  } else if (!write.op.committed) {
    reply(write.op, std::move(write.reply), {});
  }
  CAIRN_ASSERT(write.state->in_flight_writes > 0);
  --write.state->in_flight_writes;
  release_object(object);
  if (write.op.committed) write.op.committed();
}

void Pg::on_replicate_ack(OsdId from, const net::ReplicateAck& ack) {
  if (!current(ack.interval) || phase_ != Phase::active) return;
  if (ack.code != ErrorCode::ok) return;
  note_commit(ack.number, from, ack.commit_ns.value_or(0));
  member_done(ack.number, from);
}

void Pg::on_replicate(net::ConnectionId from, net::Replicate&& message, const Buffer& data) {
  if (message.interval < spec_.interval) {
    pg_stale_replicate_dropped.hit();
    if (!planted(PlantedBug::stale_interval_op)) return;
    object_store::Transaction over_newer;
    add_steps(message.entry, message.steps, data, over_newer);
    return submit(std::move(over_newer), [](const Status&) {});
  }
  if (!current(message.interval) || phase_ != Phase::replica_active) return;
  const std::uint64_t number = message.entry.version.number;
  if (number <= log_.head_number()) {
    pg_replicate_repeated.hit();
    // Sent again after a lost connection: acknowledged at once when durable, else with the others.
    const auto pending =
        std::find_if(replica_acks_.begin(), replica_acks_.end(),
                     [number](const ReplicaAck& ack) { return ack.number == number; });
    if (pending == replica_acks_.end()) return acknowledge({number, from, std::nullopt});
    pending->connection = from;
    return;
  }
  // A gap means that frames before this one were lost with a connection; the primary sends them
  // again in order when it has reconnected.
  if (number != log_.head_number() + 1) return;
  replica_acks_.push_back({number, from, std::nullopt});
  if (message.traced) replica_acks_.back().started_ns = host_.executor().now_ns();
  apply_entry(std::move(message.entry), message.steps, data, message.trim_to);
}

// Entries become durable in their order. One that the store has refused stays here, and is never
// acknowledged, also when it is sent again; nor is one behind it, which would leave a gap in the
// log.
void Pg::acknowledge_entry(std::uint64_t number) {
  const auto found = std::find_if(replica_acks_.begin(), replica_acks_.end(),
                                  [number](const ReplicaAck& ack) { return ack.number == number; });
  if (found == replica_acks_.end()) return;
  const ReplicaAck ack = *found;
  replica_acks_.erase(found);
  acknowledge(ack);
}

void Pg::acknowledge(const ReplicaAck& ack) {
  std::optional<std::uint64_t> commit_ns;
  if (ack.started_ns) commit_ns = host_.executor().now_ns() - *ack.started_ns;
  host_.send_on(ack.connection, net::encode(net::ReplicateAck{id_, spec_.interval, ack.number,
                                                              ErrorCode::ok, commit_ns}));
}

void Pg::peer_reconnected(OsdId osd) {
  if (phase_ != Phase::active) return;
  for (auto& [number, write] : in_flight_) {
    if ((write.waiting_for & member_bit(osd)) == 0) continue;
    pg_write_resent_to_peer.hit();
    write.message.entry = log_.at(number);
    host_.send_to_osd(osd, net::encode(write.message, write.op.data));
  }
  if (!waiting_for_lease_.empty()) {
    lease_asked_ns_ = 0;
    ask_for_lease();
  }
  std::vector<std::string> again;
  for (auto& [object, recovery] : recovering_) {
    if (recovery.pulling_from == osd || recovery.pushing_to.contains(osd)) again.push_back(object);
  }
  for (const std::string& object : again) {
    recovering_.erase(object);
    start_recovery(object);
  }
}

}  // namespace cairn::pg
