// Registering, renewing and answering: see watch_client.hh.
#include "objecter/watch_client.hh"

#include <utility>

namespace cairn::objecter {

using net::Step;
using net::StepCode;

namespace {
constexpr std::uint64_t kNsPerMs = 1'000'000;
// Notifications that nobody answers: the oldest is forgotten.
constexpr std::size_t kMaxUnanswered = 64;
}  // namespace

WatchClient::WatchClient(io::Executor& executor, Objecter& objecter, WatchEvents events)
    : executor_(executor), objecter_(objecter), events_(std::move(events)) {
  objecter_.on_notify([this](net::ConnectionId connection, net::WatchNotify notify) {
    take_notify(connection, std::move(notify));
  });
}

void WatchClient::watch(WatchId id, WatchSpec spec, UniqueFunction<void(Status)> registered) {
  Watch& watch = watches_[id];
  watch.spec = std::move(spec);
  watch.registered = std::move(registered);
  renew(id);
}

void WatchClient::renew(WatchId id) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  const WatchSpec& spec = found->second.spec;
  std::vector<Step> steps = {{StepCode::assert_exists, 0, 0, {}, {}},
                             {StepCode::watch, 0, spec.timeout_ms, spec.cookie, spec.description}};
  const std::uint64_t sent_ns = executor_.now_ns();
  objecter_.submit(
      spec.pool, spec.object, std::move(steps), {},
      [this, alive = alive_, id, sent_ns](const Status& status, const net::OpReply&, Buffer) {
        if (*alive) renewed(id, sent_ns, status);
      });
}

void WatchClient::renewed(WatchId id, std::uint64_t sent_ns, const Status& status) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  Watch& watch = found->second;
  const bool first = static_cast<bool>(watch.registered);
  const std::uint64_t timeout_ns = watch.spec.timeout_ms * kNsPerMs;
  if (!status && (first || status.code() != ErrorCode::busy)) {
    auto registered = std::move(watch.registered);
    watches_.erase(found);
    return first ? registered(status) : events_.on_end(id, status);
  }
  const bool lapsed = !first && executor_.now_ns() - watch.renewed_ns > timeout_ns;
  if (status) watch.renewed_ns = sent_ns;
  executor_.run_after(timeout_ns / 4, [this, id] { renew(id); });
  if (first) std::exchange(watch.registered, nullptr)(status);
  if (lapsed) events_.on_lapse(id);
}

void WatchClient::unwatch(WatchId id, UniqueFunction<void(Status)> done) {
  auto node = watches_.extract(id);
  if (!node) return done(Status(ErrorCode::not_found, "no such watch"));
  const WatchSpec& spec = node.mapped().spec;
  objecter_.submit(spec.pool, spec.object, {{StepCode::unwatch, 0, 0, spec.cookie, {}}}, {},
                   [done = std::move(done)](Status status, const net::OpReply&, Buffer) mutable {
                     done(std::move(status));
                   });
}

void WatchClient::take_notify(net::ConnectionId connection, net::WatchNotify notify) {
  for (const auto& [id, watch] : watches_) {
    const WatchSpec& spec = watch.spec;
    if (spec.pool != notify.pg.pool || spec.object != notify.object ||
        spec.cookie != notify.cookie) {
      continue;
    }
    if (unanswered_.size() >= kMaxUnanswered) unanswered_.erase(unanswered_.begin());
    const std::uint64_t answer = next_answer_++;
    unanswered_[answer] = {
        connection, {notify.pg, notify.notify_id, notify.object, notify.cookie, std::string()}};
    return events_.on_notify(id, answer, std::move(notify.payload));
  }
}

void WatchClient::answer(std::uint64_t answer, std::string reply) {
  auto node = unanswered_.extract(answer);
  if (!node || reply.size() > net::kMaxNotifyPayloadBytes) return;
  node.mapped().ack.reply = std::move(reply);
  objecter_.answer_notify(node.mapped().connection, node.mapped().ack);
}

}  // namespace cairn::objecter
