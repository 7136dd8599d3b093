// Throttle: requests wait here for the tokens of their device's limits, reads in order and writes
// in order. A read passes a write (or the other way round) only while that one lacks tokens of its
// own direction: what both directions share goes in order of arrival, so that no large request
// starves behind small ones. It bounds nothing: front ends bound what they have in flight.
#pragma once

#include <deque>

#include "image/token_bucket.hh"
#include "io/scoped_executor.hh"

namespace cairn::image {

struct ThrottleCounters {
  std::uint64_t throttled = 0;     // requests that had to wait
  std::uint64_t throttled_ns = 0;  // for how long, of those that went
};

class Throttle {
 public:
  explicit Throttle(io::Executor& executor) : executor_(executor) {}

  // Also of those that wait now.
  void set(const QosLimits& limits);
  // Nothing is limited and nobody waits: requests need not come here.
  bool idle() const { return !buckets_.limited() && waiting() == 0; }
  // run is called when the request may go, maybe at once; never when this is gone before.
  void admit(IoDirection direction, std::uint64_t bytes, io::Task run);

  std::uint64_t waiting() const { return queues_[0].size() + queues_[1].size(); }
  const ThrottleCounters& counters() const { return counters_; }

 private:
  struct Waiting {
    std::uint64_t order = 0;
    std::uint64_t bytes = 0;
    std::uint64_t since_ns = 0;
    bool waited = false;
    io::Task run;
  };
  // Starts what may go; sets the timer for the rest.
  void run_ready();
  // The queue whose first request may go now, or nullptr and for how long nothing may.
  std::deque<Waiting>* next_ready(std::uint64_t now_ns, std::uint64_t& wait_ns);

  io::ScopedExecutor executor_;
  QosBuckets buckets_;
  std::deque<Waiting> queues_[2];  // by IoDirection
  std::uint64_t next_order_ = 0;
  io::TimerId timer_ = 0;
  bool running_ = false;  // a request may come while one is started
  ThrottleCounters counters_;
};

}  // namespace cairn::image
