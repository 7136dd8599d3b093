// WatchClient: the watches of this client, renewed while they last. A watch is registered at the
// primary of its object and again at the next one; a notification of the object is handed up and
// answered.
//
// Invariants
//  - A watch is renewed each quarter of its timeout, counted from the answer to the last renewal,
//    so that never more than one renewal is under way.
//  - Renewals are native: a busy JavaScript loop does not end a watch.
//  - on_lapse comes when a renewal succeeds more than a timeout after the one before: others may
//    have taken this client for dead meanwhile.
// It decides nothing: client/image/lock.ts does.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "io/scoped_executor.hh"
#include "objecter/objecter.hh"

namespace cairn::objecter {

using WatchId = std::uint32_t;

struct WatchSpec {
  PoolId pool = 0;
  std::string object;
  std::string cookie;
  std::string description;  // for people: who watches
  std::uint64_t timeout_ms = 10'000;
};

struct WatchEvents {
  // answer: for answer(), once.
  std::function<void(WatchId watch, std::uint64_t answer, std::string payload)> on_notify;
  std::function<void(WatchId watch)> on_lapse;
  // The object is gone, or the OSDs refuse this client; it is not renewed any more.
  std::function<void(WatchId watch, const Status& why)> on_end;
};

class WatchClient {
 public:
  WatchClient(io::Executor& executor, Objecter& objecter, WatchEvents events);

  // registered: once, when the first registration has been answered; after an error there is no
  // watch. The object has to exist: not_found.
  void watch(WatchId id, WatchSpec spec, UniqueFunction<void(Status)> registered);
  // Nothing is renewed from here on; done when the primary has forgotten it.
  void unwatch(WatchId id, UniqueFunction<void(Status)> done);
  void answer(std::uint64_t answer, std::string reply);

 private:
  struct Watch {
    WatchSpec spec;
    std::uint64_t renewed_ns = 0;  // when the newest successful renewal was sent
    UniqueFunction<void(Status)> registered;
  };
  struct Unanswered {
    net::ConnectionId connection = 0;
    net::WatchNotifyAck ack;
  };
  void renew(WatchId id);
  void renewed(WatchId id, std::uint64_t sent_ns, const Status& status);
  void take_notify(net::ConnectionId connection, net::WatchNotify notify);

  io::ScopedExecutor executor_;
  Objecter& objecter_;
  WatchEvents events_;
  std::map<WatchId, Watch> watches_;
  std::map<std::uint64_t, Unanswered> unanswered_;
  std::uint64_t next_answer_ = 1;
  // Operations that are answered after this is gone see it by the flag.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

 public:
  ~WatchClient() { *alive_ = false; }
  WatchClient(const WatchClient&) = delete;
  WatchClient& operator=(const WatchClient&) = delete;
};

}  // namespace cairn::objecter
