// Which parts of a range of an image differ between a snapshot and what the image reads: for front
// ends that ask range by range. DiffJob goes through whole images.
#pragma once

#include <memory>

#include "image/object_io.hh"

namespace cairn::image {

// done gets what differs, merged, with its state there. At most kMaxDiffsUnderWay objects are asked
// at a time; a gate that holds back is waited for.
constexpr std::size_t kMaxDiffsUnderWay = 16;
void diff_range(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap, std::uint64_t offset,
                std::uint64_t length_bytes, ExtentsDone done);

}  // namespace cairn::image
