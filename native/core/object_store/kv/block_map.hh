// Where a file's block lies, and its checksum: shared by the reader, the writer and the mount.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/assert.hh"
#include "base/crc32c.hh"
#include "object_store/kv/file_table.hh"

namespace cairn::kv {

// A piece of a file that is in one piece on disk.
struct Run {
  std::uint64_t offset = 0;  // relative to the region
  std::uint64_t block_count = 0;
};

// The run that starts with the block, at most max_blocks long. Asserts that the file has it.
inline Run find_run(const Geometry& geometry, const FileEntry& entry, std::uint64_t block,
                    std::uint64_t max_blocks) {
  const std::uint64_t blocks_per_unit = geometry.unit_bytes / kBlockBytes;
  for (const Extent& extent : entry.extents) {
    const std::uint64_t blocks = extent.unit_count * blocks_per_unit;
    if (block < blocks)
      return {geometry.unit_offset(extent.first_unit) + block * kBlockBytes,
              std::min(max_blocks, blocks - block)};
    block -= blocks;
  }
  CAIRN_ASSERT(!"block behind the file's extents");
}

inline std::uint32_t file_crc_seed(std::uint64_t nonce, std::uint64_t file_id) {
  const std::uint64_t words[2] = {nonce, file_id};
  return crc32c(std::as_bytes(std::span(words)));
}

// block: 4096 bytes, of which the last four are the place of the result.
inline std::uint32_t block_crc(std::uint32_t file_seed, std::uint64_t index, ByteSpan block) {
  const std::uint32_t seed = crc32c(std::as_bytes(std::span(&index, 1)), file_seed);
  return crc32c(block.first(kPayloadBytes), seed);
}

inline void seal_block(std::uint32_t file_seed, std::uint64_t index, MutableByteSpan block) {
  store_le(block.data() + kPayloadBytes, block_crc(file_seed, index, block));
}

inline bool block_is_good(std::uint32_t file_seed, std::uint64_t index, ByteSpan block) {
  return load_le<std::uint32_t>(block.data() + kPayloadBytes) == block_crc(file_seed, index, block);
}

}  // namespace cairn::kv
