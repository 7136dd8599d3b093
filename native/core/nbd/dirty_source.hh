// DirtySource: what differs between earlier moments of a device and now, for the contexts
// qemu:dirty-bitmap:NAME. Its moments do not change: a connection keeps the one that it began with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "image/block_device.hh"

namespace cairn::nbd {

class DirtySource {
 public:
  virtual ~DirtySource() = default;
  virtual std::vector<std::string> names() const = 0;
  // done gets the extents of the range that differ from the bitmap's moment, in order; their states
  // do not matter. bitmap: an index into names().
  virtual void dirty(std::size_t bitmap, std::uint64_t offset, std::uint64_t length_bytes,
                     image::ExtentsDone done) = 0;
};

}  // namespace cairn::nbd
