// The superblock's bytes, and the choice between its two copies.
#include "object_store/superblock.hh"

#include <algorithm>
#include <bit>
#include <string>

#include "base/crc32c.hh"
#include "object_store/kv/kv_store.hh"

namespace cairn::object_store {

namespace {

constexpr std::uint64_t kMagic = 0x45524f54534e5243;  // "CRNSTORE"
// Byte offsets of the fields.
constexpr std::size_t kMagicAt = 0;
constexpr std::size_t kCrcAt = 8;
constexpr std::size_t kVersionAt = 12;
constexpr std::size_t kIncompatibleAt = 16;
constexpr std::size_t kCompatibleAt = 24;
constexpr std::size_t kAutoclearAt = 32;
constexpr std::size_t kClusterAt = 40;
constexpr std::size_t kStoreAt = 56;
constexpr std::size_t kOsdAt = 72;
constexpr std::size_t kCopyAt = 76;
constexpr std::size_t kGenerationAt = 80;
constexpr std::size_t kDiskBytesAt = 88;
constexpr std::size_t kWalOffsetAt = 96;
constexpr std::size_t kWalBytesAt = 104;
constexpr std::size_t kKvOffsetAt = 112;
constexpr std::size_t kKvBytesAt = 120;
constexpr std::size_t kKvUnitAt = 128;
constexpr std::size_t kDataOffsetAt = 136;
constexpr std::size_t kDataBlocksAt = 144;
constexpr std::size_t kBlockBytesAt = 148;
constexpr std::size_t kSecondMagicAt = kBlockBytes - 8;

constexpr std::uint64_t kMinWalBlocks = 8;

const char* const kRemedy =
    "; both copies of the superblock are damaged: replace the disk, or format it and let the "
    "cluster copy the data back";

std::uint32_t checksum(ByteSpan block) {
  const std::uint32_t zero = 0;
  std::uint32_t crc = crc32c(block.first(kCrcAt));
  crc = crc32c(std::as_bytes(std::span(&zero, 1)), crc);
  return crc32c(block.subspan(kCrcAt + 4), crc);
}

bool has_magic(ByteSpan block) {
  return load_le<std::uint64_t>(block.data() + kMagicAt) == kMagic ||
         load_le<std::uint64_t>(block.data() + kSecondMagicAt) == kMagic;
}

bool is_sound(const Layout& layout) {
  const auto follows = [](std::uint64_t offset, std::uint64_t bytes, std::uint64_t end) {
    return offset % kBlockBytes == 0 && bytes % kBlockBytes == 0 && bytes > 0 && offset <= end &&
           bytes <= end - offset;
  };
  return layout.disk_bytes % kBlockBytes == 0 && layout.disk_bytes >= 2 * kBlockBytes &&
         layout.kv_unit_bytes % kBlockBytes == 0 && layout.kv_unit_bytes > 0 &&
         layout.wal_offset >= kBlockBytes &&
         follows(layout.wal_offset, layout.wal_bytes, layout.kv_offset) &&
         follows(layout.kv_offset, layout.kv_bytes, layout.data_offset) &&
         follows(layout.data_offset, std::uint64_t{layout.data_blocks} * kBlockBytes,
                 layout.disk_bytes - kBlockBytes) &&
         layout.wal_bytes >= kMinWalBlocks * kBlockBytes;
}

std::string to_text(const Uuid& uuid) {
  static const char* const digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits[uuid[i] >> 4];
    text += digits[uuid[i] & 15];
  }
  return text;
}

std::uint64_t last_block(std::uint64_t disk_bytes) {
  return disk_bytes / kBlockBytes * kBlockBytes - kBlockBytes;
}

}  // namespace

Result<Layout> make_layout(std::uint64_t disk_bytes, const Geometry& geometry) {
  Layout layout;
  layout.disk_bytes = disk_bytes / kBlockBytes * kBlockBytes;
  layout.kv_unit_bytes = geometry.kv_unit_bytes;
  layout.wal_bytes = geometry.wal_bytes;
  layout.kv_bytes = geometry.kv_bytes;
  if (layout.kv_unit_bytes == 0 || layout.kv_unit_bytes % kBlockBytes != 0 ||
      layout.wal_bytes % kBlockBytes != 0 || layout.kv_bytes % kBlockBytes != 0)
    return Status(ErrorCode::invalid_argument, "the parts of a store are multiples of 4096 bytes");
  if (layout.kv_bytes == 0) {
    const std::uint64_t two_percent = layout.disk_bytes / 50 / kBlockBytes * kBlockBytes;
    // A small disk gives a larger part, because the region's own reserves do not shrink with it.
    const std::uint64_t eighth = layout.disk_bytes / 8 / kBlockBytes * kBlockBytes;
    layout.kv_bytes = std::max(
        {two_percent, std::uint64_t{64} << 20, std::min(eighth, std::uint64_t{256} << 20)});
  }
  layout.wal_offset = kBlockBytes;
  layout.kv_offset = layout.wal_offset + layout.wal_bytes;
  layout.data_offset = layout.kv_offset + layout.kv_bytes;
  // The data area needs at least 16 blocks; indexes are 32 bits wide, the last one is kept free.
  const std::uint64_t minimum = layout.data_offset + 17 * kBlockBytes;
  if (layout.wal_bytes < kMinWalBlocks * kBlockBytes || layout.disk_bytes < minimum ||
      layout.kv_bytes < kv::KvStore::minimum_region_bytes(layout.kv_unit_bytes))
    return Status(ErrorCode::invalid_argument,
                  "a disk of " + std::to_string(disk_bytes) + " bytes is too small for a WAL of " +
                      std::to_string(layout.wal_bytes) + " and a key-value region of " +
                      std::to_string(layout.kv_bytes) + " bytes");
  const std::uint64_t blocks = (layout.disk_bytes - layout.data_offset) / kBlockBytes - 1;
  layout.data_blocks = static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, 0xffffffff));
  return layout;
}

Buffer encode_superblock(const Superblock& superblock, std::uint32_t copy) {
  Buffer block = Buffer::zeroed(kBlockBytes);
  std::byte* to = block.data();
  const Layout& layout = superblock.layout;
  store_le(to + kMagicAt, kMagic);
  store_le(to + kSecondMagicAt, kMagic);
  store_le(to + kVersionAt, kFormatVersion);
  store_le(to + kIncompatibleAt, superblock.incompatible);
  store_le(to + kCompatibleAt, superblock.compatible);
  store_le(to + kAutoclearAt, superblock.autoclear);
  std::memcpy(to + kClusterAt, superblock.identity.cluster.data(), sizeof(Uuid));
  std::memcpy(to + kStoreAt, superblock.identity.store.data(), sizeof(Uuid));
  store_le(to + kOsdAt, superblock.identity.osd);
  store_le(to + kCopyAt, copy);
  store_le(to + kGenerationAt, superblock.generation);
  store_le(to + kDiskBytesAt, layout.disk_bytes);
  store_le(to + kWalOffsetAt, layout.wal_offset);
  store_le(to + kWalBytesAt, layout.wal_bytes);
  store_le(to + kKvOffsetAt, layout.kv_offset);
  store_le(to + kKvBytesAt, layout.kv_bytes);
  store_le(to + kKvUnitAt, layout.kv_unit_bytes);
  store_le(to + kDataOffsetAt, layout.data_offset);
  store_le(to + kDataBlocksAt, layout.data_blocks);
  store_le(to + kBlockBytesAt, static_cast<std::uint32_t>(kBlockBytes));
  store_le(to + kCrcAt, checksum(block.span()));
  return block;
}

Result<Superblock> decode_superblock(ByteSpan block, std::uint32_t copy) {
  CAIRN_ASSERT(block.size() == kBlockBytes);
  const std::byte* from = block.data();
  if (!has_magic(block))
    return Status(
        ErrorCode::not_found,
        "no Cairn superblock on this disk: it holds no store, or both copies are damaged");
  if (load_le<std::uint32_t>(from + kCrcAt) != checksum(block) ||
      load_le<std::uint64_t>(from + kMagicAt) != kMagic)
    return Status(ErrorCode::corrupt, "a superblock does not match its checksum");
  if (const auto version = load_le<std::uint32_t>(from + kVersionAt); version != kFormatVersion)
    return Status(ErrorCode::incompatible_version,
                  "the store has format version " + std::to_string(version) +
                      ", this program knows version " + std::to_string(kFormatVersion));
  Superblock superblock;
  superblock.incompatible = load_le<std::uint64_t>(from + kIncompatibleAt);
  superblock.compatible = load_le<std::uint64_t>(from + kCompatibleAt);
  superblock.autoclear = load_le<std::uint64_t>(from + kAutoclearAt);
  if (const std::uint64_t unknown = superblock.incompatible & ~kKnownIncompatible; unknown != 0)
    return Status(ErrorCode::unsupported_feature,
                  "the store uses incompatible feature bit " +
                      std::to_string(std::countr_zero(unknown)) +
                      ", which this program does not know: use a newer one");
  std::memcpy(superblock.identity.cluster.data(), from + kClusterAt, sizeof(Uuid));
  std::memcpy(superblock.identity.store.data(), from + kStoreAt, sizeof(Uuid));
  superblock.identity.osd = load_le<OsdId>(from + kOsdAt);
  superblock.generation = load_le<std::uint64_t>(from + kGenerationAt);
  Layout& layout = superblock.layout;
  layout.disk_bytes = load_le<std::uint64_t>(from + kDiskBytesAt);
  layout.wal_offset = load_le<std::uint64_t>(from + kWalOffsetAt);
  layout.wal_bytes = load_le<std::uint64_t>(from + kWalBytesAt);
  layout.kv_offset = load_le<std::uint64_t>(from + kKvOffsetAt);
  layout.kv_bytes = load_le<std::uint64_t>(from + kKvBytesAt);
  layout.kv_unit_bytes = load_le<std::uint64_t>(from + kKvUnitAt);
  layout.data_offset = load_le<std::uint64_t>(from + kDataOffsetAt);
  layout.data_blocks = load_le<std::uint32_t>(from + kDataBlocksAt);
  if (load_le<std::uint32_t>(from + kCopyAt) != copy ||
      load_le<std::uint32_t>(from + kBlockBytesAt) != kBlockBytes || !is_sound(layout))
    return Status(ErrorCode::corrupt, "a superblock has an impossible layout");
  return superblock;
}

Result<bool> has_superblock(io::BlockingDisk& disk) {
  if (disk.size_bytes() < 2 * kBlockBytes) return false;
  Buffer block = Buffer::allocate(kBlockBytes);
  for (const std::uint64_t offset : {std::uint64_t{0}, last_block(disk.size_bytes())}) {
    CAIRN_RETURN_IF_ERROR(disk.read_now(offset, block.span()));
    if (has_magic(block.span())) return true;
  }
  return false;
}

Result<Superblock> read_superblock(io::BlockingDisk& disk) {
  if (disk.size_bytes() < 2 * kBlockBytes)
    return Status(ErrorCode::not_found, "no Cairn store: the disk is smaller than two blocks");
  Buffer block = Buffer::allocate(kBlockBytes);
  // A copy that cannot be read counts as damaged: the other one suffices.
  const auto read_copy = [&](std::uint64_t offset, std::uint32_t copy) -> Result<Superblock> {
    CAIRN_RETURN_IF_ERROR(disk.read_now(offset, block.span()));
    return decode_superblock(block.span(), copy);
  };
  Result<Superblock> first = read_copy(0, 0);
  const std::uint64_t known_end = first ? first->layout.disk_bytes : disk.size_bytes();
  if (known_end > disk.size_bytes())
    return Status(ErrorCode::corrupt,
                  "the disk has " + std::to_string(disk.size_bytes()) +
                      " bytes, the store was made with " + std::to_string(known_end) +
                      ": the file was cut off; restore its length or rebuild the OSD");
  Result<Superblock> second = read_copy(last_block(known_end), 1);
  if (first && second) return first->generation >= second->generation ? first : second;
  if (first) return first;
  if (second) return second;
  const auto is_damaged = [](const Result<Superblock>& copy) {
    return copy.status().code() == ErrorCode::corrupt;
  };
  // A version or feature that we do not know tells more than damage of the other copy.
  for (const Result<Superblock>* copy : {&first, &second})
    if (!is_damaged(*copy) && copy->status().code() != ErrorCode::not_found) return copy->status();
  if (is_damaged(first)) return Status(ErrorCode::corrupt, first.status().message() + kRemedy);
  if (is_damaged(second)) return Status(ErrorCode::corrupt, second.status().message() + kRemedy);
  return first;
}

Status write_superblock(io::BlockingDisk& disk, const Superblock& superblock) {
  CAIRN_RETURN_IF_ERROR(disk.write_now(last_block(superblock.layout.disk_bytes),
                                       encode_superblock(superblock, 1).span()));
  CAIRN_RETURN_IF_ERROR(disk.flush_now());
  CAIRN_RETURN_IF_ERROR(disk.write_now(0, encode_superblock(superblock, 0).span()));
  return disk.flush_now();
}

Status check_identity(const Identity& found, const Identity& expected) {
  const Uuid none{};
  if (expected.cluster != none && expected.cluster != found.cluster)
    return {ErrorCode::wrong_cluster, "the store belongs to cluster " + to_text(found.cluster) +
                                          ", not to " + to_text(expected.cluster)};
  if (expected.osd != kNoOsd && expected.osd != found.osd)
    return {ErrorCode::wrong_daemon, "the store belongs to osd." + std::to_string(found.osd) +
                                         ", not to osd." + std::to_string(expected.osd)};
  if (expected.store != none && expected.store != found.store)
    return {ErrorCode::wrong_daemon, "this is store " + to_text(found.store) + " of osd." +
                                         std::to_string(found.osd) + ", not " +
                                         to_text(expected.store)};
  return {};
}

}  // namespace cairn::object_store
