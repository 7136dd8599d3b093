// Objecter: operations on objects, sent to the primary OSD of the object's PG.
//
// Invariants
//  - An operation keeps its RequestId over all resends, so that it is applied once.
//  - It is sent again when its PG's acting set or its primary's incarnation changes, when its
//  pool's
//    PGs become more (then to the PG that its object is in now), when the connection is lost, or
//    when an OSD says that our map is too old; never in a hot loop.
//  - It is answered once, or never (a stalled cluster); cancel_all() answers what is left.
//
// It computes no placement: ClientMap carries the acting sets. It knows no image.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/histogram.hh"
#include "base/ids.hh"
#include "io/scoped_executor.hh"
#include "net/messages.hh"
#include "net/messenger.hh"
#include "net/watch_messages.hh"
#include "objecter/request_trace.hh"

namespace cairn::objecter {

struct ClientMap {
  struct Pool {
    std::uint32_t pg_num = 0;
    std::uint32_t size = 0;
    std::vector<OsdId> acting;  // pg_num rows of size; -1 fills; the first of a row is the primary
    // The primary of a PG, kNoOsd when it has none.
    OsdId primary(std::uint32_t seed) const;
  };
  struct Osd {
    net::Address address;
    std::uint64_t incarnation = 0;
  };
  Epoch epoch = 0;
  bool paused = false;
  std::map<PoolId, Pool> pools;
  std::map<OsdId, Osd> osds;  // those that are up
};

struct ObjecterCounters {
  std::uint64_t operations = 0, resends = 0, errors = 0, connection_losses = 0;
  std::uint64_t in_flight = 0;
  Histogram latency_ns;
};

// An image whose operations have a reservation: what was answered to it, and what each OSD knows.
struct ReservedStream {
  std::uint32_t iops = 0;  // 0: none
  std::uint64_t id = 0;    // of the images of this client
  std::uint64_t answered = 0;
  std::map<OsdId, std::uint64_t> told;  // `answered` when the last one was sent there
  net::Reservation next(OsdId osd);
};

// What an operation is for.
struct Target {
  PoolId pool = 0;
  std::string object;
  net::Fence fence = {};
  // To this PG of the pool, whatever the object's name says; also when the pool gets more PGs.
  std::optional<std::uint32_t> seed = std::nullopt;
  std::uint64_t snap = kHead;     // what its reads see
  net::SnapContext context = {};  // of its changes
  std::shared_ptr<ReservedStream> stream = nullptr;
};

// A notification of an object that this client watches; the answer goes back by answer_notify().
using NotifyHandler = std::function<void(net::ConnectionId, net::WatchNotify)>;

// status: of the operation. data: of a read step.
using OpDone = UniqueFunction<void(Status, net::OpReply, Buffer data)>;

class Objecter : public net::MessengerHandler {
 public:
  static constexpr std::uint64_t kRetryNs = 50'000'000;
  // Of a map that an operation waits for.
  static constexpr std::uint64_t kAskAgainNs = 2'000'000'000;

  // need_map: a newer map than this epoch is wanted (asked again while it does not come).
  Objecter(io::Executor& executor, ClientId client, std::function<void(Epoch)> need_map);
  void attach(net::Messenger& messenger) { messenger_ = &messenger; }

  // Ignored when it is not newer.
  void set_map(ClientMap map);
  Epoch epoch() const { return map_.epoch; }

  // not_found when the pool does not exist, the codes of net::check_limits() for an operation that
  // no OSD would take; otherwise done is called when the primary answers.
  void submit(PoolId pool, std::string object, std::vector<net::Step> steps, Buffer data,
              OpDone done);
  void submit(Target target, std::vector<net::Step> steps, Buffer data, OpDone done);
  // PGs of a pool; 0: there is no such pool.
  std::uint32_t pg_num(PoolId pool) const;
  void on_notify(NotifyHandler handler) { notify_handler_ = std::move(handler); }
  void answer_notify(net::ConnectionId connection, const net::WatchNotifyAck& ack);
  // Answers everything in flight; nothing is sent any more.
  void cancel_all(const Status& reason);
  // cancel_all(), for those that come from now on too.
  void close(const Status& reason);

  // An operation that is submitted, and what its answer leads to, belongs to the current request.
  const std::shared_ptr<TraceContext>& tracing() const { return tracing_; }

  const ObjecterCounters& counters() const { return counters_; }
  // Of the oldest operation that is not answered; 0: none.
  std::uint64_t oldest_operation_ns() const;

  void on_accepted(net::ConnectionId connection, const net::Entity& peer) override;
  void on_connected(net::ConnectionId connection, const net::Entity& peer) override;
  void on_frame(net::ConnectionId connection, net::Frame frame) override;
  void on_closed(net::ConnectionId connection, const Status& reason) override;

 private:
  struct Operation {
    net::OpRequest request;
    bool fixed_seed = false;   // Target::seed was given
    std::uint32_t pg_num = 0;  // of the pool, when the request's PG was found
    Buffer data;
    OpDone done;
    OsdId target = kNoOsd;
    std::vector<OsdId> sent_to_acting;
    std::uint64_t started_ns = 0;
    std::shared_ptr<ReservedStream> stream;
    std::shared_ptr<RequestTrace> trace;  // of the request that it belongs to, if that is traced
    std::uint64_t sent_ns = 0;            // of a traced one
    bool sent = false;
    bool sent_ever = false;
  };
  struct Session {
    net::ConnectionId connection = 0;
    std::uint64_t incarnation = 0;
    std::uint64_t up_since_ns = 0;
    bool up = false;
  };

  std::vector<OsdId> acting_of(const PgId& pg) const;
  void end_sessions_that_left();
  // Finds the operation's PG among so many. Returns whether they were others before: then each PG
  // of the pool has begun a new interval, which refuses what was sent before.
  static bool find_pg(Operation& operation, std::uint32_t pg_num);
  void send(Operation& operation);
  void dial(OsdId osd);
  void resend_all_to(OsdId osd);
  void handle_reply(net::OpReply reply, Buffer data);
  void answer(Operation operation, net::OpReply reply, Buffer data);
  void await_map(Epoch epoch);
  void retry_later(std::uint64_t sequence);
  // Not run when the objecter is gone by then.
  void run_after(std::uint64_t delay_ns, io::Task task);

  io::ScopedExecutor executor_;
  ClientId client_;
  std::function<void(Epoch)> need_map_;
  NotifyHandler notify_handler_;
  net::Messenger* messenger_ = nullptr;
  ClientMap map_;
  std::uint64_t next_sequence_ = 1;
  std::map<std::uint64_t, Operation> operations_;  // by sequence: the first is the oldest
  std::map<OsdId, Session> sessions_;
  std::unordered_map<net::ConnectionId, OsdId> by_connection_;
  ObjecterCounters counters_;
  Epoch awaited_map_ = 0;      // that an OSD has, which refused an operation
  bool asks_for_map_ = false;  // a timer runs
  Status closed_;              // not ok: nothing is taken any more
  std::shared_ptr<TraceContext> tracing_ = std::make_shared<TraceContext>();
  std::shared_ptr<const bool> life_ = std::make_shared<const bool>(true);
};

}  // namespace cairn::objecter
