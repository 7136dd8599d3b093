// Who makes the next flush: the reactor's thread while they are short and nobody reads.
#include "io/flush_place.hh"

#include <doctest/doctest.h>

namespace cairn::io {
namespace {

constexpr std::uint64_t kNow = 1'000'000'000'000;
constexpr std::uint64_t kMillisecondNs = 1'000'000;

// How many flushes of took_ns each there are until the answer is wanted.
int flushes_until(FlushPlace& place, bool wanted, std::uint64_t took_ns) {
  int count = 0;
  for (; place.is_own_thread(kNow) != wanted && count < 1000; ++count) place.flushed(took_ns);
  return count;
}

// Until the thread makes them.
void settle(FlushPlace& place) { REQUIRE(flushes_until(place, true, kMillisecondNs / 10) < 100); }

TEST_CASE("a disk that nothing is known of is flushed by a worker, a quick one soon not") {
  FlushPlace place;
  CHECK_FALSE(place.is_own_thread(kNow));
  CHECK(flushes_until(place, true, kMillisecondNs / 10) == 6);
}

TEST_CASE("a disk whose flushes take long stays with the worker") {
  FlushPlace place;
  for (int i = 0; i < 1000; ++i) {
    place.flushed(FlushPlace::kMaxMeanNs + 1000);
    REQUIRE_FALSE(place.is_own_thread(kNow));
  }
}

TEST_CASE("a quick disk that becomes slow goes to the worker") {
  FlushPlace place;
  settle(place);
  CHECK(flushes_until(place, false, 5 * kMillisecondNs) < 8);
}

TEST_CASE("one long flush ends it, however long, for fifteen flushes of 1 ms") {
  for (const std::uint64_t stall_ns : {FlushPlace::kLongNs, 30'000 * kMillisecondNs, UINT64_MAX}) {
    CAPTURE(stall_ns);
    FlushPlace place;
    settle(place);
    place.flushed(stall_ns);
    CHECK_FALSE(place.is_own_thread(kNow));
    CHECK(flushes_until(place, true, kMillisecondNs) == 15);
  }
}

TEST_CASE("a read keeps the thread free for a while") {
  FlushPlace place;
  settle(place);
  place.read_seen(kNow);
  CHECK_FALSE(place.is_own_thread(kNow));
  CHECK_FALSE(place.is_own_thread(kNow + FlushPlace::kReaderNs - 1));
  CHECK(place.is_own_thread(kNow + FlushPlace::kReaderNs));
}

TEST_CASE("never while a worker makes one") {
  FlushPlace place;
  settle(place);
  place.worker_began();
  place.worker_began();
  place.worker_ended();
  CHECK_FALSE(place.is_own_thread(kNow));
  place.worker_ended();
  CHECK(place.is_own_thread(kNow));
}

}  // namespace
}  // namespace cairn::io
