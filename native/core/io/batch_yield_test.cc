// When a reactor offers its processor before it sleeps, and when not.
#include "io/batch_yield.hh"

#include <doctest/doctest.h>

namespace cairn::io {
namespace {

constexpr std::uint64_t kStart = 1'000'000'000'000;

BatchYield under_load() {
  BatchYield yield;
  for (int i = 0; i < 20; ++i) yield.collected(6);
  return yield;
}

TEST_CASE("batch yield: only while batches are of several completions") {
  BatchYield yield;
  CHECK_FALSE(yield.is_wanted());
  for (int i = 0; i < 20; ++i) yield.collected(2);
  CHECK_FALSE(yield.is_wanted());
  for (int i = 0; i < 20; ++i) yield.collected(6);
  CHECK(yield.is_wanted());
  for (int i = 0; i < 20; ++i) yield.collected(1);
  CHECK_FALSE(yield.is_wanted());
}

TEST_CASE("batch yield: not again behind one that let nobody run, until something has come") {
  BatchYield yield = under_load();
  yield.yielded(kStart, kStart + BatchYield::kOthersRanNs - 1);
  CHECK_FALSE(yield.is_wanted());
  yield.collected(0);
  CHECK_FALSE(yield.is_wanted());
  yield.collected(4);
  CHECK(yield.is_wanted());
}

TEST_CASE("batch yield: a few in a row, then it sleeps") {
  BatchYield yield = under_load();
  for (unsigned i = 0; i < BatchYield::kMaxYields; ++i) {
    CHECK(yield.is_wanted());
    yield.yielded(kStart, kStart + BatchYield::kOthersRanNs);
  }
  CHECK_FALSE(yield.is_wanted());
}

TEST_CASE("batch yield: one that took a guest's turn pauses all") {
  BatchYield yield = under_load();
  CHECK(yield.may_yield(kStart));
  const std::uint64_t end = kStart + BatchYield::kSlowNs;
  yield.yielded(kStart, end);
  CHECK_FALSE(yield.may_yield(end + YieldBackoff::kMinPauseNs - 1));
  CHECK(yield.may_yield(end + YieldBackoff::kMinPauseNs));
}

}  // namespace
}  // namespace cairn::io
