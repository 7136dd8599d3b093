// RawExtents: where a raw image file has data, so that its holes need not be read. Blocking calls,
// but of metadata only.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.hh"
#include "qcow2/piece_builder.hh"

namespace cairn::qcow2 {

class RawExtents {
 public:
  // fd: a regular file or block device; source: its index among an ImportJob's sources.
  // size_bytes: where the image ends.
  RawExtents(int fd, std::uint32_t source, std::uint64_t size_bytes)
      : fd_(fd), source_(source), size_bytes_(size_bytes) {}
  // Up to count extents (data, or zero for a hole) that go on where the last call ended; none at
  // the end. On file systems that know no holes all is data. io_error.
  Result<std::vector<SourceExtent>> next(std::size_t count);

 private:
  int fd_;
  std::uint32_t source_;
  std::uint64_t size_bytes_;
  std::uint64_t position_ = 0;
};

}  // namespace cairn::qcow2
