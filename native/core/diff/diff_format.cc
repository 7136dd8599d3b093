// Encoders of diff_format.hh.
#include "diff/diff_format.hh"

namespace cairn::diff {

namespace {

// The length behind the tag, that only v2 has.
void put_tag(Writer& writer, char tag, std::uint8_t version, std::uint64_t length_bytes) {
  writer.put(static_cast<std::uint8_t>(tag));
  if (version == 2) writer.put(length_bytes);
}

void put_name(Writer& writer, char tag, std::uint8_t version, const std::string& name) {
  if (name.empty()) return;
  put_tag(writer, tag, version, 4 + name.size());
  writer.blob32(as_bytes(name));
}

void put_number(Writer& writer, char tag, std::uint8_t version, std::uint64_t value) {
  put_tag(writer, tag, version, 8);
  writer.put(value);
}

}  // namespace

void put_image_header(Writer& writer, const ImageHeader& header) {
  writer.raw(as_bytes(kImageBanner));
  put_number(writer, tag::kOrder, 2, header.order);
  put_number(writer, tag::kFeatures, 2, header.features);
  put_number(writer, tag::kStripeUnit, 2, header.stripe_unit_bytes);
  put_number(writer, tag::kStripeCount, 2, header.stripe_count);
  for (const auto& [key, value] : header.metadata) {
    put_tag(writer, tag::kMetadata, 2, 8 + key.size() + value.size());
    writer.blob32(as_bytes(key));
    writer.blob32(as_bytes(value));
  }
  writer.put(static_cast<std::uint8_t>(tag::kImageEnd));
  writer.raw(as_bytes(kImageDiffsBanner));
  writer.put(header.diff_count);
}

void put_diff_header(Writer& writer, const DiffHeader& header) {
  writer.raw(as_bytes(header.version == 2 ? kDiffBannerV2 : kDiffBannerV1));
  put_name(writer, tag::kFromSnap, header.version, header.from_snap);
  put_name(writer, tag::kToSnap, header.version, header.to_snap);
  if (header.version == 2 && !header.to_snap.empty()) {
    put_tag(writer, tag::kProtection, 2, 1);
    writer.put(static_cast<std::uint8_t>(header.is_protected));
  }
  if (header.size_bytes) put_number(writer, tag::kSize, header.version, *header.size_bytes);
}

void put_write_head(Writer& writer, std::uint8_t version, std::uint64_t offset,
                    std::uint64_t length_bytes) {
  put_tag(writer, tag::kWrite, version, 16 + length_bytes);
  writer.put(offset);
  writer.put(length_bytes);
}

void put_zero(Writer& writer, std::uint8_t version, std::uint64_t offset,
              std::uint64_t length_bytes) {
  put_tag(writer, tag::kZero, version, 16);
  writer.put(offset);
  writer.put(length_bytes);
}

void put_end(Writer& writer) { writer.put(static_cast<std::uint8_t>(tag::kEnd)); }

}  // namespace cairn::diff
