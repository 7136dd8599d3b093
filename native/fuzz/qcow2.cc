// Fuzzes the native half of image import: compressed clusters, and the extents that describe a
// file. The first byte chooses: 0: a zlib cluster; 1: a zstd cluster; 2: extents.
// Beside the sanitizers it checks: a cluster is filled completely or refused, the same each time;
// pieces handle exactly the bytes of the extents, stay inside the device and their windows, and
// their segments do not overlap.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/assert.hh"
#include "qcow2/decompress.hh"
#include "qcow2/piece_builder.hh"

namespace {

using namespace cairn;
using namespace cairn::qcow2;

void fuzz_cluster(Compression compression, ByteSpan bytes) {
  if (bytes.size() < 2 || bytes.size() > kMaxCompressedBytes) return;
  const std::size_t length = load_le<std::uint16_t>(bytes.data()) + std::size_t{1};
  bytes = bytes.subspan(2);
  std::vector<std::byte> first(length, std::byte{1}), second(length, std::byte{2});
  Decompressor decompressor;
  const bool ok = decompressor.decompress(compression, bytes, first).is_ok();
  const bool again = decompressor.decompress(compression, bytes, second).is_ok();
  CAIRN_ASSERT(ok == again);
  if (ok) CAIRN_ASSERT(first == second);
}

void check_piece(const Piece& piece, std::uint64_t device_bytes) {
  CAIRN_ASSERT(piece.length_bytes <= device_bytes &&
               piece.guest_offset <= device_bytes - piece.length_bytes);
  if (piece.length_bytes != 0) {
    const std::uint64_t window = piece.zero ? kZeroPieceBytes : kPieceBytes;
    const std::uint64_t last = piece.guest_offset + piece.length_bytes - 1;
    CAIRN_ASSERT(piece.guest_offset / window == last / window);
  }
  std::uint64_t position = 0;
  for (const Segment& segment : piece.segments) {
    CAIRN_ASSERT(segment.piece_offset >= position);
    position = segment.piece_offset + segment.length_bytes;
    if (segment.cluster_bytes != 0)
      CAIRN_ASSERT(std::uint64_t{segment.cluster_offset} + segment.length_bytes <=
                   segment.cluster_bytes);
  }
  CAIRN_ASSERT(position <= piece.length_bytes);
}

void fuzz_extents(ByteSpan bytes) {
  Reader reader(bytes);
  const bool blank = reader.get<std::uint8_t>() % 2 == 0;
  constexpr std::uint64_t kDeviceBytes = std::uint64_t{256} << 20;
  PieceBuilder builder(kDeviceBytes, 2, blank);
  std::uint64_t taken = 0, handled = 0, next_guest = 0;
  while (reader.remaining() > 0) {
    SourceExtent extent;
    extent.kind = static_cast<SourceKind>(reader.get<std::uint8_t>() % 5);
    extent.source = reader.get<std::uint8_t>() % 3;
    // Mostly behind the one before it; the fuzzer finds the wrong ones by wrapping.
    extent.guest_offset = next_guest + reader.get<std::uint16_t>();
    extent.length_bytes = reader.get<std::uint32_t>();
    extent.host_offset = reader.get<std::uint64_t>();
    extent.compressed_bytes = reader.get<std::uint32_t>() & 0xffffff;
    extent.cluster_bytes = reader.get<std::uint32_t>() & 0x3fffff;
    extent.cluster_offset = reader.get<std::uint32_t>() & 0x3fffff;
    if (extent.kind == SourceKind::data || extent.kind == SourceKind::zero)
      extent.cluster_bytes = 0;
    if (!builder.add({&extent, 1})) continue;
    taken += extent.length_bytes;
    next_guest = extent.guest_offset + extent.length_bytes;
  }
  while (const std::optional<Piece> piece = builder.next()) {
    check_piece(*piece, kDeviceBytes);
    handled += piece->handled_bytes;
  }
  CAIRN_ASSERT(handled == taken);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const ByteSpan rest = std::as_bytes(std::span(bytes, size)).subspan(1);
  switch (bytes[0] % 3) {
    case 0:
      fuzz_cluster(Compression::zlib, rest);
      break;
    case 1:
      fuzz_cluster(Compression::zstd, rest);
      break;
    default:
      fuzz_extents(rest);
  }
  return 0;
}
