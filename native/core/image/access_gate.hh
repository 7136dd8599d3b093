// AccessGate: when the requests of an image may go, and under which fencing token. TypeScript takes
// the exclusive lock (client/image/lock.ts) and opens the gate with its token; a request that comes
// before waits here, so that none ever goes under no token or an old one.
//
// Invariants
//  - Every operation of an open gate carries its token.
//  - close() calls back when nothing is in flight; nothing starts until open().
//  - Once failed it stays failed: a fenced image is never retried.
// It takes no lock, and bounds nothing: front ends bound what they have in flight.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.hh"
#include "base/unique_function.hh"
#include "io/executor.hh"
#include "net/messages.hh"
#include "objecter/request_trace.hh"

namespace cairn::image {

enum class AccessEvent : std::uint8_t {
  wanted,  // a front end has begun to use the image, or its first request waits since close()
  unused,  // the last one has ended; released() lets it go
  fenced,  // an OSD refused our token, or this client: the gate has failed
};

class AccessGate : public std::enable_shared_from_this<AccessGate> {
 public:
  using Waiting = UniqueFunction<void(Status)>;

  // locked: closed until open(); else open for good, under no token.
  AccessGate(io::Executor& executor, bool locked) : executor_(executor), closed_(locked) {}
  // Called on the executor; may call back into the gate.
  void on_event(std::function<void(AccessEvent)> handler) { handler_ = std::move(handler); }

  // What waits here while it belongs to a traced request, waits in that request's time.
  void trace_with(std::shared_ptr<objecter::TraceContext> tracing) {
    tracing_ = std::move(tracing);
  }

  bool holds_back() const { return closed_ || failed(); }
  // Nothing goes, and nothing is in flight.
  bool quiet() const { return holds_back() && in_flight_ == 0; }
  // Of a gate that holds back: run is called with ok when it opens, or with the failure; never
  // inside this call.
  void defer(Waiting run);
  const net::Fence& fence() const { return fence_; }
  // Of each operation that goes to the cluster.
  void operation_started() { ++in_flight_; }
  void operation_ended(const Status& status);

  // Ignored when it has failed.
  void open(net::Fence fence);
  void close(UniqueFunction<void()> drained);
  // What waits fails, and all that comes; what is in flight ends by itself.
  void fail(Status why);

  void begin_use();
  // done: when the lock has been released, or at once when others still use it or none is held.
  void end_use(UniqueFunction<void()> done);
  void released();
  bool in_use() const { return users_ > 0; }

 private:
  bool failed() const { return !failure_.is_ok(); }
  void emit(AccessEvent event);
  Waiting traced(Waiting run) const;
  void check_drained();

  io::Executor& executor_;
  std::function<void(AccessEvent)> handler_;
  std::shared_ptr<objecter::TraceContext> tracing_;
  bool closed_;
  bool asked_ = false;  // `wanted` was emitted, and the gate has been closed since
  Status failure_;
  net::Fence fence_;
  std::uint64_t in_flight_ = 0;
  std::uint32_t users_ = 0;
  std::deque<Waiting> waiting_;
  std::vector<UniqueFunction<void()>> draining_;
  std::vector<UniqueFunction<void()>> releasing_;
};

// The completion of an operation of several steps that begins now: the gate counts it as in flight
// until then.
template <typename... Values>
UniqueFunction<void(Status, Values...)> held(std::shared_ptr<AccessGate> gate,
                                             UniqueFunction<void(Status, Values...)> done) {
  gate->operation_started();
  return [gate = std::move(gate), done = std::move(done)](Status status, Values... values) mutable {
    gate->operation_ended(status);
    done(std::move(status), std::move(values)...);
  };
}

}  // namespace cairn::image
