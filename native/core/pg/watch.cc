// The watchers and notifications of a PG: see watch.hh.
#include "pg/watch.hh"

#include <algorithm>

namespace cairn::pg {

Result<bool> WatchTable::watch(const std::string& object, Watcher watcher) {
  std::vector<Watcher>& list = watchers_[object];
  const auto same = std::find_if(list.begin(), list.end(), [&watcher](const Watcher& other) {
    return other.client == watcher.client && other.cookie == watcher.cookie;
  });
  if (same != list.end()) {
    const bool expired = watcher.seen_ns - same->seen_ns > same->timeout_ns;
    *same = std::move(watcher);
    return expired;
  }
  std::erase_if(list, [now = watcher.seen_ns](const Watcher& other) {
    return now - other.seen_ns > other.timeout_ns;
  });
  if (list.size() >= kMaxWatchersPerObject) {
    return Status(ErrorCode::busy, "too many clients watch this object");
  }
  list.push_back(std::move(watcher));
  return true;
}

void WatchTable::unwatch(const std::string& object, ClientId client, const std::string& cookie) {
  const auto found = watchers_.find(object);
  if (found == watchers_.end()) return;
  std::erase_if(found->second, [client, &cookie](const Watcher& watcher) {
    return watcher.client == client && watcher.cookie == cookie;
  });
  if (found->second.empty()) watchers_.erase(found);
}

void WatchTable::forget_client(ClientId client) {
  for (auto entry = watchers_.begin(); entry != watchers_.end();) {
    std::erase_if(entry->second,
                  [client](const Watcher& watcher) { return watcher.client == client; });
    entry = entry->second.empty() ? watchers_.erase(entry) : std::next(entry);
  }
}

std::vector<Watcher> WatchTable::watchers(const std::string& object, std::uint64_t now_ns) {
  const auto found = watchers_.find(object);
  if (found == watchers_.end()) return {};
  std::erase_if(found->second, [now_ns](const Watcher& watcher) {
    return now_ns - watcher.seen_ns > watcher.timeout_ns;
  });
  std::vector<Watcher> live = found->second;
  if (live.empty()) watchers_.erase(found);
  return live;
}

Result<std::uint64_t> WatchTable::begin_notify(const std::vector<Watcher>& to, NotifyDone done) {
  if (notifications_.size() >= kMaxNotifications) {
    return Status(ErrorCode::busy, "too many notifications are under way");
  }
  const std::uint64_t id = next_notify_id_++;
  Notification& notification = notifications_[id];
  for (const Watcher& watcher : to) {
    notification.answers.push_back({watcher.client, watcher.cookie, std::nullopt});
  }
  notification.waiting_for = to.size();
  notification.done = std::move(done);
  if (to.empty()) end_notify(id);
  return id;
}

void WatchTable::acknowledge(std::uint64_t notify_id, ClientId client, const std::string& cookie,
                             std::string reply) {
  const auto found = notifications_.find(notify_id);
  if (found == notifications_.end()) return;
  Notification& notification = found->second;
  for (NotifyAnswer& answer : notification.answers) {
    if (answer.client != client || answer.cookie != cookie || answer.reply) continue;
    answer.reply = std::move(reply);
    if (--notification.waiting_for == 0) end_notify(notify_id);
    return;
  }
}

void WatchTable::end_notify(std::uint64_t notify_id) {
  auto node = notifications_.extract(notify_id);
  if (node) node.mapped().done(std::move(node.mapped().answers));
}

void WatchTable::restart_timeouts(std::uint64_t now_ns) {
  for (auto& [object, list] : watchers_) {
    for (Watcher& watcher : list) watcher.seen_ns = now_ns;
  }
}

void WatchTable::end_all() {
  while (!notifications_.empty()) end_notify(notifications_.begin()->first);
}

}  // namespace cairn::pg
