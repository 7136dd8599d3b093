// Cutting and joining for piece_builder.hh.
#include "qcow2/piece_builder.hh"

#include <algorithm>
#include <string>

namespace cairn::qcow2 {

namespace {

bool is_compressed(SourceKind kind) { return kind == SourceKind::zlib || kind == SourceKind::zstd; }

std::uint64_t window_end(std::uint64_t offset, std::uint64_t window) {
  return (offset / window + 1) * window;
}

}  // namespace

Status check_extent(const SourceExtent& extent, std::uint64_t lowest_offset,
                    std::uint64_t device_bytes, std::size_t source_count) {
  const auto refuse = [&](const std::string& why) {
    return Status(ErrorCode::invalid_argument,
                  "extent at guest offset " + std::to_string(extent.guest_offset) + ": " + why);
  };
  if (extent.kind > SourceKind::zstd) return refuse("unknown kind");
  if (extent.length_bytes == 0) return refuse("it is empty");
  if (extent.guest_offset < lowest_offset) return refuse("it is not behind the one before it");
  if (extent.guest_offset > device_bytes ||
      extent.length_bytes > device_bytes - extent.guest_offset)
    return refuse("it ends behind the device");
  if (extent.kind == SourceKind::zero) return Status::ok();
  if (extent.source >= source_count) return refuse("it names no source");
  // File offsets are signed in the system calls.
  constexpr std::uint64_t kMaxFileOffset = ~std::uint64_t{0} >> 1;
  const std::uint64_t host_bytes =
      is_compressed(extent.kind) ? extent.compressed_bytes : extent.length_bytes;
  if (host_bytes > kMaxFileOffset || extent.host_offset > kMaxFileOffset - host_bytes)
    return refuse("its host offset is out of range");
  if (!is_compressed(extent.kind)) return Status::ok();
  if (extent.compressed_bytes == 0 || extent.compressed_bytes > kMaxCompressedBytes ||
      extent.cluster_bytes > kMaxClusterBytes || extent.cluster_offset > extent.cluster_bytes ||
      extent.length_bytes > extent.cluster_bytes - extent.cluster_offset)
    return refuse("its compressed cluster is out of range");
  return Status::ok();
}

std::uint64_t Piece::covered_bytes() const {
  std::uint64_t covered = 0;
  for (const Segment& segment : segments) covered += segment.length_bytes;
  return covered;
}

std::uint64_t Piece::memory_bytes() const {
  if (zero) return 0;
  std::uint64_t bytes = length_bytes;
  for (const Segment& segment : segments) {
    bytes += segment.compressed_bytes;
    // Only a part of the cluster is wanted: it is decompressed beside the piece.
    if (segment.length_bytes < segment.cluster_bytes) bytes += segment.cluster_bytes;
  }
  return bytes;
}

PieceBuilder::PieceBuilder(std::uint64_t device_bytes, std::size_t source_count,
                           bool target_is_blank)
    : device_bytes_(device_bytes), source_count_(source_count), target_is_blank_(target_is_blank) {}

Status PieceBuilder::add(std::span<const SourceExtent> extents) {
  std::uint64_t lowest_offset = next_offset_;
  for (const SourceExtent& extent : extents) {
    CAIRN_RETURN_IF_ERROR(check_extent(extent, lowest_offset, device_bytes_, source_count_));
    lowest_offset = extent.guest_offset + extent.length_bytes;
  }
  next_offset_ = lowest_offset;
  queue_.insert(queue_.end(), extents.begin(), extents.end());
  return Status::ok();
}

std::optional<Piece> PieceBuilder::next() {
  if (queue_.empty()) return std::nullopt;
  Piece piece;
  if (queue_.front().kind == SourceKind::zero && !target_is_blank_) {
    take_zeros(piece);
    return piece;
  }
  while (!queue_.empty() && joins(piece, queue_.front())) take_segment(piece);
  return piece;
}

void PieceBuilder::take_zeros(Piece& piece) {
  const SourceExtent& extent = queue_.front();
  piece.zero = true;
  piece.guest_offset = extent.guest_offset;
  piece.length_bytes = std::min(
      extent.length_bytes, window_end(extent.guest_offset, kZeroPieceBytes) - extent.guest_offset);
  piece.handled_bytes = piece.length_bytes;
  consume(piece.length_bytes);
}

bool PieceBuilder::joins(const Piece& piece, const SourceExtent& extent) const {
  if (extent.kind == SourceKind::zero) return target_is_blank_;
  if (piece.segments.empty()) return true;
  const std::uint64_t piece_end = piece.guest_offset + piece.length_bytes;
  const bool touches = extent.guest_offset == piece_end || target_is_blank_;
  return touches && extent.guest_offset < window_end(piece.guest_offset, kPieceBytes);
}

// Moves the front of the queue, as much of it as fits, into the piece.
void PieceBuilder::take_segment(Piece& piece) {
  const SourceExtent& extent = queue_.front();
  if (extent.kind == SourceKind::zero) {
    piece.handled_bytes += extent.length_bytes;
    consume(extent.length_bytes);
    return;
  }
  if (piece.segments.empty()) piece.guest_offset = extent.guest_offset;
  const std::uint64_t limit = window_end(piece.guest_offset, kPieceBytes);
  const std::uint64_t length = std::min(extent.length_bytes, limit - extent.guest_offset);
  piece.segments.push_back(
      {.kind = extent.kind,
       .source = extent.source,
       .host_offset = extent.host_offset,
       .piece_offset = static_cast<std::uint32_t>(extent.guest_offset - piece.guest_offset),
       .length_bytes = static_cast<std::uint32_t>(length),
       .compressed_bytes = extent.compressed_bytes,
       .cluster_bytes = extent.cluster_bytes,
       .cluster_offset = extent.cluster_offset});
  piece.length_bytes = extent.guest_offset + length - piece.guest_offset;
  piece.handled_bytes += length;
  consume(length);
}

void PieceBuilder::consume(std::uint64_t length_bytes) {
  SourceExtent& extent = queue_.front();
  extent.guest_offset += length_bytes;
  extent.length_bytes -= length_bytes;
  if (is_compressed(extent.kind)) {
    extent.cluster_offset += static_cast<std::uint32_t>(length_bytes);
  } else {
    extent.host_offset += length_bytes;
  }
  if (extent.length_bytes == 0) queue_.pop_front();
}

}  // namespace cairn::qcow2
