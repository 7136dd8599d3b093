// Fuzz target: foreign bytes as a compiled CRUSH map. What decodes must place any input without a
// crash, within the result, and only on devices of the map.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/assert.hh"
#include "crush/map_codec.hh"
#include "crush/mapper.hh"

using namespace cairn;
using namespace cairn::crush;

namespace {

// Valid maps may ask for 10^8 draws a mapping; a fuzzer has no time for that.
constexpr std::uint32_t kTries = 10;

void shorten(Map& map) {
  map.tunables.choose_total_tries = std::min(map.tunables.choose_total_tries, kTries);
  for (Rule& rule : map.rules) {
    if (rule.steps.size() > 8) rule.steps.resize(8);
    for (Step& step : rule.steps) {
      if (step.op == StepOp::set_choose_tries || step.op == StepOp::set_chooseleaf_tries)
        step.arg1 = std::min(step.arg1, static_cast<std::int32_t>(kTries));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 16384) return 0;
  Result<Map> map = decode_map({reinterpret_cast<const std::byte*>(data), size});
  if (!map) return 0;
  shorten(*map);
  std::vector<std::uint32_t> weights(std::min(map->max_devices, 256u), kWeightOne);
  for (std::size_t osd = 0; osd < weights.size(); osd += 3) weights[osd] = 0x4000;
  std::array<ItemId, 5> row;
  for (const Rule& rule : map->rules) {
    for (const std::uint32_t x : {0u, 1u, 0xffffffffu}) {
      const int count = do_rule(*map, rule, x, weights, row);
      CAIRN_ASSERT(count >= 0 && static_cast<std::size_t>(count) <= row.size());
      for (int i = 0; i < count; ++i) {
        const ItemId item = row[static_cast<std::size_t>(i)];
        CAIRN_ASSERT(item == kItemNone || map->find_bucket(item) != nullptr ||
                     (item >= 0 && static_cast<std::uint32_t>(item) < map->max_devices));
      }
    }
  }
  return 0;
}
