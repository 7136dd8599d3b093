// Freezing, and the runs of direct images.
#include "object_store/overlay.hh"

#include <algorithm>

#include "base/assert.hh"
#include "base/ids.hh"

namespace cairn::object_store {

std::vector<std::pair<std::uint32_t, Buffer>> ImageSet::sorted() const {
  std::vector<std::uint32_t> pieces;
  pieces.reserve(pieces_.size());
  for (const auto& [piece, images] : pieces_) pieces.push_back(piece);
  std::sort(pieces.begin(), pieces.end());
  std::vector<std::pair<std::uint32_t, Buffer>> all;
  all.reserve(size_);
  for (const std::uint32_t piece : pieces) {
    const auto& images = pieces_.find(piece)->second;
    for (std::uint32_t i = 0; i < kPieceBlocks; ++i)
      if (!images[i].empty()) all.emplace_back(piece * kPieceBlocks + i, images[i]);
  }
  return all;
}

std::vector<std::pair<std::uint32_t, Buffer>> Overlay::freeze() {
  CAIRN_ASSERT(frozen_.size() == 0);
  std::swap(frozen_, active_);
  return frozen_.sorted();
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
