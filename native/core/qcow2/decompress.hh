// Decompression of one qcow2 cluster. Pure. The output's size is fixed before, so that no input can
// make it grow. Source: qcow2 specification, "Compressed Clusters Descriptor" and compression_type.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.hh"
#include "base/status.hh"

namespace cairn::qcow2 {

// Numbers of the header field compression_type.
enum class Compression : std::uint8_t { zlib = 0, zstd = 1 };

constexpr std::uint32_t kMaxClusterBytes = 2U << 20;
// The descriptor counts sectors with cluster_bits - 8 bits: at most twice a cluster.
constexpr std::uint32_t kMaxCompressedBytes = 2 * kMaxClusterBytes;

// Keeps the decompressors' state from one cluster to the next.
class Decompressor {
 public:
  Decompressor();
  ~Decompressor();
  // Fills into completely. from may go on behind the compressed data (its length is only known in
  // sectors). corrupt: from ends early, is damaged, or holds less than into wants.
  Status decompress(Compression compression, ByteSpan from, MutableByteSpan into);

 private:
  struct State;
  Status inflate(ByteSpan from, MutableByteSpan into);
  Status unzstd(ByteSpan from, MutableByteSpan into);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::qcow2
