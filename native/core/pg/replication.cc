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
  host_.store().submit(
      std::move(transaction), [this, is_logged, done = std::move(done)](Status status) mutable {
        --undurable_;
        // A push that is damaged, or has no room, is refused as a whole and asked for again;
        // anything else would leave the log ahead of the store.
        const bool is_refused_push = status.code() == ErrorCode::checksum_mismatch ||
                                     (status.code() == ErrorCode::no_space && !is_logged);
        if (!status && !is_refused_push) host_.store_refused(id_, status);
        done(std::move(status));
        report_interval_when_quiet();
      });
}

std::uint64_t Pg::trim_point() const {
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
  std::uint64_t unheld = std::max(tail, std::min(limit, to));
  while (unheld < to && !horizon_.is_held(log_.at(unheld + 1).request)) ++unheld;
  if (unheld < to) pg_log_kept_for_resends.hit();
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

void Pg::apply_entry(net::LogEntry entry, const std::vector<Step>& steps, Buffer data,
                     std::uint64_t trim_to, object_store::Done done) {
  object_store::Transaction transaction;
  // The primary has asked for room; what is logged must happen on every member.
  transaction.allow_reserve();
  add_steps(entry, steps, data, transaction);
  const Version version = entry.version;
  Writer writer;
  writer.reserve(48 + entry.object.size());
  net::encode(entry, writer);
  transaction.log_append(id_, version.number, writer.take());
  log_.append(std::move(entry));
  if (trim_to > log_.tail_number()) trim_log(trim_to, transaction);
  submit(std::move(transaction), std::move(done));
}

void Pg::commit_write(ClientOp op, net::OpReply answer, const FamilyPlan& plan) {
  ++counters_.writes;
  counters_.write_bytes += op.data.size();
  InFlightWrite write;
  write.number = log_.head_number() + 1;
  net::Replicate message;
  message.pg = id_;
  message.interval = spec_.interval;
  message.entry.version = Version{spec_.interval, write.number};
  message.entry.request = op.request.id;
  message.entry.object = op.request.object;
  message.trim_to = trim_point();
  write.begin = ~std::uint64_t{0};
  message.steps.reserve(op.request.steps.size() + 2);  // with what snapshots add
  if (plan.clone != 0 && !planted(PlantedBug::skip_clone))
    message.steps.push_back({StepCode::clone_head, plan.clone, 0, {}, {}});
  for (const Step& step : op.request.steps) {
    if (!is_mutation(step.code) && !is_internal(step.code)) continue;
    message.steps.push_back(step);
    message.entry.removes = step.code == StepCode::remove && !plan.writes_set;
    write.whole_object = write.whole_object || touches_more_than_data(step.code);
    write.begin = std::min(write.begin, step.offset);
    write.end = std::max(write.end, step.offset + step.length);
  }
  if (plan.writes_set) {
    SnapSet set = plan.after->set;
    set.whiteout = plan.after->head ? Version{} : message.entry.version;
    message.steps.push_back({StepCode::set_snapset, 0, 0, {}, encode_snap_set(set)});
  }
  message.traced = op.times != nullptr;
  if (op.times != nullptr) op.times->committing_ns = host_.executor().now_ns();
  write.waiting_for = spec_.acting;
  answer.exists = true;
  write.reply = std::move(answer);
  ++objects_[op.request.object].in_flight_writes;
  const Buffer data = op.data;
  const std::uint64_t number = write.number;
  write.op = std::move(op);
  if (spec_.acting.size() > 1) {
    write.frame = net::encode(message, data);
    for (const OsdId member : spec_.acting) {
      if (member != host_.self()) host_.send_to_osd(member, write.frame);
    }
  }
  in_flight_.emplace(number, std::move(write));
  apply_entry(std::move(message.entry), message.steps, data, message.trim_to,
              [this, number, interval = spec_.interval](Status status) {
                // A failed store acknowledges nothing; the OSD reports itself failed.
                if (!status || !current(interval)) return;
                note_commit(number, host_.self(), 0);
                member_done(number, host_.self());
              });
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
  std::vector<OsdId>& waiting = found->second.waiting_for;
  waiting.erase(std::remove(waiting.begin(), waiting.end(), member), waiting.end());
  if (waiting.empty() || planted(PlantedBug::ack_before_replica)) finish_write(number);
}

void Pg::finish_write(std::uint64_t number) {
  auto node = in_flight_.extract(number);
  InFlightWrite& write = node.mapped();
  counters_.write_ns.record(host_.executor().now_ns() - write.op.arrived_ns);
  if (write.op.trims) {
    trimmer_.object_done(write.op.request.object, Status::ok(), write.op.trims_more);
  } else if (!write.op.committed) {
    reply(write.op, std::move(write.reply), {});
  }
  const auto found = objects_.find(write.op.request.object);
  CAIRN_ASSERT(found != objects_.end() && found->second.in_flight_writes > 0);
  --found->second.in_flight_writes;
  release_object(write.op.request.object);
  if (write.op.committed) write.op.committed();
}

void Pg::on_replicate_ack(OsdId from, const net::ReplicateAck& ack) {
  if (!current(ack.interval) || phase_ != Phase::active) return;
  if (ack.code != ErrorCode::ok) return;
  note_commit(ack.number, from, ack.commit_ns.value_or(0));
  member_done(ack.number, from);
}

void Pg::on_replicate(net::ConnectionId from, net::Replicate message, Buffer data) {
  if (message.interval < spec_.interval) {
    pg_stale_replicate_dropped.hit();
    if (!planted(PlantedBug::stale_interval_op)) return;
    object_store::Transaction over_newer;
    add_steps(message.entry, message.steps, data, over_newer);
    return submit(std::move(over_newer), [](const Status&) {});
  }
  if (!current(message.interval) || phase_ != Phase::replica_active) return;
  const std::uint64_t number = message.entry.version.number;
  const Epoch interval = message.interval;
  const auto acknowledge = [this, number, interval](
                               net::ConnectionId connection,
                               std::optional<std::uint64_t> commit_ns = std::nullopt) {
    const net::ReplicateAck ack{id_, interval, number, ErrorCode::ok, commit_ns};
    host_.send_on(connection, net::encode(ack));
  };
  if (number <= log_.head_number()) {
    pg_replicate_repeated.hit();
    // Sent again after a lost connection: acknowledged at once when durable, else with the others.
    const auto pending = replica_acks_.find(number);
    if (pending == replica_acks_.end()) return acknowledge(from);
    pending->second = from;
    return;
  }
  // A gap means that frames before this one were lost with a connection; the primary sends them
  // again in order when it has reconnected.
  if (number != log_.head_number() + 1) return;
  replica_acks_[number] = from;
  apply_entry(std::move(message.entry), message.steps, std::move(data), message.trim_to,
              [this, number, interval, acknowledge, traced = message.traced,
               started_ns = host_.executor().now_ns()](Status status) {
                if (!status || !current(interval)) return;
                const auto pending = replica_acks_.find(number);
                if (pending == replica_acks_.end()) return;
                const net::ConnectionId connection = pending->second;
                replica_acks_.erase(pending);
                if (!traced) return acknowledge(connection);
                acknowledge(connection, host_.executor().now_ns() - started_ns);
              });
}

void Pg::peer_reconnected(OsdId osd) {
  if (phase_ != Phase::active) return;
  for (const auto& [number, write] : in_flight_) {
    const auto& waiting = write.waiting_for;
    if (std::find(waiting.begin(), waiting.end(), osd) != waiting.end()) {
      pg_write_resent_to_peer.hit();
      host_.send_to_osd(osd, write.frame);
    }
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
