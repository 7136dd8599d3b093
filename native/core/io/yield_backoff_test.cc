// When a spinning thread gives up yielding, and for how long.
#include "io/yield_backoff.hh"

#include <doctest/doctest.h>

namespace cairn::io {
namespace {

constexpr std::uint64_t kStart = 1'000'000'000'000;

TEST_CASE("quick yields change nothing") {
  YieldBackoff backoff;
  backoff.yielded(kStart, kStart + YieldBackoff::kSlowNs - 1);
  CHECK(backoff.may_yield(kStart));
}

TEST_CASE("slow yields pause, longer each time up to a limit; a crowd that left is forgotten") {
  YieldBackoff backoff;
  std::uint64_t now = kStart;
  const auto slow_yield = [&] {
    backoff.yielded(now, now + YieldBackoff::kSlowNs);
    now += YieldBackoff::kSlowNs;
  };
  std::uint64_t pause = YieldBackoff::kMinPauseNs;
  for (int i = 0; i < 10; ++i) {
    slow_yield();
    CHECK_FALSE(backoff.may_yield(now + pause - 1));
    CHECK(backoff.may_yield(now + pause));
    now += pause;
    pause = pause * 2 < YieldBackoff::kMaxPauseNs ? pause * 2 : YieldBackoff::kMaxPauseNs;
  }
  now += YieldBackoff::kMaxPauseNs;
  slow_yield();
  CHECK(backoff.may_yield(now + YieldBackoff::kMinPauseNs));
}

}  // namespace
}  // namespace cairn::io
