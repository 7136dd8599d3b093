// Fuzzes the superblock: what is decoded has parts that lie behind each other on the disk, and
// encodes to a block that decodes to the same. The first byte: bit 0 the copy; bit 1: the block
// gets its magic numbers and a right checksum first, so that the fields are reached.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/assert.hh"
#include "base/crc32c.hh"
#include "object_store/superblock.hh"

namespace {

using namespace cairn;
using namespace cairn::object_store;

// The last 8 bytes of the input are those of the block: the second magic number lies there.
Buffer block_of(ByteSpan input) {
  constexpr std::size_t kTailBytes = 8;
  Buffer block = Buffer::zeroed(kBlockBytes);
  const std::size_t tail = std::min(input.size(), kTailBytes);
  const ByteSpan front = input.first(std::min(input.size() - tail, kBlockBytes - kTailBytes));
  if (!front.empty()) std::memcpy(block.data(), front.data(), front.size());
  if (tail > 0)
    std::memcpy(block.data() + kBlockBytes - tail, input.data() + input.size() - tail, tail);
  return block;
}

// docs/format/object-store.md: magic at 0 and at the end, u32 checksum at 8 (zero while summed).
void repair(MutableByteSpan block) {
  constexpr std::size_t kCrcOffset = 8;
  const Buffer good = encode_superblock({}, 0);
  std::memcpy(block.data(), good.data(), kCrcOffset);
  std::memcpy(block.data() + kBlockBytes - 8, good.data() + kBlockBytes - 8, 8);
  store_le(block.data() + kCrcOffset, std::uint32_t{0});
  store_le(block.data() + kCrcOffset, crc32c(block));
}

void check_layout(const Layout& layout) {
  CAIRN_ASSERT(layout.wal_offset >= kBlockBytes);
  CAIRN_ASSERT(layout.wal_bytes <= layout.kv_offset - layout.wal_offset);
  CAIRN_ASSERT(layout.kv_bytes <= layout.data_offset - layout.kv_offset);
  CAIRN_ASSERT(layout.kv_unit_bytes > 0 && layout.kv_unit_bytes % kBlockBytes == 0);
  const std::uint64_t data_bytes = std::uint64_t{layout.data_blocks} * kBlockBytes;
  CAIRN_ASSERT(layout.disk_bytes >= kBlockBytes &&
               layout.data_offset <= layout.disk_bytes - kBlockBytes &&
               data_bytes <= layout.disk_bytes - kBlockBytes - layout.data_offset);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::uint32_t copy = bytes[0] & 1;
  Buffer block = block_of(std::as_bytes(std::span(bytes, size)).subspan(1));
  if ((bytes[0] & 2) != 0) repair(block.span());
  Result<Superblock> superblock = decode_superblock(block.span(), copy);
  if (!superblock) {
    CAIRN_ASSERT(!superblock.status().message().empty());
    return 0;
  }
  check_layout(superblock->layout);
  CAIRN_ASSERT((superblock->incompatible & ~kKnownIncompatible) == 0);
  const Buffer encoded = encode_superblock(*superblock, copy);
  Result<Superblock> again = decode_superblock(encoded.span(), copy);
  CAIRN_ASSERT(again.is_ok() && again->layout == superblock->layout &&
               again->generation == superblock->generation);
  CAIRN_ASSERT(!decode_superblock(encoded.span(), 1 - copy).is_ok());
  return 0;
}
