// FlushPlace: whether the next fdatasync of durable writes is made by the reactor's own thread,
// which then waits for it, or by a worker of the ring.
//
// A worker costs two wake-ups more, one to it and one back: each up to 50 us on a virtual machine
// whose idle processors sleep, and a turn of others where they are busy. The own thread costs those
// who want it meanwhile. With writes alone that is little: what came meanwhile is one longer group,
// and shares the next flush. A read would wait for a disk that could have served it beside the
// flush. So the thread does it while flushes are short and nobody reads.
//
// Never while a worker makes one: the thread would queue behind it, which may take long after a
// checkpoint; and the kernel tells an error of the device once, so it could be told to the worker,
// and success to the thread, which would acknowledge what is lost. Pure.
#pragma once

#include <cstdint>

#include "base/assert.hh"

namespace cairn::io {

class FlushPlace {
 public:
  // Above it the wake-ups are the smaller part, and a primary that forwards nothing meanwhile makes
  // its replicas' flushes follow its own instead of going beside it. Disks with power-loss
  // protection need 10 to 50 us; a virtual disk 60 to 250 us, 1 to 2 ms beside a checkpoint; SATA
  // SSDs without it and hard disks 2 to 20 ms.
  static constexpr std::uint64_t kMaxMeanNs = 2'000'000;
  static constexpr std::uint64_t kShare = 8;  // a flush moves the mean by an eighth
  // One that takes so long makes it the mean: 15 flushes of 1 ms bring it below 2 again. So a disk
  // that stalls now and then stops the loop once for each time.
  static constexpr std::uint64_t kLongNs = 8'000'000;
  static constexpr std::uint64_t kReaderNs = 20'000'000;  // how long a read stands for a reader

  bool is_own_thread(std::uint64_t now_ns) const {
    return workers_ == 0 && mean_ns_ <= kMaxMeanNs && now_ns >= reader_until_ns_;
  }

  void worker_began() { ++workers_; }
  void worker_ended() {
    CAIRN_ASSERT(workers_ > 0);
    --workers_;
  }

  // A read has begun or ended.
  void read_seen(std::uint64_t now_ns) { reader_until_ns_ = now_ns + kReaderNs; }

  // A flush took this long, wherever it was made.
  void flushed(std::uint64_t took_ns) {
    mean_ns_ = took_ns >= kLongNs ? kLongNs : mean_ns_ - mean_ns_ / kShare + took_ns / kShare;
  }

 private:
  std::uint64_t mean_ns_ = 2 * kMaxMeanNs;  // of a disk that nothing is known of: by a worker
  std::uint64_t reader_until_ns_ = 0;
  unsigned workers_ = 0;
};

}  // namespace cairn::io
