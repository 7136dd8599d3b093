// Striping: which bytes of an image lie in which object. Pure. The formula is that of RBD
// ("striping v2"): the image is cut into stripe units; stripe_count objects form an object set, and
// the units go round robin over the objects of a set until these are full. The default, a unit as
// large as an object and a count of 1, puts byte o into object o / object_bytes.
//
// Inside one object both orders agree: what lies further in the object lies further in the image.
// So a range of the image touches one range of each object, and a clone's overlap with its parent
// is the front of each object.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/status.hh"

namespace cairn::image {

struct Striping {
  std::uint64_t object_bytes = std::uint64_t{4} << 20;
  std::uint64_t unit_bytes = std::uint64_t{4} << 20;
  std::uint64_t count = 1;
};

// A range of one object.
struct ObjectRange {
  std::uint64_t object_number = 0;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  bool operator==(const ObjectRange&) const = default;
};

// invalid_argument: units are whole blocks and divide an object, which is no larger than the
// largest; the count is 1 to kMaxStripeCount.
constexpr std::uint64_t kMaxStripeCount = 4096;
Status check_striping(const Striping& striping);

// The ranges of the objects that a range of the image touches, each object once, in order of their
// numbers.
std::vector<ObjectRange> split(const Striping& striping, std::uint64_t offset,
                               std::uint64_t length_bytes);
// Where in the image a byte of an object lies.
std::uint64_t image_offset(const Striping& striping, std::uint64_t object_number,
                           std::uint64_t object_offset);
// How many objects an image of that size has.
std::uint64_t object_count(const Striping& striping, std::uint64_t size_bytes);
// How many bytes of the object lie in the first image_bytes of the image: they are its front.
std::uint64_t bytes_below(const Striping& striping, std::uint64_t object_number,
                          std::uint64_t image_bytes);

// Calls visit(object_offset, image_offset, length_bytes) for the runs of the range that lie in one
// piece in the image, in order.
template <typename Visit>
void for_each_piece(const Striping& striping, const ObjectRange& range, Visit visit) {
  const std::uint64_t end = range.offset + range.length_bytes;
  // Units of an image with one object per set follow each other in the image too.
  const std::uint64_t piece = striping.count == 1 ? striping.object_bytes : striping.unit_bytes;
  for (std::uint64_t at = range.offset; at < end;) {
    const std::uint64_t length = std::min(end - at, piece - at % piece);
    visit(at, image_offset(striping, range.object_number, at), length);
    at += length;
  }
}

}  // namespace cairn::image
