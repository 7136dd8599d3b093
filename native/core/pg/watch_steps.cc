// The steps of an operation that are about watchers (watch.hh), and their frames.
#include <utility>

#include "net/watch_messages.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

// "00000000000000ff/cookie": the name of a watcher in replies.
std::string watcher_name(ClientId client, const std::string& cookie) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string name;
  for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[(client >> shift) & 15];
  return name + "/" + cookie;
}

std::string watcher_value(const Watcher& watcher, std::uint64_t now_ns) {
  Writer writer;
  writer.put(watcher.timeout_ns / kNsPerMs);
  writer.put((now_ns - watcher.seen_ns) / kNsPerMs);
  writer.text16(watcher.description);
  return std::string(as_text(writer.span()));
}

}  // namespace

void Pg::run_watch(std::unique_ptr<Running> running, const Step& step) {
  const std::string& object = running->op.request.object;
  const ClientId client = running->op.request.id.client;
  const std::uint64_t now = host_.executor().now_ns();
  if (step.code == StepCode::unwatch) {
    watches_.unwatch(object, client, step.key);
    return run_steps(std::move(running));
  }
  Result<bool> added = watches_.watch(
      object, {client, step.key, running->op.connection, step.value, step.length * kNsPerMs, now});
  if (!added) {
    return fail_steps(std::move(running), added.status().code(), added.status().message());
  }
  running->reply.omap.emplace_back("watch", *added ? "new" : "renewed");
  run_steps(std::move(running));
}

void Pg::run_list_watchers(std::unique_ptr<Running> running) {
  const std::uint64_t now = host_.executor().now_ns();
  Writer age;
  age.put((now - active_since_ns_) / kNsPerMs);
  running->reply.omap.emplace_back("", as_text(age.span()));
  for (const Watcher& watcher : watches_.watchers(running->op.request.object, now)) {
    running->reply.omap.emplace_back(watcher_name(watcher.client, watcher.cookie),
                                     watcher_value(watcher, now));
  }
  run_steps(std::move(running));
}

void Pg::run_notify(std::unique_ptr<Running> running, const Step& step) {
  running->op.slot.release();  // watchers may do anything before they answer
  // Read before the operation is handed over with its steps.
  const std::string object = running->op.request.object;
  const std::string payload = step.value;
  const std::uint64_t timeout_ns = step.length * kNsPerMs;
  const std::vector<Watcher> to = watches_.watchers(object, host_.executor().now_ns());
  auto shared = std::make_shared<std::unique_ptr<Running>>(std::move(running));
  auto id = watches_.begin_notify(to, [this, shared](std::vector<NotifyAnswer> answers) {
    if (!still_current(**shared)) return;
    for (NotifyAnswer& answer : answers) {
      std::string value = answer.reply ? "\1" + *answer.reply : std::string(1, '\0');
      (*shared)->reply.omap.emplace_back(watcher_name(answer.client, answer.cookie),
                                         std::move(value));
    }
    run_steps(std::move(*shared));
  });
  if (!id) return fail_steps(std::move(*shared), id.status().code(), id.status().message());
  for (const Watcher& watcher : to) {
    const net::WatchNotify message{id_, *id, object, watcher.cookie, payload};
    host_.send_on(watcher.connection, net::encode(message));
  }
  host_.executor().run_after(timeout_ns, [this, id = *id] { watches_.end_notify(id); });
}

void Pg::on_watch_notify_ack(ClientId from, net::WatchNotifyAck ack) {
  watches_.acknowledge(ack.notify_id, from, ack.cookie, std::move(ack.reply));
}

}  // namespace cairn::pg
