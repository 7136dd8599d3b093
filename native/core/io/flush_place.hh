// FlushPlace: whether the next fdatasync of durable writes is made by the reactor's own thread,
// which then waits for it, or by a worker of the ring.
//
// A worker costs two wake-ups more, one to it and one back: each up to 50 us on a virtual machine
// whose idle processors sleep, and a turn of others where they are busy. The own thread costs those
// who want it meanwhile. With writes alone that is little: what came meanwhile is one longer group,
// and shares the next flush. A read would wait for a disk that could have served it beside the
// flush. So the thread does it while flushes are short and nobody reads.
//
// A long flush moves the mean at once and short ones bring it back slowly: a disk that stalls now
// and then stops the loop once for each time. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cairn::io {

class FlushPlace {
 public:
  // Above it the wake-ups are the smaller part, and a primary that forwards nothing meanwhile makes
  // its replicas' flushes follow its own instead of going beside it. Disks with power-loss
  // protection need 10 to 50 us; a virtual disk 60 to 250 us, 1 to 2 ms beside a checkpoint; SATA
  // SSDs without it and hard disks 2 to 20 ms.
  static constexpr std::uint64_t kMaxMeanNs = 2'000'000;
  static constexpr std::uint64_t kReaderNs = 20'000'000;  // how long a read stands for a reader
  static constexpr std::uint64_t kShare = 8;              // a flush moves the mean by an eighth
  // Bounds how long a stall counts: it leaves the mean at 2 * 7 / 8 + 100 / 8 = 14.3 ms at most, so
  // 20 flushes of 1 ms bring it below 2 again.
  static constexpr std::uint64_t kMaxSampleNs = 100'000'000;

  bool is_own_thread(std::uint64_t now_ns) const {
    return mean_ns_ <= kMaxMeanNs && now_ns >= reader_until_ns_;
  }

  void read_began(std::uint64_t now_ns) { reader_until_ns_ = now_ns + kReaderNs; }

  // A flush took this long, wherever it was made.
  void flushed(std::uint64_t took_ns) {
    mean_ns_ = mean_ns_ - mean_ns_ / kShare + std::min(took_ns, kMaxSampleNs) / kShare;
  }

 private:
  std::uint64_t mean_ns_ = 2 * kMaxMeanNs;  // of a disk that nothing is known of: by a worker
  std::uint64_t reader_until_ns_ = 0;
};

}  // namespace cairn::io
