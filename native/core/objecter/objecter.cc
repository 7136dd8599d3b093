// Sending and resending of operations: see objecter.hh.
#include "objecter/objecter.hh"

#include <algorithm>
#include <utility>

#include "crush/object_hash.hh"
#include "net/op_limits.hh"

namespace cairn::objecter {

OsdId ClientMap::Pool::primary(std::uint32_t seed) const {
  for (std::uint32_t i = 0; i < size; ++i) {
    const OsdId osd = acting[std::size_t{seed} * size + i];
    if (osd >= 0) return osd;
  }
  return kNoOsd;
}

net::Reservation ReservedStream::next(OsdId osd) {
  const std::uint64_t before = std::exchange(told[osd], answered);
  const std::uint64_t served = std::clamp<std::uint64_t>(answered - before, 1, 1'000'000);
  return {iops, id, static_cast<std::uint32_t>(served)};
}

Objecter::Objecter(io::Executor& executor, ClientId client, std::function<void(Epoch)> need_map)
    : executor_(executor), client_(client), need_map_(std::move(need_map)) {}

std::vector<OsdId> Objecter::acting_of(const PgId& pg) const {
  const auto pool = map_.pools.find(pg.pool);
  if (pool == map_.pools.end() || pg.seed >= pool->second.pg_num) return {};
  const auto row = pool->second.acting.begin() + std::ptrdiff_t{pg.seed} * pool->second.size;
  return {row, row + pool->second.size};
}

void Objecter::set_map(ClientMap map) {
  if (map.epoch <= map_.epoch) return;
  map_ = std::move(map);
  end_sessions_that_left();
  std::vector<std::uint64_t> gone;
  for (auto& [sequence, operation] : operations_) {
    const auto pool = map_.pools.find(operation.request.pg.pool);
    if (pool == map_.pools.end()) {
      gone.push_back(sequence);
      continue;
    }
    const bool split = find_pg(operation, pool->second.pg_num);
    const bool moved = split || operation.sent_to_acting != acting_of(operation.request.pg);
    if (!operation.sent || moved || !sessions_.contains(operation.target)) send(operation);
  }
  for (const std::uint64_t sequence : gone) {
    auto node = operations_.extract(sequence);
    counters_.in_flight = operations_.size();
    node.mapped().done(Status(ErrorCode::not_found, "the pool was removed"), {}, {});
  }
}

void Objecter::end_sessions_that_left() {
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    const auto osd = map_.osds.find(it->first);
    if (osd != map_.osds.end() && osd->second.incarnation == it->second.incarnation) {
      ++it;
      continue;
    }
    if (it->second.connection != 0) {
      by_connection_.erase(it->second.connection);
      messenger_->close(it->second.connection, Status(ErrorCode::canceled, "the OSD left the map"));
    }
    it = sessions_.erase(it);
  }
}

bool Objecter::find_pg(Operation& operation, std::uint32_t pg_num) {
  if (operation.pg_num == pg_num) return false;
  operation.pg_num = pg_num;
  if (!operation.fixed_seed) {
    const std::uint32_t hash = crush::object_name_hash(as_bytes(operation.request.object));
    operation.request.pg.seed = crush::stable_mod(hash, pg_num, crush::stable_mod_mask(pg_num));
  }
  return true;
}

void Objecter::submit(PoolId pool, std::string object, std::vector<net::Step> steps, Buffer data,
                      OpDone done) {
  submit(Target{pool, std::move(object)}, std::move(steps), std::move(data), std::move(done));
}

void Objecter::submit(Target target, std::vector<net::Step> steps, Buffer data, OpDone done) {
  const auto found = map_.pools.find(target.pool);
  if (!closed_ || found == map_.pools.end()) {
    Status why = closed_ ? Status(ErrorCode::not_found, "no such pool") : closed_;
    executor_.post(
        [done = std::move(done), why = std::move(why)]() mutable { done(std::move(why), {}, {}); });
    return;
  }
  net::OpRequest request;
  request.object = std::move(target.object);
  request.fence = std::move(target.fence);
  request.steps = std::move(steps);
  request.snap = target.snap;
  request.snap_context = std::move(target.context);
  if (Status status = net::check_limits(request, data.size()); !status) {
    executor_.post([done = std::move(done), status = std::move(status)]() mutable {
      done(std::move(status), {}, {});
    });
    return;
  }
  const std::uint64_t sequence = next_sequence_++;
  Operation& operation = operations_[sequence];
  operation.request = std::move(request);
  operation.request.id = RequestId{client_, sequence};
  operation.request.pg = PgId{target.pool, target.seed.value_or(0)};
  operation.fixed_seed = target.seed.has_value();
  find_pg(operation, found->second.pg_num);
  CAIRN_ASSERT(operation.request.pg.seed < operation.pg_num);
  operation.data = std::move(data);
  operation.done = std::move(done);
  operation.started_ns = executor_.now_ns();
  operation.stream = std::move(target.stream);
  operation.trace = tracing_->current();
  operation.request.traced = operation.trace != nullptr;
  ++counters_.operations;
  counters_.in_flight = operations_.size();
  send(operation);
}

void Objecter::send(Operation& operation) {
  operation.sent = false;
  operation.sent_to_acting = acting_of(operation.request.pg);
  const auto pool = map_.pools.find(operation.request.pg.pool);
  operation.target = pool->second.primary(operation.request.pg.seed);
  // Without a primary the operation waits for a map that has one.
  if (operation.target == kNoOsd || map_.paused) return;
  const auto session = sessions_.find(operation.target);
  if (session == sessions_.end()) return dial(operation.target);
  if (!session->second.up) return;
  operation.sent = true;
  const bool is_reserved = operation.stream != nullptr && operation.stream->iops != 0;
  operation.request.reservation =
      is_reserved ? operation.stream->next(operation.target) : net::Reservation{};
  if (operation.trace != nullptr) operation.sent_ns = executor_.now_ns();
  operation.request.map_epoch = map_.epoch;
  operation.request.oldest_unacked = operations_.begin()->first;
  operation.request.resent = std::exchange(operation.sent_ever, true);
  messenger_->send(session->second.connection, net::encode(operation.request, operation.data));
}

void Objecter::dial(OsdId osd) {
  const auto found = map_.osds.find(osd);
  if (found == map_.osds.end()) return;
  Session& session = sessions_[osd];
  session.incarnation = found->second.incarnation;
  session.up = false;
  const net::Entity expected{net::EntityKind::osd, static_cast<std::uint64_t>(osd),
                             session.incarnation};
  session.connection = messenger_->connect(found->second.address, expected);
  by_connection_[session.connection] = osd;
}

void Objecter::on_accepted(net::ConnectionId connection, const net::Entity&) {
  messenger_->close(connection,
                    Status(ErrorCode::protocol_error, "a client accepts no connections"));
}

void Objecter::on_connected(net::ConnectionId connection, const net::Entity&) {
  const auto found = by_connection_.find(connection);
  if (found == by_connection_.end()) return;
  Session& session = sessions_[found->second];
  session.up = true;
  session.up_since_ns = executor_.now_ns();
  resend_all_to(found->second);
}

void Objecter::resend_all_to(OsdId osd) {
  for (auto& [sequence, operation] : operations_) {
    if (operation.target != osd) continue;
    ++counters_.resends;
    send(operation);
  }
}

void Objecter::on_closed(net::ConnectionId connection, const Status&) {
  const auto found = by_connection_.find(connection);
  if (found == by_connection_.end()) return;
  const OsdId osd = found->second;
  by_connection_.erase(found);
  Session& session = sessions_[osd];
  // At once after a connection that was good for a while; an OSD that hangs up on what we send, or
  // is not there, is dialed at a pace.
  const bool was_good = session.up && executor_.now_ns() - session.up_since_ns >= kRetryNs;
  session.up = false;
  session.connection = 0;
  ++counters_.connection_losses;
  need_map_(map_.epoch + 1);
  run_after(was_good ? 0 : kRetryNs, [this, osd] {
    const auto again = sessions_.find(osd);
    if (again != sessions_.end() && again->second.connection == 0) dial(osd);
  });
}

std::uint32_t Objecter::pg_num(PoolId pool) const {
  const auto found = map_.pools.find(pool);
  return found == map_.pools.end() ? 0 : found->second.pg_num;
}

void Objecter::answer_notify(net::ConnectionId connection, const net::WatchNotifyAck& ack) {
  if (by_connection_.contains(connection)) messenger_->send(connection, net::encode(ack));
}

void Objecter::on_frame(net::ConnectionId connection, net::Frame frame) {
  if (frame.type == net::FrameType::watch_notify) {
    net::WatchNotify notify;
    Status decoded = net::decode(frame, notify);
    if (!decoded) return messenger_->close(connection, std::move(decoded));
    if (notify_handler_) notify_handler_(connection, std::move(notify));
    return;
  }
  net::OpReply reply;
  Status status = frame.type == net::FrameType::op_reply
                      ? net::decode(frame, reply)
                      : Status(ErrorCode::protocol_error, "unexpected frame type");
  if (!status) return messenger_->close(connection, std::move(status));
  handle_reply(std::move(reply), std::move(frame.data));
}

void Objecter::handle_reply(net::OpReply reply, Buffer data) {
  const auto found = operations_.find(reply.sequence);
  if (found == operations_.end()) return;  // answered before, on another connection
  Operation& operation = found->second;
  if (reply.code == ErrorCode::stale_epoch || reply.code == ErrorCode::not_primary ||
      reply.code == ErrorCode::busy || reply.code == ErrorCode::not_active) {
    ++counters_.resends;
    operation.sent = false;
    if (reply.epoch > map_.epoch) return await_map(reply.epoch);
    if (operation.request.map_epoch < map_.epoch && reply.code == ErrorCode::stale_epoch) {
      return send(operation);
    }
    return retry_later(reply.sequence);
  }
  auto node = operations_.extract(found);
  counters_.in_flight = operations_.size();
  answer(std::move(node.mapped()), std::move(reply), std::move(data));
}

void Objecter::answer(Operation operation, net::OpReply reply, Buffer data) {
  const std::uint64_t now_ns = executor_.now_ns();
  counters_.latency_ns.record(now_ns - operation.started_ns);
  if (operation.stream != nullptr) ++operation.stream->answered;
  Status status = Status::ok();
  if (reply.code != ErrorCode::ok) {
    ++counters_.errors;
    status = Status(reply.code, reply.message);
  }
  if (operation.trace == nullptr) {
    return operation.done(std::move(status), std::move(reply), std::move(data));
  }
  operation.trace->add({operation.started_ns, operation.sent_ns, now_ns, reply.trace});
  const TraceScope scope(tracing_.get(), operation.trace);
  operation.done(std::move(status), std::move(reply), std::move(data));
}

// set_map() sends the operations again that wait for it.
void Objecter::await_map(Epoch epoch) {
  need_map_(epoch);
  awaited_map_ = std::max(awaited_map_, epoch);
  if (std::exchange(asks_for_map_, true)) return;
  run_after(kAskAgainNs, [this] {
    asks_for_map_ = false;
    if (map_.epoch < awaited_map_ && !operations_.empty()) await_map(awaited_map_);
  });
}

void Objecter::retry_later(std::uint64_t sequence) {
  run_after(kRetryNs, [this, sequence] {
    const auto found = operations_.find(sequence);
    if (found == operations_.end() || found->second.sent) return;
    need_map_(map_.epoch + 1);
    send(found->second);
  });
}

void Objecter::run_after(std::uint64_t delay_ns, io::Task task) {
  executor_.run_after(delay_ns,
                      [life = std::weak_ptr<const bool>(life_), task = std::move(task)]() mutable {
                        if (!life.expired()) task();
                      });
}

void Objecter::cancel_all(const Status& reason) {
  std::map<std::uint64_t, Operation> operations = std::exchange(operations_, {});
  counters_.in_flight = 0;
  for (auto& [sequence, operation] : operations) operation.done(reason, {}, {});
}

void Objecter::close(const Status& reason) {
  closed_ = reason;
  cancel_all(reason);
}

std::uint64_t Objecter::oldest_operation_ns() const {
  return operations_.empty() ? 0 : executor_.now_ns() - operations_.begin()->second.started_ns;
}

}  // namespace cairn::objecter
