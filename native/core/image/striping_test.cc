// Striping against the formula of RBD, applied byte by byte (or block by block), and known places.
#include "image/striping.hh"

#include <doctest/doctest.h>

#include <map>

#include "base/ids.hh"
#include "io/random.hh"

namespace cairn::image {

namespace {

struct Place {
  std::uint64_t object = 0, offset = 0;
};

// RBD's formula, as its documentation gives it, for one byte.
Place rbd_place(const Striping& striping, std::uint64_t at) {
  const std::uint64_t stripes_per_object = striping.object_bytes / striping.unit_bytes;
  const std::uint64_t block = at / striping.unit_bytes;
  const std::uint64_t stripe = block / striping.count;
  const std::uint64_t stripe_position = block % striping.count;
  const std::uint64_t set = stripe / stripes_per_object;
  return {set * striping.count + stripe_position,
          stripe % stripes_per_object * striping.unit_bytes + at % striping.unit_bytes};
}

Striping random_striping(io::Random& random) {
  Striping striping;
  striping.unit_bytes = kBlockBytes << random.below(3);
  striping.object_bytes = striping.unit_bytes * random.between(1, 5);
  striping.count = random.between(1, 6);
  return striping;
}

constexpr std::uint64_t kProbeBytes = 512;  // divides all units

}  // namespace

TEST_CASE("striping: every byte lies where RBD's formula puts it, and in one range only") {
  io::Random random(1);
  for (int round = 0; round < 400; ++round) {
    const Striping striping = random_striping(random);
    const std::uint64_t limit = 40 * striping.object_bytes / kProbeBytes;
    const std::uint64_t offset = random.below(limit) * kProbeBytes;
    const std::uint64_t length = random.below(limit) * kProbeBytes;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> found;  // place: image offset
    std::uint64_t last_object = 0;
    bool first = true;
    for (const ObjectRange& range : split(striping, offset, length)) {
      REQUIRE((first || range.object_number > last_object));
      first = false;
      last_object = range.object_number;
      std::uint64_t next = range.offset;
      for_each_piece(striping, range,
                     [&](std::uint64_t in_object, std::uint64_t in_image, std::uint64_t bytes) {
                       REQUIRE(in_object == next);
                       next += bytes;
                       for (std::uint64_t i = 0; i < bytes; i += kProbeBytes)
                         found[{range.object_number, in_object + i}] = in_image + i;
                     });
      REQUIRE(next == range.offset + range.length_bytes);
    }
    REQUIRE(found.size() == length / kProbeBytes);
    for (std::uint64_t at = offset; at < offset + length; at += kProbeBytes) {
      const Place place = rbd_place(striping, at);
      const auto entry = found.find({place.object, place.offset});
      REQUIRE(entry != found.end());
      REQUIRE(entry->second == at);
    }
  }
}

TEST_CASE("striping: how many objects there are, and what of one lies in the front of the image") {
  io::Random random(2);
  for (int round = 0; round < 400; ++round) {
    const Striping striping = random_striping(random);
    const std::uint64_t size = random.below(30 * striping.object_bytes);
    std::map<std::uint64_t, std::uint64_t> bytes;  // of each object
    for (const ObjectRange& range : split(striping, 0, size)) {
      REQUIRE(range.offset == 0);
      bytes[range.object_number] = range.length_bytes;
    }
    REQUIRE(object_count(striping, size) == bytes.size());
    for (std::uint64_t object = 0; object < bytes.size() + 3; ++object) {
      const auto entry = bytes.find(object);
      REQUIRE(bytes_below(striping, object, size) == (entry == bytes.end() ? 0 : entry->second));
    }
  }
}

TEST_CASE("striping: unaligned ends") {
  const Striping striping{4 * kBlockBytes, kBlockBytes, 2};
  // Units 0..2 of the image: object 0 unit 0, object 1 unit 0, object 0 unit 1.
  CHECK(split(striping, 10, 2 * kBlockBytes) ==
        std::vector<ObjectRange>{{0, 10, kBlockBytes}, {1, 0, kBlockBytes}});
  CHECK(split(striping, kBlockBytes - 1, kBlockBytes + 2) ==
        std::vector<ObjectRange>{{0, kBlockBytes - 1, 2}, {1, 0, kBlockBytes}});
  CHECK(split(striping, 0, 0).empty());
  const Striping plain{};
  CHECK(split(plain, (std::uint64_t{4} << 20) - 1, 2) ==
        std::vector<ObjectRange>{{0, (std::uint64_t{4} << 20) - 1, 1}, {1, 0, 1}});
}

TEST_CASE("striping: what no image may have is refused") {
  CHECK(check_striping({}).is_ok());
  CHECK(check_striping({4 << 20, 64 << 10, 16}).is_ok());
  CHECK_FALSE(check_striping({4 << 20, 3 << 20, 2}).is_ok());  // does not divide
  CHECK_FALSE(check_striping({4 << 20, 512, 2}).is_ok());
  CHECK_FALSE(check_striping({4 << 20, 0, 2}).is_ok());
  CHECK_FALSE(check_striping({64 << 20, 4 << 20, 2}).is_ok());
  CHECK_FALSE(check_striping({4 << 20, 4 << 20, 0}).is_ok());
  CHECK_FALSE(check_striping({4 << 20, 4 << 20, kMaxStripeCount + 1}).is_ok());
}

}  // namespace cairn::image
