// Tracing of a device's requests: which part of a request's time went where. A request is one of
// those that a collector samples; the operations that it becomes are traced, and say what happened
// at their primary (net/op_trace.hh).
//
// Invariants: only durations that one clock has measured are added and compared. The stages of a
// request add up to its time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/histogram.hh"
#include "net/op_trace.hh"

namespace cairn::objecter {

// These add up; of operations that run side by side, those count that were waited for.
enum class TraceStage : std::uint8_t {
  queue,          // at the client: limits, the lock, a drained gate
  client,         // at the client otherwise; also while there is no primary
  network,        // the operation's round trip, without what the primary accounts for
  primary_queue,  // at the primary, before the operation is carried out
  primary,        // carrying it out
  disk,           // of it, reading from its store, or its own commit
  replicas,       // of it, after its own commit: waiting for the replicas
};
constexpr std::size_t kTraceStages = 7;

enum class TracedKind : std::uint8_t {
  read,
  write,  // zeroing too
  discard,
  flush,
};
constexpr std::size_t kTracedKinds = 4;

struct StageTimes {
  std::array<std::uint64_t, kTraceStages> ns{};
  std::uint64_t replica_ns = 0, replica_commit_ns = 0;  // of the slowest replica: run beside `disk`
  std::uint64_t& operator[](TraceStage stage) { return ns[static_cast<std::size_t>(stage)]; }
  std::uint64_t operator[](TraceStage stage) const { return ns[static_cast<std::size_t>(stage)]; }
};

// An operation by the client's clock.
struct TracedOperation {
  std::uint64_t submitted_ns = 0;
  std::uint64_t sent_ns = 0;  // for the last time
  std::uint64_t answered_ns = 0;
  std::optional<net::OpTrace> remote;
};

class TraceCollector;

class RequestTrace {
 public:
  static constexpr std::size_t kMaxOperations = 256;  // more than that are not looked at

  RequestTrace(std::uint64_t started_ns, std::vector<std::shared_ptr<TraceCollector>> collectors)
      : started_ns_(started_ns), collectors_(std::move(collectors)) {}

  void waited(std::uint64_t duration_ns) { queue_ns_ += duration_ns; }
  void add(const TracedOperation& operation);
  // Of the operations, those on the way that the request took: backwards from its end, each time
  // the one that was answered last before the next one was submitted.
  StageTimes stages(std::uint64_t ended_ns) const;
  // Tells the collectors.
  void finish(TracedKind kind, std::uint64_t ended_ns) const;

 private:
  std::uint64_t started_ns_;
  std::uint64_t queue_ns_ = 0;
  std::vector<std::shared_ptr<TraceCollector>> collectors_;
  std::vector<TracedOperation> operations_;
};

// Sums up one of `every` requests of a device.
class TraceCollector {
 public:
  struct Figures {
    Histogram total;
    std::array<Histogram, kTraceStages> stages;
    Histogram replica, replica_commit;  // of requests that waited for replicas
  };

  explicit TraceCollector(std::uint32_t every) : every_(every) {}
  bool samples_next() { return ++seen_ % every_ == 0; }
  void record(TracedKind kind, std::uint64_t total_ns, const StageTimes& stages);
  // Without the requests that failed.
  const Figures& of(TracedKind kind) const { return figures_[static_cast<std::size_t>(kind)]; }

 private:
  std::uint32_t every_;
  std::uint64_t seen_ = 0;
  std::array<Figures, kTracedKinds> figures_;
};

// Whose request is being carried out right now, of those on one executor: what is begun inside
// belongs to it.
class TraceContext {
 public:
  const std::shared_ptr<RequestTrace>& current() const { return current_; }

 private:
  friend class TraceScope;
  std::shared_ptr<RequestTrace> current_;
};

// Makes a request the current one; nullptr as context: does nothing.
class TraceScope {
 public:
  TraceScope(TraceContext* context, std::shared_ptr<RequestTrace> request) : context_(context) {
    if (context_ != nullptr) before_ = std::exchange(context_->current_, std::move(request));
  }
  ~TraceScope() {
    if (context_ != nullptr) context_->current_ = std::move(before_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  TraceContext* context_;
  std::shared_ptr<RequestTrace> before_;
};

}  // namespace cairn::objecter
