// The Allocator alone: where runs are looked for, and what a checkpoint hands out.
#include "object_store/allocator.hh"

#include <algorithm>

#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;

namespace {

constexpr std::uint32_t kSpreadBlocks = (64U << 20) / kBlockBytes;
constexpr std::uint32_t kDataBlocks = 400'000;

struct Area {
  void take(std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t block = first; block < first + count; ++block)
      REQUIRE(allocator.take(block));
  }
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
  for (std::uint32_t block = 0; block < near_end; block += 2) REQUIRE(area.allocator.take(block));
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
