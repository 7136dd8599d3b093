// Bodies of the frames between a primary and the watchers of its objects: docs/protocol/fencing.md
// has the byte table. A notification is metadata: its payload is small.
#pragma once

#include <string>

#include "net/messages.hh"

namespace cairn::net {

// primary -> watcher: somebody notified the object. The answer is a WatchNotifyAck.
struct WatchNotify {
  PgId pg;
  std::uint64_t notify_id = 0;
  std::string object;
  std::string cookie;  // of the watch
  std::string payload;
};

struct WatchNotifyAck {
  PgId pg;
  std::uint64_t notify_id = 0;
  std::string object;
  std::string cookie;
  std::string reply;
};

Frame encode(const WatchNotify& message);
Frame encode(const WatchNotifyAck& message);
// protocol_error as in messages.hh.
Status decode(const Frame& frame, WatchNotify& into);
Status decode(const Frame& frame, WatchNotifyAck& into);

}  // namespace cairn::net
