// SpinWindow: how long a queue is watched in shared memory after it completed something, before the
// driver is asked for kicks. Polling saves a driver that answers quickly the kick and the wake-up;
// for one that does not it is wasted CPU. The rule is that of KVM's halt polling: a kick that came
// soon after the queue went quiet would have been found by polling longer, so grow; one that came
// late would not, so shrink. A quiet queue has no kicks and is not polled at all. Pure.
#pragma once

#include <cstdint>

namespace cairn::virtio {

class SpinWindow {
 public:
  static constexpr std::uint64_t kMaxNs = 50'000;  // several times a guest's interrupt and reissue
  static constexpr std::uint64_t kMinNs = 5'000;   // below it a wake-up is cheaper

  std::uint64_t ns() const { return ns_; }

  // quiet_ns: from the last completion to this kick. true: ns() has changed.
  bool on_kick(std::uint64_t quiet_ns) {
    const std::uint64_t before = ns_;
    if (quiet_ns <= kMaxNs)
      ns_ = ns_ == 0 ? kMinNs : (ns_ >= kMaxNs / 2 ? kMaxNs : ns_ * 2);
    else
      ns_ = ns_ / 2 < kMinNs ? 0 : ns_ / 2;
    return ns_ != before;
  }

 private:
  std::uint64_t ns_ = kMinNs;
};

}  // namespace cairn::virtio
