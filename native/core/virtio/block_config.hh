// virtio-blk's feature bits, limits and configuration space.
// Virtual I/O Device 1.1, sections 5.2.3 (features) and 5.2.4 (configuration layout).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "virtio/ring_layout.hh"

namespace cairn::virtio {

constexpr std::uint64_t kBlockSizeMax = feature_bit(1);
constexpr std::uint64_t kBlockSegMax = feature_bit(2);
constexpr std::uint64_t kBlockReadOnly = feature_bit(5);
constexpr std::uint64_t kBlockBlkSize = feature_bit(6);
constexpr std::uint64_t kBlockFlush = feature_bit(9);
constexpr std::uint64_t kBlockTopology = feature_bit(10);
constexpr std::uint64_t kBlockMultiQueue = feature_bit(12);
constexpr std::uint64_t kBlockDiscard = feature_bit(13);
constexpr std::uint64_t kBlockWriteZeroes = feature_bit(14);

constexpr std::uint64_t kSectorBytes = 512;  // the unit of every sector number, whatever blk_size

// 126 data segments, header and status fill a 128-entry queue, QEMU's default.
constexpr std::uint32_t kSegMax = 126;
// 126 * 256 KiB = 31.5 MiB: the largest request that a driver within the limits can make.
constexpr std::uint32_t kSizeMaxBytes = 256U << 10;
constexpr std::uint64_t kMaxRequestBytes = std::uint64_t{kSegMax} * kSizeMaxBytes;
// 256 MiB a segment: 64 objects of 4 MiB, so that one command stays a bounded piece of work.
constexpr std::uint32_t kMaxDiscardSectors = (256U << 20) / kSectorBytes;
constexpr std::uint32_t kMaxDiscardSegments = 16;
// In sectors: a discard in other units than 4 KiB blocks would free nothing at its edges.
constexpr std::uint32_t kDiscardAlignmentSectors = 8;

// Bytes up to and including write_zeroes_may_unmap and its padding.
constexpr std::size_t kBlockConfigBytes = 60;
using BlockConfig = std::array<std::byte, kBlockConfigBytes>;

struct BlockGeometry {
  std::uint64_t size_bytes = 0;
  std::uint16_t queue_count = 1;
  bool read_only = false;
};

// The features that a disk of this shape offers, the ring's included.
std::uint64_t block_features(const BlockGeometry& geometry);

// The configuration space. A size that is no multiple of 512 is rounded down: the rest cannot be
// addressed.
BlockConfig block_config(const BlockGeometry& geometry);

}  // namespace cairn::virtio
