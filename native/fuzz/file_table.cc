// Fuzzes the file table of the key-value region. The first byte: 0: the slot as it is; else its
// header gets magic, version, length, geometry and checksum first, so that the files are reached.
// Beside the sanitizers it checks: no unit belongs to two files, no file reaches behind its
// extents, and a decoded table encodes to the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.hh"
#include "base/crc32c.hh"
#include "object_store/kv/file_table.hh"

namespace {

using namespace cairn;
using namespace cairn::kv;

constexpr Geometry kGeometry = {
    .region_length = std::uint64_t{4} << 20, .unit_bytes = 4096, .nonce = 5};

// docs/format/object-store.md: the table's header.
void repair(std::vector<std::byte>& slot) {
  constexpr std::size_t kCrcAt = 12, kLengthAt = 16, kRegionAt = 24, kUnitAt = 32;
  if (slot.size() < kTableHeaderBytes) slot.resize(kTableHeaderBytes);
  FileTable empty;
  empty.geometry = kGeometry;
  Result<std::vector<std::byte>> good = empty.encode();
  CAIRN_ASSERT(good.is_ok());
  std::memcpy(slot.data(), good->data(), kCrcAt);
  std::memcpy(slot.data() + kRegionAt, good->data() + kRegionAt, kUnitAt + 8 - kRegionAt);
  store_le(slot.data() + kLengthAt, static_cast<std::uint32_t>(slot.size()));
  store_le(slot.data() + kCrcAt, std::uint32_t{0});
  store_le(slot.data() + kCrcAt, crc32c(slot));
}

void check(const FileTable& table) {
  std::vector<bool> used(table.geometry.unit_count());
  for (const auto& [name, entry] : table.files) {
    CAIRN_ASSERT(!name.empty() && entry.id < table.next_file_id);
    std::uint64_t units = 0;
    for (const Extent& extent : entry.extents) {
      for (std::uint32_t i = 0; i < extent.unit_count; ++i) {
        CAIRN_ASSERT(!used.at(extent.first_unit + i));
        used[extent.first_unit + i] = true;
      }
      units += extent.unit_count;
    }
    CAIRN_ASSERT(entry.tail.size() <= entry.size_bytes);
    CAIRN_ASSERT(entry.block_count() * kBlockBytes <= units * table.geometry.unit_bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0 || size > kGeometry.slot_bytes()) return 0;
  const ByteSpan input = std::as_bytes(std::span(bytes, size)).subspan(1);
  std::vector<std::byte> slot(input.begin(), input.end());
  if (bytes[0] != 0) repair(slot);
  Result<FileTable> table = FileTable::decode(slot, kGeometry);
  if (!table) {
    CAIRN_ASSERT(!table.status().message().empty());
    return 0;
  }
  check(*table);
  Result<std::vector<std::byte>> encoded = table->encode();
  // Foreign tables may have more tails or larger names than there is room for.
  if (!encoded) {
    CAIRN_ASSERT(encoded.status().code() == ErrorCode::no_space);
    return 0;
  }
  Result<FileTable> again = FileTable::decode(*encoded, kGeometry);
  CAIRN_ASSERT(again.is_ok() && again->files == table->files &&
               again->generation == table->generation &&
               again->next_file_id == table->next_file_id);
  return 0;
}
