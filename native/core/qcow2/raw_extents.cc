// lseek(SEEK_DATA, SEEK_HOLE) behind raw_extents.hh.
#include "qcow2/raw_extents.hh"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cairn::qcow2 {

Result<std::vector<SourceExtent>> RawExtents::next(std::size_t count) {
  std::vector<SourceExtent> extents;
  const auto add = [&](SourceKind kind, std::uint64_t end) {
    end = std::min(end, size_bytes_);
    if (end <= position_) return;
    SourceExtent extent;
    extent.kind = kind;
    extent.source = source_;
    extent.guest_offset = position_;
    extent.length_bytes = end - position_;
    extent.host_offset = position_;
    extents.push_back(extent);
    position_ = end;
  };
  // A step gives at most two extents.
  while (position_ < size_bytes_ && extents.size() + 2 <= count) {
    const off_t data = ::lseek(fd_, static_cast<off_t>(position_), SEEK_DATA);
    if (data < 0 && errno == ENXIO) {  // nothing but a hole from here on
      add(SourceKind::zero, size_bytes_);
      break;
    }
    if (data < 0 && errno == EINVAL) {  // it knows no holes
      add(SourceKind::data, size_bytes_);
      break;
    }
    if (data < 0) return Status::from_errno(errno, "look for data in the image file");
    add(SourceKind::zero, static_cast<std::uint64_t>(data));
    const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
    if (hole < 0) return Status::from_errno(errno, "look for holes in the image file");
    add(SourceKind::data, static_cast<std::uint64_t>(hole));
  }
  return extents;
}

}  // namespace cairn::qcow2
