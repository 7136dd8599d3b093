// The stream formats of RBD's export-diff (v1, v2) and of `export --export-format 2`: constants and
// the encoders of everything that we write. Pure. docs/format/diff-stream.md has the byte tables.
// All numbers are little-endian.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hh"

namespace cairn::diff {

constexpr std::string_view kDiffBannerV1 = "rbd diff v1\n";
constexpr std::string_view kDiffBannerV2 = "rbd diff v2\n";
constexpr std::string_view kImageBanner = "rbd image v2\n";
constexpr std::string_view kImageDiffsBanner = "rbd image diffs v2\n";

namespace tag {
constexpr char kFromSnap = 'f', kToSnap = 't', kProtection = 'p', kSize = 's';
constexpr char kWrite = 'w', kZero = 'z', kEnd = 'e';
constexpr char kOrder = 'O', kFormat = 'F', kFeatures = 'T', kStripeUnit = 'U', kStripeCount = 'C';
constexpr char kMetadata = 'M', kImageEnd = 'E';
}  // namespace tag

constexpr std::size_t kMaxNameBytes = 4096;          // of a snapshot, as in RBD
constexpr std::size_t kMaxMetadataBytes = 1U << 20;  // of a key and its value together
constexpr std::size_t kMaxMetadataEntries = 1024;
constexpr std::uint64_t kMaxImageBytes = 1ULL << 53;     // what TypeScript counts exactly
constexpr std::size_t kMaxRecordHeadBytes = 1 + 8 + 16;  // of a write or zero record

// What stands before the data of one diff.
struct DiffHeader {
  std::uint8_t version = 1;
  std::string from_snap;      // empty: from nothing
  std::string to_snap;        // empty: to the head
  bool is_protected = false;  // the end snapshot; v2 only
  std::optional<std::uint64_t> size_bytes;
};

// What stands before the diffs of an exported image.
struct ImageHeader {
  std::uint64_t order = 22;  // objects of 2^order bytes
  std::uint64_t features = 0;
  std::uint64_t stripe_unit_bytes = 0;
  std::uint64_t stripe_count = 0;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::uint64_t diff_count = 0;
};

void put_image_header(Writer& writer, const ImageHeader& header);
void put_diff_header(Writer& writer, const DiffHeader& header);
// The head of a write record; length_bytes of data follow it.
void put_write_head(Writer& writer, std::uint8_t version, std::uint64_t offset,
                    std::uint64_t length_bytes);
void put_zero(Writer& writer, std::uint8_t version, std::uint64_t offset,
              std::uint64_t length_bytes);
void put_end(Writer& writer);

}  // namespace cairn::diff
