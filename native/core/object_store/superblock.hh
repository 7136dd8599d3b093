// The superblock: who a store belongs to, which features it uses and where its parts lie. Two
// copies, in the first and the last 4 KiB of the disk, written one after the other with a flush
// between, so that one of them is always whole.
//
// The generation grows by one at each open, before the first WAL record is written; every record
// carries it (wal_record.hh says why). Of two good copies the one with the higher generation
// counts. An old copy can be all that is left of a disk that loses or misdirects a write: the WAL's
// records then tell what the generation was (replay.hh).
#pragma once

#include <cstdint>

#include "base/buffer.hh"
#include "base/status.hh"
#include "io/disk.hh"
#include "object_store/object_store.hh"

namespace cairn::object_store {

constexpr std::uint32_t kFormatVersion = 1;
// An unknown incompatible bit refuses the store, an unknown compatible one is kept, an unknown
// autoclear one is cleared at open.
// What older programs can't read. A store without one of them gets it at open, with the new
// generation, before anything of it is written.
constexpr std::uint64_t kFeatureAttributes = 1;    // objects may have an attribute
constexpr std::uint64_t kFeaturePgDataBlocks = 2;  // records of PGs may count their data blocks
constexpr std::uint64_t kFeatureObjectMoves = 4;   // records of the WAL may move objects
constexpr std::uint64_t kKnownIncompatible =
    kFeatureAttributes | kFeaturePgDataBlocks | kFeatureObjectMoves;
constexpr std::uint64_t kKnownAutoclear = 0;

// Offsets and lengths in bytes, multiples of 4096.
struct Layout {
  std::uint64_t disk_bytes = 0;  // at format, rounded down; the second copy ends there
  std::uint64_t wal_offset = 0;
  std::uint64_t wal_bytes = 0;
  std::uint64_t kv_offset = 0;
  std::uint64_t kv_bytes = 0;
  std::uint64_t kv_unit_bytes = 0;
  std::uint64_t data_offset = 0;
  std::uint32_t data_blocks = 0;
  bool operator==(const Layout&) const = default;
};

struct Superblock {
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  Identity identity;
  std::uint64_t generation = 0;
  Layout layout;
};

// Lays the parts out on a disk. Errors: invalid_argument (too small, misaligned parts).
Result<Layout> make_layout(std::uint64_t disk_bytes, const Geometry& geometry);

// copy: 0 for the first block of the disk, 1 for the last one.
Buffer encode_superblock(const Superblock& superblock, std::uint32_t copy);
// Errors: not_found (no magic at all), corrupt (checksum, or a layout that no format writes),
// incompatible_version, unsupported_feature (names the bit).
Result<Superblock> decode_superblock(ByteSpan block, std::uint32_t copy);

// True when a copy on the disk has a superblock's magic, whole or damaged.
Result<bool> has_superblock(io::BlockingDisk& disk);
// The copy that counts. Errors as decode_superblock; corrupt names the remedy.
Result<Superblock> read_superblock(io::BlockingDisk& disk);
// Both copies, durable.
Status write_superblock(io::BlockingDisk& disk, const Superblock& superblock);

// ok, or wrong_cluster / wrong_daemon with both names in the text. Members of expected that are
// zero or kNoOsd are not compared.
Status check_identity(const Identity& found, const Identity& expected);

}  // namespace cairn::object_store
