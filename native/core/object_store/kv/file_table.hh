// FileTable: the directory of the region file system as one value, and its encoding. Pure: no disk.
//
// Encoding (little-endian), padded with zeros to a multiple of 4096:
//   0  u64 magic "CRNKVFS1"      8  u32 version (1)           12 u32 CRC-32C of the first length
//   16 u32 length                20 u32 file count                bytes with this field zero
//   24 u64 region length         32 u64 unit bytes            40 u64 nonce
//   48 u64 generation            56 u64 next file id          64 the files,
//   in the order of their names:
//   file: u64 id, u64 size, u16 + name, u32 extent count, extents {u32 first unit, u32 units},
//         u16 + tail
// A tail is the part of a file behind its last whole block while the file is still written to; it
// is kept here because a block on disk is written only once (region_fs.hh).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.hh"
#include "base/ids.hh"
#include "base/status.hh"

namespace cairn::kv {

// A block on disk: the file's bytes, then their CRC-32C.
constexpr std::uint64_t kPayloadBytes = kBlockBytes - sizeof(std::uint32_t);
constexpr std::size_t kMaxFileNameBytes = 24;
// LevelDB syncs its log and its MANIFEST while it goes on writing to them; during a reopen there
// are two of each at most.
constexpr std::size_t kMaxTails = 4;
constexpr std::size_t kTableHeaderBytes = 64;
// All of a file but its extents and tail: id, size, name, extent count, tail length.
constexpr std::size_t kMaxFileEntryBytes = 8 + 8 + 2 + kMaxFileNameBytes + 4 + 2;

struct Extent {
  std::uint32_t first_unit = 0;
  std::uint32_t unit_count = 0;
  bool operator==(const Extent&) const = default;
};

struct FileEntry {
  std::uint64_t id = 0;          // never used again; seeds the block checksums
  std::uint64_t size_bytes = 0;  // with the tail
  std::vector<Extent> extents;   // may reach behind the size
  std::string tail;              // empty: the last block, whole or not, is on disk
  bool operator==(const FileEntry&) const = default;

  // Blocks that are on disk.
  std::uint64_t block_count() const {
    return (size_bytes - tail.size() + kPayloadBytes - 1) / kPayloadBytes;
  }
};

struct Geometry {
  std::uint64_t region_length = 0;
  std::uint64_t unit_bytes = 0;
  std::uint64_t nonce = 0;
  bool operator==(const Geometry&) const = default;

  // Room for the encoded table in the worst case: each unit a file with an extent of its own.
  std::uint64_t slot_bytes() const;
  // Units between the two slots at the front of the region and the two at its back.
  std::uint32_t unit_count() const;
  // Relative to the region. copy: 0 at the front, 1 at the back. Generations alternate between the
  // two slots of each copy.
  std::uint64_t slot_offset(std::uint64_t generation, unsigned copy) const;
  std::uint64_t unit_offset(std::uint32_t unit) const {
    return 2 * slot_bytes() + std::uint64_t{unit} * unit_bytes;
  }
  // Files that a table may hold.
  std::size_t max_files() const { return unit_count() + std::size_t{16}; }
};

struct FileTable {
  Geometry geometry;
  std::uint64_t generation = 0;
  std::uint64_t next_file_id = 1;
  std::map<std::string, FileEntry> files;  // by name

  // The bytes for a slot. Errors: no_space when they do not fit (too many files or tails).
  Result<std::vector<std::byte>> encode() const;

  // Reads a slot; the nonce of expected is not looked at. Errors: corrupt (checksum, or anything
  // that no encode() writes: overlapping extents, sizes beyond the extents, names out of order),
  // incompatible_version, invalid_argument (formatted with another region length or unit).
  static Result<FileTable> decode(ByteSpan slot, const Geometry& expected);
};

}  // namespace cairn::kv
