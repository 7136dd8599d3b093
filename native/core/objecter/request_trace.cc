// Adding up stages: see request_trace.hh.
#include "objecter/request_trace.hh"

#include <algorithm>

namespace cairn::objecter {

namespace {

// What is left of a duration; clocks of two hosts run at slightly different speeds.
std::uint64_t rest(std::uint64_t whole, std::uint64_t part) {
  return whole > part ? whole - part : 0;
}

void add_operation(const TracedOperation& operation, StageTimes& into) {
  const net::OpTrace remote = operation.remote.value_or(net::OpTrace{});
  const std::uint64_t round_trip = operation.answered_ns - operation.sent_ns;
  const std::uint64_t total = std::min(remote.total_ns, round_trip);
  const std::uint64_t queue = std::min(remote.queue_ns, total);
  const std::uint64_t disk = std::min(remote.disk_ns, total - queue);
  const std::uint64_t replicas = std::min(remote.replica_wait_ns, total - queue - disk);
  into[TraceStage::network] += round_trip - total;
  into[TraceStage::primary_queue] += queue;
  into[TraceStage::disk] += disk;
  into[TraceStage::replicas] += replicas;
  into[TraceStage::primary] += total - queue - disk - replicas;
  into.replica_ns += remote.replica_ns;
  into.replica_commit_ns += remote.replica_commit_ns;
}

}  // namespace

void RequestTrace::add(const TracedOperation& operation) {
  if (operations_.size() < kMaxOperations) operations_.push_back(operation);
}

StageTimes RequestTrace::stages(std::uint64_t ended_ns) const {
  StageTimes times;
  std::uint64_t cursor_ns = ended_ns;
  for (;;) {
    const TracedOperation* last = nullptr;
    for (const TracedOperation& operation : operations_) {
      // One that took no time can't be followed by itself.
      const bool is_before =
          operation.answered_ns <= cursor_ns && operation.submitted_ns < cursor_ns;
      if (is_before && (last == nullptr || operation.answered_ns > last->answered_ns))
        last = &operation;
    }
    if (last == nullptr) break;
    add_operation(*last, times);
    cursor_ns = last->submitted_ns;
  }
  std::uint64_t accounted = 0;
  for (const std::uint64_t ns : times.ns) accounted += ns;
  const std::uint64_t others = rest(ended_ns - started_ns_, accounted);
  times[TraceStage::queue] = std::min(queue_ns_, others);
  times[TraceStage::client] = others - times[TraceStage::queue];
  return times;
}

void RequestTrace::finish(TracedKind kind, std::uint64_t ended_ns) const {
  const StageTimes times = stages(ended_ns);
  for (const auto& collector : collectors_) collector->record(kind, ended_ns - started_ns_, times);
}

void TraceCollector::record(TracedKind kind, std::uint64_t total_ns, const StageTimes& stages) {
  Figures& figures = figures_[static_cast<std::size_t>(kind)];
  figures.total.record(total_ns);
  for (std::size_t i = 0; i < kTraceStages; ++i) figures.stages[i].record(stages.ns[i]);
  if (stages.replica_ns == 0) return;
  figures.replica.record(stages.replica_ns);
  figures.replica_commit.record(stages.replica_commit_ns);
}

}  // namespace cairn::objecter
