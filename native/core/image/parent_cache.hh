// ParentCache: chunks of immutable devices (snapshots, the parents of clones), shared by all
// processes of a user on a host, in one file in memory (/dev/shm, mode 0600).
//
// Invariants
//  - What find() gives is what insert() was given for that key: each block has a CRC-32C over the
//    key, its place and its bytes, checked over the reader's own copy. A torn slot, another key's,
//    or damage of any kind is a miss.
//  - Nobody waits for anybody: there is no lock, and what a dying process left behind is a miss.
//  - The file never grows beyond its size. It is read and written by system calls, not mapped: a
//    file that somebody has cut short, or a full /dev/shm, is a miss and not a SIGBUS.
//
// The file: kWays slots form a set; a table of slot heads, then the chunks. A key belongs to one
// set and replaces the slot of it that was used longest ago. docs/format/parent-cache.md
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.hh"
#include "base/ids.hh"
#include "base/status.hh"

namespace cairn::image {

// Whose chunks: a snapshot of an image. Snapshot ids are never used again.
struct CacheOwner {
  std::array<std::uint8_t, 16> cluster{};
  PoolId pool = 0;
  std::string object_prefix;
  std::uint64_t snap = 0;
};

class ParentCache {
 public:
  static constexpr std::uint64_t kChunkBytes = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kBlocksPerChunk = kChunkBytes / kBlockBytes;
  static constexpr std::uint64_t kWays = 8;
  static constexpr std::uint64_t kMinBytes = kWays * kChunkBytes;
  static constexpr std::uint64_t kDefaultBytes = std::uint64_t{256} << 20;
  static constexpr std::size_t kMaxPrefixBytes = 64;

  // Opens the file or makes it, for about so many bytes of chunks; a file of another size is
  // replaced (who has the old one open goes on with it). permission_denied: it belongs to somebody
  // else, others may write it, or it is no regular file.
  static Result<std::unique_ptr<ParentCache>> open(const std::string& path,
                                                   std::uint64_t size_bytes);
  ~ParentCache();
  ParentCache(const ParentCache&) = delete;
  ParentCache& operator=(const ParentCache&) = delete;

  // Copies the range of chunk `index` (chunk_bytes long: the last one of a device is shorter) into
  // `into`. false: it is not there, and `into` has any content.
  bool find(const CacheOwner& owner, std::uint64_t index, std::uint64_t chunk_bytes,
            std::uint64_t offset, MutableByteSpan into);
  // A whole chunk.
  void insert(const CacheOwner& owner, std::uint64_t index, ByteSpan chunk);
  static bool fits(const CacheOwner& owner) {
    return owner.object_prefix.size() <= kMaxPrefixBytes;
  }

 private:
  struct Head;
  struct Place;
  ParentCache(int fd, std::uint64_t set_count) : fd_(fd), set_count_(set_count) {}
  std::uint64_t head_at(std::uint64_t slot) const;
  std::uint64_t chunk_at(std::uint64_t slot) const;
  // The heads of the key's set; false: the file does not have them.
  bool load_set(const Head& key, std::uint64_t& first_slot, Head* heads) const;
  static Head key_of(const CacheOwner& owner, std::uint64_t index, std::uint64_t chunk_bytes);

  int fd_;
  std::uint64_t set_count_;
};

}  // namespace cairn::image
