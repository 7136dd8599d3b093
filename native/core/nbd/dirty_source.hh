// DirtySource: what differs between earlier moments of a device and now, for the contexts
// qemu:dirty-bitmap:NAME.
#pragma once

#include <cstddef>
#include <cstdint>

#include "image/block_device.hh"

namespace cairn::nbd {

class DirtySource {
 public:
  virtual ~DirtySource() = default;
  // done gets the extents of the range that differ from the bitmap's moment, in order; their states
  // do not matter. bitmap: an index into ServerOptions::bitmaps.
  virtual void dirty(std::size_t bitmap, std::uint64_t offset, std::uint64_t length_bytes,
                     image::ExtentsDone done) = 0;
};

}  // namespace cairn::nbd
