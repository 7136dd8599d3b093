// Bits and writes that go astray.
#include "explore/damaged_image.hh"

#include <algorithm>
#include <cstring>

namespace cairn::explore {

namespace {

constexpr int kTries = 8;

Buffer read(const io::SimDiskImage& image, std::uint64_t offset, std::uint64_t length) {
  Buffer bytes = Buffer::allocate(length);
  image.read(offset, bytes.span());
  return bytes;
}

bool equal(const Buffer& a, const Buffer& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string at(const ByteRange& range) {
  return "offset " + std::to_string(range.offset) + " length " + std::to_string(range.length);
}

// The part of the disk that the offset is in: a write goes astray within it more often than not.
ByteRange region_of(const object_store::Layout& layout, std::uint64_t offset) {
  const ByteRange regions[] = {
      {layout.wal_offset, layout.wal_bytes},
      {layout.kv_offset, layout.kv_bytes},
      {layout.data_offset, std::uint64_t{layout.data_blocks} * kBlockBytes}};
  for (const ByteRange& region : regions)
    if (region.overlaps({offset, 1})) return region;
  return {0, layout.disk_bytes};
}

std::uint64_t other_place(const object_store::Layout& layout, const io::PendingWrite& write,
                          Random& random) {
  const ByteRange anywhere{0, layout.disk_bytes};
  ByteRange region = random.below(4) == 0 ? anywhere : region_of(layout, write.offset);
  if (region.length < write.bytes.size()) region = anywhere;
  const std::uint64_t places = (region.length - write.bytes.size()) / kBlockBytes + 1;
  return region.offset + random.below(places) * kBlockBytes;
}

// False: another write has been where this one came to, or it came to its own place.
bool misdirect(io::SimDiskImage& image, const FieldMap& fields, const io::SimDiskImage& before,
               const io::PendingWrite& write, Random& random, Damage& damage) {
  const ByteRange target{other_place(fields.layout(), write, random), write.bytes.size()};
  if (target.overlaps(damage.places.front())) return false;
  // What was written later lies over it.
  if (!equal(read(before, target.offset, target.length), read(image, target.offset, target.length)))
    return false;
  image.replace(target.offset, write.bytes);
  damage.description += " and came to " + at(target);
  // Of two damaged places each must have a second copy, if everything is to be healed.
  if (fields.verdict(target) != damage.verdict) damage.verdict = Verdict::may_name;
  damage.places.push_back(target);
  return true;
}

}  // namespace

std::optional<Damage> flip_bit(io::SimDiskImage& image, const FieldMap& fields, FieldClass field,
                               Random& random) {
  const std::vector<ByteRange>& ranges = fields.ranges(field);
  if (ranges.empty()) return std::nullopt;
  const ByteRange& range = ranges[random.below(ranges.size())];
  const std::uint64_t offset = range.offset + random.below(range.length);
  const auto bit = static_cast<unsigned>(random.below(8));
  image.flip_bit(offset, bit);
  Damage damage;
  damage.places.push_back({offset, 1});
  damage.verdict = fields.verdict(damage.places.back());
  damage.description = std::string(name_of(field)) + ", bit " + std::to_string(bit) + " of byte " +
                       std::to_string(offset) + " flipped";
  return damage;
}

std::optional<Damage> displace_write(io::SimDiskImage& image, const FieldMap& fields,
                                     const Life& life, const Moment& moment, StateKind kind,
                                     Random& random) {
  const auto index = static_cast<std::size_t>(&moment - life.moments.data());
  const auto end =
      std::partition_point(life.writes.begin(), life.writes.end(),
                           [&](const DiskWrite& write) { return write.moment <= index; });
  const auto count = static_cast<std::uint64_t>(end - life.writes.begin());
  for (int tries = 0; tries < kTries && count > 0; ++tries) {
    const DiskWrite& found = life.writes[random.below(count)];
    const io::PendingWrite& write = found.write;
    // The first moment has no disk before it that is known.
    if (found.moment == 0) continue;
    const Buffer old = read(life.moments[found.moment - 1].image, write.offset, write.bytes.size());
    const ByteRange place{write.offset, write.bytes.size()};
    if (!equal(read(image, place.offset, place.length), write.bytes)) continue;
    if (equal(old, write.bytes)) continue;
    Damage damage;
    damage.places.push_back(place);
    damage.verdict = fields.verdict(place);
    damage.description = "the write at " + at(place) + " was lost";
    image.replace(place.offset, old);
    if (kind == StateKind::misdirected_write &&
        !misdirect(image, fields, life.moments[found.moment - 1].image, write, random, damage))
      return std::nullopt;
    return damage;
  }
  return std::nullopt;
}

}  // namespace cairn::explore
