// WatchTable: who watches the objects of a PG, and notifications under way, on the PG's primary.
//
// A watch is a client's promise to be reachable for an object (an image's header): it renews it
// well within its timeout, and is sent what others notify. It is kept in memory only: after a
// change of the primary the clients renew it there. So the absence of a watch means something only
// when the primary has been active for longer than the watch's timeout; the age is part of a list.
//
// Pure: no clock, no timer, no socket. It says nothing about who may write: fencing does that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.hh"
#include "base/unique_function.hh"
#include "net/messenger.hh"

namespace cairn::pg {

struct Watcher {
  ClientId client = 0;
  std::string cookie;
  net::ConnectionId connection = 0;  // where it was last heard
  std::string description;
  std::uint64_t timeout_ns = 0;
  std::uint64_t seen_ns = 0;
};

struct NotifyAnswer {
  ClientId client = 0;
  std::string cookie;
  std::optional<std::string> reply;  // nothing: it did not answer in time
};
using NotifyDone = UniqueFunction<void(std::vector<NotifyAnswer>)>;

class WatchTable {
 public:
  static constexpr std::size_t kMaxWatchersPerObject = 64;
  static constexpr std::size_t kMaxNotifications = 256;

  // New, or renewed. True: it was not there. busy: too many watch this object.
  Result<bool> watch(const std::string& object, Watcher watcher);
  void unwatch(const std::string& object, ClientId client, const std::string& cookie);
  // It is on the blocklist, so that it could not even end its watches itself.
  void forget_client(ClientId client);
  // Those whose timeout has not passed; the others are forgotten.
  std::vector<Watcher> watchers(const std::string& object, std::uint64_t now_ns);

  // Begins a notification of these watchers; done runs when all have answered, or at end_notify().
  // busy: too many are under way.
  Result<std::uint64_t> begin_notify(const std::vector<Watcher>& to, NotifyDone done);
  void acknowledge(std::uint64_t notify_id, ClientId client, const std::string& cookie,
                   std::string reply);
  // Its time is over; nothing when it has ended before.
  void end_notify(std::uint64_t notify_id);

  // The PG serves again: nobody could renew meanwhile, so that everybody gets the whole timeout.
  void restart_timeouts(std::uint64_t now_ns);
  // Ends all notifications.
  void end_all();
  void forget_watchers() { watchers_.clear(); }

 private:
  struct Notification {
    std::vector<NotifyAnswer> answers;
    std::size_t waiting_for = 0;
    NotifyDone done;
  };
  std::map<std::string, std::vector<Watcher>> watchers_;  // by object
  std::map<std::uint64_t, Notification> notifications_;
  std::uint64_t next_notify_id_ = 1;
};

}  // namespace cairn::pg
