// BatchYield: whether a reactor under load offers its processor to others before it goes to sleep.
//
// Where a few processors serve many threads, those that send the next messages often wait for the
// very processor that a reactor is about to leave. If it sleeps, the first message wakes it: the
// sender pays for that, and the batch is of one. If it yields, they run, find nobody to wake, and
// what they all have sent is one batch. With a processor to spare a yield is over at once, and it
// sleeps then.
//
// Invariants
// - Only while a batch has two and a half completions in the mean of the last ones: at queue depth
//   1 nothing changes.
// - A timer may run later by the turns of others, kSlowNs and what the last yield took beyond.
// - At most kMaxYields in a row without a completion, and none behind one that let nobody else run.
// - Who is kept from the processor for long, as beside busy guests, sleeps as before: who sleeps is
//   woken with preference (yield_backoff.hh).
// Pure.
#pragma once

#include <cstdint>

#include "io/yield_backoff.hh"

namespace cairn::io {

class BatchYield {
 public:
  static constexpr unsigned kMaxYields = 4;
  // Two switches between threads take as long, so somebody ran.
  static constexpr std::uint64_t kOthersRanNs = 3'000;
  // The turns of a few reactors; a guest's would be 1.4 to 3 ms.
  static constexpr std::uint64_t kSlowNs = 1'000'000;

  // The loop has collected so many completions.
  void collected(std::uint64_t count) {
    if (count == 0) return;
    mean_sixteenths_ = (3 * mean_sixteenths_ + 16 * count) / 4;
    yields_left_ = kMaxYields;
  }
  bool is_wanted() const { return yields_left_ > 0 && mean_sixteenths_ >= kBatchSixteenths; }
  bool may_yield(std::uint64_t now_ns) const { return backoff_.may_yield(now_ns); }
  // A yield took from start_ns to end_ns.
  void yielded(std::uint64_t start_ns, std::uint64_t end_ns) {
    backoff_.yielded(start_ns, end_ns);
    yields_left_ = end_ns - start_ns < kOthersRanNs ? 0 : yields_left_ - 1;
  }

 private:
  // Two and a half.
  static constexpr std::uint64_t kBatchSixteenths = 40;

  YieldBackoff backoff_{kSlowNs};
  std::uint64_t mean_sixteenths_ = 0;
  unsigned yields_left_ = 0;
};

}  // namespace cairn::io
