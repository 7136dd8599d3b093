// Lists of extents: see block_device.hh.
#include "image/block_device.hh"

#include <algorithm>

namespace cairn::image {

std::vector<Extent> merged(std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const Extent next = extents[i];
    Extent* const last = kept == 0 ? nullptr : &extents[kept - 1];
    if (last != nullptr && last->state == next.state &&
        last->offset + last->length_bytes == next.offset) {
      last->length_bytes += next.length_bytes;
    } else {
      extents[kept++] = next;
    }
  }
  extents.resize(kept);
  return extents;
}

}  // namespace cairn::image
