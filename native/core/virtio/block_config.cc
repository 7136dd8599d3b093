// The configuration space as bytes; see the header.
#include "virtio/block_config.hh"

#include "base/bytes.hh"

namespace cairn::virtio {

namespace {

// Offsets of struct virtio_blk_config, section 5.2.4.
constexpr std::size_t kCapacityAt = 0;  // sectors
constexpr std::size_t kSizeMaxAt = 8;
constexpr std::size_t kSegMaxAt = 12;
constexpr std::size_t kBlkSizeAt = 20;
constexpr std::size_t kPhysicalBlockExpAt = 24;
constexpr std::size_t kMinIoSizeAt = 26;  // blocks
constexpr std::size_t kOptIoSizeAt = 28;  // blocks
constexpr std::size_t kNumQueuesAt = 34;
constexpr std::size_t kMaxDiscardSectorsAt = 36;
constexpr std::size_t kMaxDiscardSegAt = 40;
constexpr std::size_t kDiscardSectorAlignmentAt = 44;
constexpr std::size_t kMaxWriteZeroesSectorsAt = 48;
constexpr std::size_t kMaxWriteZeroesSegAt = 52;
constexpr std::size_t kWriteZeroesMayUnmapAt = 56;

// Logical blocks of 512 bytes, which SeaBIOS insists on; physical ones of 4096 (2^3 times 512),
// Cairn's allocation unit, so that guests align what they make.
constexpr std::uint32_t kLogicalBlockBytes = 512;
constexpr std::uint8_t kPhysicalBlockExp = 3;
constexpr std::uint16_t kMinIoBlocks = 8;

}  // namespace

std::uint64_t block_features(const BlockGeometry& geometry) {
  std::uint64_t features = kBlockSizeMax | kBlockSegMax | kBlockBlkSize | kBlockFlush |
                           kBlockTopology | kFeatureIndirectDescriptors | kFeatureEventIdx |
                           kFeatureVersion1;
  if (geometry.queue_count > 1) features |= kBlockMultiQueue;
  features |= geometry.read_only ? kBlockReadOnly : kBlockDiscard | kBlockWriteZeroes;
  return features;
}

BlockConfig block_config(const BlockGeometry& geometry) {
  BlockConfig config{};
  store_le<std::uint64_t>(&config[kCapacityAt], geometry.size_bytes / kSectorBytes);
  store_le<std::uint32_t>(&config[kSizeMaxAt], kSizeMaxBytes);
  store_le<std::uint32_t>(&config[kSegMaxAt], kSegMax);
  store_le<std::uint32_t>(&config[kBlkSizeAt], kLogicalBlockBytes);
  config[kPhysicalBlockExpAt] = std::byte{kPhysicalBlockExp};
  store_le<std::uint16_t>(&config[kMinIoSizeAt], kMinIoBlocks);
  store_le<std::uint32_t>(&config[kOptIoSizeAt], 0);  // no preferred size
  store_le<std::uint16_t>(&config[kNumQueuesAt], geometry.queue_count);
  store_le<std::uint32_t>(&config[kMaxDiscardSectorsAt], kMaxDiscardSectors);
  store_le<std::uint32_t>(&config[kMaxDiscardSegAt], kMaxDiscardSegments);
  store_le<std::uint32_t>(&config[kDiscardSectorAlignmentAt], kDiscardAlignmentSectors);
  store_le<std::uint32_t>(&config[kMaxWriteZeroesSectorsAt], kMaxDiscardSectors);
  store_le<std::uint32_t>(&config[kMaxWriteZeroesSegAt], kMaxDiscardSegments);
  config[kWriteZeroesMayUnmapAt] = std::byte{1};
  return config;
}

}  // namespace cairn::virtio
