// The frozen half of the overlay.
#include "object_store/overlay.hh"

#include <algorithm>

#include "base/assert.hh"

namespace cairn::object_store {

std::vector<std::pair<std::uint32_t, Buffer>> Overlay::freeze() {
  CAIRN_ASSERT(frozen_.empty());
  frozen_.swap(active_);
  std::vector<std::pair<std::uint32_t, Buffer>> sorted(frozen_.begin(), frozen_.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return sorted;
}

}  // namespace cairn::object_store
