// PieceBuilder: turns the extents of an image file, fed in guest order, into the pieces that are
// written to a device: small extents join, large ones are cut. Pure.
//
// Invariants
// - A piece lies inside one window of kPieceBytes (a multiple divides the 4 MiB objects), or is a
//   range of zeros inside one window of kZeroPieceBytes.
// - Segments of a piece do not overlap and are in order. Bytes of a piece that no segment covers
//   are zeros.
// - Memory: the extents that are queued; nothing is allocated for their contents.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/status.hh"
#include "qcow2/decompress.hh"

namespace cairn::qcow2 {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kZeroPieceBytes = std::uint64_t{64} << 20;

enum class SourceKind : std::uint8_t { data = 0, zero = 1, zlib = 2, zstd = 3 };

// A part of the guest disk, and where its content is.
struct SourceExtent {
  SourceKind kind = SourceKind::data;
  std::uint32_t source = 0;  // index of the file; unused for zero
  std::uint64_t guest_offset = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t host_offset = 0;  // in the file; unused for zero
  // Of compressed kinds: bytes in the file, the size of the whole cluster, and where in the
  // decompressed cluster this extent starts.
  std::uint32_t compressed_bytes = 0;
  std::uint32_t cluster_bytes = 0;
  std::uint32_t cluster_offset = 0;
};

// invalid_argument: the extent begins before lowest_offset, is empty or not inside the device,
// names no source, or its fields do not fit together.
Status check_extent(const SourceExtent& extent, std::uint64_t lowest_offset,
                    std::uint64_t device_bytes, std::size_t source_count);

struct Segment {
  SourceKind kind = SourceKind::data;
  std::uint32_t source = 0;
  std::uint64_t host_offset = 0;
  std::uint32_t piece_offset = 0;
  std::uint32_t length_bytes = 0;
  std::uint32_t compressed_bytes = 0;
  std::uint32_t cluster_bytes = 0;
  std::uint32_t cluster_offset = 0;
};

struct Piece {
  std::uint64_t guest_offset = 0;
  std::uint64_t length_bytes = 0;   // 0: nothing to write, only progress
  std::uint64_t handled_bytes = 0;  // guest bytes of the extents that went into it
  bool zero = false;                // to be zeroed; has no segments
  std::vector<Segment> segments;
  // Bytes of the piece that segments cover.
  std::uint64_t covered_bytes() const;
  // Memory that it takes: its own bytes, and compressed and decompressed clusters beside them.
  std::uint64_t memory_bytes() const;
};

class PieceBuilder {
 public:
  // target_is_blank: the device reads as zeros, so extents of zeros are only counted and gaps may
  // be bridged. Otherwise extents of zeros become pieces, and gaps stay untouched.
  PieceBuilder(std::uint64_t device_bytes, std::size_t source_count, bool target_is_blank);
  // invalid_argument: an extent is not behind the one before it, not inside the device, names no
  // source, or its fields do not fit together. Then none of them is taken.
  Status add(std::span<const SourceExtent> extents);
  // Nothing when no extents are queued.
  std::optional<Piece> next();
  std::size_t queued_extents() const { return queue_.size(); }

 private:
  void take_zeros(Piece& piece);
  bool joins(const Piece& piece, const SourceExtent& extent) const;
  void take_segment(Piece& piece);
  void consume(std::uint64_t length_bytes);

  std::uint64_t device_bytes_;
  std::size_t source_count_;
  bool target_is_blank_;
  std::uint64_t next_offset_ = 0;  // the lowest guest offset that may come
  std::deque<SourceExtent> queue_;
};

}  // namespace cairn::qcow2
