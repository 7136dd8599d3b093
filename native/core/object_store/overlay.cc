// Freezing, and the runs of direct images.
#include "object_store/overlay.hh"

#include <algorithm>

#include "base/assert.hh"
#include "base/ids.hh"

namespace cairn::object_store {

std::vector<std::pair<std::uint32_t, Buffer>> Overlay::freeze() {
  CAIRN_ASSERT(frozen_.empty());
  frozen_.swap(active_);
  std::vector<std::pair<std::uint32_t, Buffer>> sorted(frozen_.begin(), frozen_.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return sorted;
}

ByteSpan Overlay::find_direct(std::uint32_t physical) const {
  auto behind = direct_.upper_bound(physical);
  if (behind == direct_.begin()) return {};
  const auto& [first, images] = *--behind;
  const std::size_t offset = std::size_t{physical - first} * kBlockBytes;
  if (offset >= images.size()) return {};
  return images.span().subspan(offset, kBlockBytes);
}

}  // namespace cairn::object_store
