// The arithmetic of striping.hh.
#include "image/striping.hh"

#include "base/ids.hh"

namespace cairn::image {

namespace {

std::uint64_t units_per_object(const Striping& striping) {
  return striping.object_bytes / striping.unit_bytes;
}

}  // namespace

Status check_striping(const Striping& striping) {
  const bool object_fits = striping.object_bytes >= kBlockBytes &&
                           striping.object_bytes <= kMaxObjectBytes &&
                           striping.object_bytes % kBlockBytes == 0;
  if (!object_fits) return {ErrorCode::invalid_argument, "objects are whole blocks of 4K, to 32M"};
  const bool unit_fits = striping.unit_bytes >= kBlockBytes &&
                         striping.unit_bytes % kBlockBytes == 0 &&
                         striping.object_bytes % striping.unit_bytes == 0;
  if (!unit_fits)
    return {ErrorCode::invalid_argument, "a stripe unit is whole blocks of 4K and divides objects"};
  if (striping.count == 0 || striping.count > kMaxStripeCount)
    return {ErrorCode::invalid_argument, "the stripe count is 1 to 4096"};
  return Status::ok();
}

std::vector<ObjectRange> split(const Striping& striping, std::uint64_t offset,
                               std::uint64_t length_bytes) {
  std::vector<ObjectRange> ranges;
  const std::uint64_t end = offset + length_bytes;
  const std::uint64_t set_bytes = striping.object_bytes * striping.count;
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t set = at / set_bytes;
    const std::uint64_t set_end = std::min(end, (set + 1) * set_bytes);
    if (striping.count == 1) {
      ranges.push_back({set, at % set_bytes, set_end - at});
    } else {
      const std::uint64_t first = set * striping.count;
      for (std::uint64_t object = first; object < first + striping.count; ++object) {
        const std::uint64_t from = bytes_below(striping, object, at);
        const std::uint64_t to = bytes_below(striping, object, set_end);
        if (from < to) ranges.push_back({object, from, to - from});
      }
    }
    at = set_end;
  }
  return ranges;
}

std::uint64_t image_offset(const Striping& striping, std::uint64_t object_number,
                           std::uint64_t object_offset) {
  if (striping.count == 1) return object_number * striping.object_bytes + object_offset;
  const std::uint64_t set = object_number / striping.count;
  const std::uint64_t stripe =
      set * units_per_object(striping) + object_offset / striping.unit_bytes;
  const std::uint64_t unit = stripe * striping.count + object_number % striping.count;
  return unit * striping.unit_bytes + object_offset % striping.unit_bytes;
}

std::uint64_t object_count(const Striping& striping, std::uint64_t size_bytes) {
  const std::uint64_t set_bytes = striping.object_bytes * striping.count;
  const std::uint64_t rest = size_bytes % set_bytes;
  const std::uint64_t rest_units = (rest + striping.unit_bytes - 1) / striping.unit_bytes;
  return size_bytes / set_bytes * striping.count + std::min(rest_units, striping.count);
}

std::uint64_t bytes_below(const Striping& striping, std::uint64_t object_number,
                          std::uint64_t image_bytes) {
  const std::uint64_t set_bytes = striping.object_bytes * striping.count;
  const std::uint64_t set_begin = object_number / striping.count * set_bytes;
  if (image_bytes <= set_begin) return 0;
  const std::uint64_t in_set = std::min(image_bytes - set_begin, set_bytes);
  const std::uint64_t stripe_bytes = striping.unit_bytes * striping.count;
  const std::uint64_t unit_begin = object_number % striping.count * striping.unit_bytes;
  const std::uint64_t rest = in_set % stripe_bytes;
  const std::uint64_t of_rest =
      rest <= unit_begin ? 0 : std::min(rest - unit_begin, striping.unit_bytes);
  return in_set / stripe_bytes * striping.unit_bytes + of_rest;
}

}  // namespace cairn::image
