// YieldBackoff: whether a spinning thread may offer its processor to others, or should rather
// sleep. A yield on a machine with a processor to spare costs a fraction of a microsecond; on a
// crowded one it costs the time slices of everybody in the queue, milliseconds, where a thread that
// sleeps is woken with preference. So a slow yield ends all spinning for a while, longer each time
// while the crowd stays. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cairn::io {

class YieldBackoff {
 public:
  static constexpr std::uint64_t kSlowNs = 100'000;  // no yield is that slow unless others ran
  static constexpr std::uint64_t kMinPauseNs = 50'000'000;
  static constexpr std::uint64_t kMaxPauseNs = 1'000'000'000;

  // slow_ns: what no yield takes unless a crowd is there.
  explicit YieldBackoff(std::uint64_t slow_ns = kSlowNs) : slow_ns_(slow_ns) {}

  bool may_yield(std::uint64_t now_ns) const { return now_ns >= resume_ns_; }

  // A yield took from start_ns to end_ns.
  void yielded(std::uint64_t start_ns, std::uint64_t end_ns) {
    if (end_ns - start_ns < slow_ns_) return;
    // A crowd that has left for as long as the last pause is a new one.
    const bool same_crowd = pause_ns_ != 0 && start_ns - resume_ns_ < pause_ns_;
    pause_ns_ = same_crowd ? std::min(2 * pause_ns_, kMaxPauseNs) : kMinPauseNs;
    resume_ns_ = end_ns + pause_ns_;
  }

 private:
  std::uint64_t slow_ns_;
  std::uint64_t pause_ns_ = 0;
  std::uint64_t resume_ns_ = 0;
};

}  // namespace cairn::io
