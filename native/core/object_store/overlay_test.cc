// ImageSet beside std::map, with pieces that share a bit of its filter.
#include "object_store/overlay.hh"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <utility>

#include "base/bytes.hh"
#include "object_store/object_store.hh"

using namespace cairn;
using namespace cairn::object_store;

namespace {

Buffer image_of(std::uint64_t value) {
  Buffer image = Buffer::zeroed(kBlockBytes);
  store_le(image.data(), value);
  return image;
}

}  // namespace

TEST_CASE("overlay: images are found and forgotten as in a map, also 16 GiB apart") {
  constexpr std::uint32_t kSameBit = 1U << 22;
  std::mt19937_64 random(1);
  ImageSet images;
  std::map<std::uint32_t, std::uint64_t> expected;
  const auto check = [&](std::uint32_t physical) {
    const ByteSpan found = images.find(physical);
    const auto known = expected.find(physical);
    REQUIRE(found.empty() == (known == expected.end()));
    if (!found.empty()) REQUIRE(load_le<std::uint64_t>(found.data()) == known->second);
  };
  for (std::uint64_t step = 1; step <= 20'000; ++step) {
    const auto physical = static_cast<std::uint32_t>(random() % 200 + random() % 3 * kSameBit);
    if (random() % 2 == 0) {
      images.put(physical, image_of(step));
      expected[physical] = step;
    } else {
      images.erase(physical);
      expected.erase(physical);
    }
    check(static_cast<std::uint32_t>(random() % 200 + random() % 3 * kSameBit));
    REQUIRE(images.size() == expected.size());
    if (step % 5000 != 0) continue;
    const auto sorted = images.sorted();
    REQUIRE(sorted.size() == expected.size());
    auto next = expected.begin();
    for (const auto& [place, image] : sorted) REQUIRE(place == (next++)->first);
    images.clear();
    expected.clear();
    for (std::uint32_t at = 0; at < 200; ++at) check(at);
  }
}

TEST_CASE("overlay: what is frozen stays visible until it is in its place, behind what is newer") {
  Overlay overlay;
  const auto value_at = [&overlay](std::uint32_t physical) {
    const ByteSpan found = overlay.find(physical);
    return found.empty() ? 0 : load_le<std::uint64_t>(found.data());
  };
  overlay.put(1, image_of(10));
  overlay.put(2, image_of(20));
  CHECK(overlay.is_waiting(1));
  CHECK(overlay.freeze().size() == 2);
  CHECK_FALSE(overlay.is_waiting(1));
  overlay.put(2, image_of(21));
  overlay.put(3, image_of(30));
  CHECK(value_at(1) == 10);
  CHECK(value_at(2) == 21);
  overlay.forget(2);
  CHECK(value_at(2) == 20);
  overlay.thaw();
  CHECK(value_at(1) == 0);
  CHECK(value_at(2) == 0);
  CHECK(value_at(3) == 30);
}
