// The Allocator alone: where runs are looked for, and what a checkpoint hands out.
#include "object_store/allocator.hh"

#include <algorithm>

#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;

namespace {

constexpr std::uint32_t kSpreadBlocks = (64U << 20) / kBlockBytes;
constexpr std::uint32_t kDataBlocks = 400'000;

// Each step-th block of [first, end).
void take_all(Allocator& allocator, std::uint32_t first, std::uint32_t end,
              std::uint32_t step = 1) {
  bool all = true;
  for (std::uint32_t block = first; block < end; block += step) all = allocator.take(block) && all;
  REQUIRE(all);
}

struct Area {
  void take(std::uint32_t first, std::uint32_t count) { take_all(allocator, first, first + count); }
  void release(std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t block = first; block < first + count; ++block) allocator.release(block);
  }

  CheckpointSet checkpoint_set;
  Allocator allocator{kDataBlocks, checkpoint_set};
};

}  // namespace

TEST_CASE("allocation goes round in the first part of the area, three times the data") {
  Area area;
  area.take(0, 1000);
  CHECK(area.allocator.spread() == 3000 + kSpreadBlocks);
  std::uint32_t furthest = 0;
  std::uint32_t wraps = 0;
  std::uint32_t last = 0;
  for (int i = 0; i < 400; ++i) {
    const BlockRun run = area.allocator.allocate(256, {});
    REQUIRE(run.count == 256);
    furthest = std::max(furthest, run.first + run.count);
    if (run.first < last) ++wraps;
    last = run.first;
    area.release(run.first, run.count);
    area.allocator.freeze();
    for (const BlockRun& released : area.allocator.take_released())
      area.allocator.make_available(released);
  }
  CHECK(wraps >= 4);
  CHECK(furthest <= 3 * (1000 + 256) + kSpreadBlocks + 256);
}

TEST_CASE("beyond that part lies what finds no run of its length in it, and what has a hint") {
  Area area;
  // Only single blocks are free in the whole part.
  const std::uint32_t near_end = 3 * 12'000 + kSpreadBlocks;
  take_all(area.allocator, 0, near_end, 2);
  for (std::uint32_t block = 24'000; block < near_end; block += 2) area.allocator.release(block);
  REQUIRE(area.allocator.spread() == near_end);
  const BlockRun far = area.allocator.allocate(256, {});
  CHECK(far.count == 256);
  CHECK(far.first >= near_end);
  CHECK(area.allocator.allocate(256, {}).first >= far.first + far.count);
  // The first part has grown by that data, and has long runs at its end. Each search looks at some
  // short runs and the next one goes on behind them, so that they are found.
  REQUIRE(area.allocator.spread() > near_end + 2 * 256 + 8);
  std::uint32_t nearest = kDataBlocks;
  for (int i = 0; i < 500; ++i) nearest = std::min(nearest, area.allocator.allocate(8, {}).first);
  CHECK(nearest < far.first + 3 * 256);
  CHECK(area.allocator.allocate(8, 390'000) == BlockRun{390'000, 8});
}

TEST_CASE("a first part without room is not searched with each allocation") {
  // 4 GiB of data, and twice that before the end of the first part, all of it taken.
  constexpr std::uint32_t kData = 1U << 20;
  constexpr std::uint32_t kNearEnd = 3 * kData + kSpreadBlocks;
  CheckpointSet checkpoint_set;
  Allocator allocator(4 * kNearEnd, checkpoint_set);
  take_all(allocator, 0, kNearEnd);
  for (std::uint32_t block = kData; block < kNearEnd; ++block) allocator.release(block);
  REQUIRE(allocator.spread() == kNearEnd);
  constexpr int kCount = 1000;
  for (int i = 0; i < kCount; ++i) REQUIRE(allocator.allocate(1, {}).first >= kNearEnd);
  // Four searches in the first part, and what they found beyond.
  CHECK(allocator.looked_at() <= 4 * std::uint64_t{kNearEnd} + 4 * kCount);
  // A block comes free there: it is found. By now that part is longer by three for each that was
  // taken; nothing is to be free in those either.
  for (std::uint32_t block = kNearEnd; block < allocator.spread(); ++block)
    if (allocator.take(block)) allocator.release(block);
  allocator.freeze();
  const std::vector<BlockRun> released = allocator.take_released();
  REQUIRE(!released.empty());
  allocator.make_available({kData + 5, 1});
  CHECK(allocator.allocate(1, {}) == BlockRun{kData + 5, 1});
}

TEST_CASE("a search goes round although the last run of the part goes on behind it") {
  Area area;
  const std::uint32_t near_end = 3 * 12'000 + kSpreadBlocks;
  // Free: a run of 16 at 100, and 10 from 5 before the end of the part on.
  take_all(area.allocator, 0, 100);
  take_all(area.allocator, 116, near_end - 5);
  take_all(area.allocator, near_end + 5, kDataBlocks);
  for (std::uint32_t block = 12'016; block < near_end - 5; ++block) area.allocator.release(block);
  for (std::uint32_t block = near_end + 5; block < kDataBlocks; ++block)
    area.allocator.release(block);
  REQUIRE(area.allocator.spread() == near_end);
  // Brings the search behind the first run, which then comes free again.
  CHECK(area.allocator.allocate(16, {}) == BlockRun{100, 16});
  area.release(100, 16);
  area.allocator.freeze();
  REQUIRE(area.allocator.take_released().front() == BlockRun{100, 16});
  area.allocator.make_available({100, 16});
  CHECK(area.allocator.allocate(12, {}) == BlockRun{100, 12});
}

TEST_CASE("one search passes over 16 GiB at most while something is free behind it") {
  constexpr std::uint32_t kBound = 1U << 22;
  constexpr std::uint32_t kBlocks = 5 * kBound;
  CheckpointSet checkpoint_set;
  Allocator allocator(kBlocks, checkpoint_set);
  take_all(allocator, 0, 4 * kBound);
  REQUIRE(allocator.spread() == kBlocks);
  std::uint64_t before = allocator.looked_at();
  // In vain, then as far as it takes.
  CHECK(allocator.allocate(8, {}).first == 4 * kBound);
  CHECK(allocator.looked_at() - before <= 6 * std::uint64_t{kBound});
  before = allocator.looked_at();
  for (int i = 0; i < 200; ++i) CHECK(allocator.allocate(8, {}).first >= 4 * kBound);
  CHECK(allocator.looked_at() - before <= 200 * std::uint64_t{8});
}

TEST_CASE("a run that is too short is taken when no better one is found") {
  Area area;
  for (std::uint32_t block = 0; block < kDataBlocks; ++block)
    if (block % 5 != 0 || block > 200'000) area.take(block, 1);
  const BlockRun run = area.allocator.allocate(16, {});
  CHECK(run == BlockRun{0, 1});
  CHECK(area.allocator.allocate(16, 5).count == 1);
}

TEST_CASE("a checkpoint hands out sorted runs of what was released before it began") {
  Area area;
  area.take(0, 2000);
  area.release(1000, 10);
  area.release(500, 1);
  area.release(1010, 10);
  area.release(499, 1);
  area.release(0, 3);
  CHECK(area.allocator.released() == 25);
  area.allocator.freeze();
  CHECK(area.allocator.released() == 0);
  area.release(3, 1);
  CHECK(area.allocator.take_released() == std::vector<BlockRun>{{0, 3}, {499, 2}, {1000, 20}});
  CHECK(area.allocator.waiting() == 26);
  CHECK(!area.allocator.is_available(0));
  area.allocator.freeze();
  CHECK(area.allocator.take_released() == std::vector<BlockRun>{{3, 1}});
}
