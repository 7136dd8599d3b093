// CachedDevice: an immutable device (a snapshot) whose chunks go through the ParentCache.
//
// - A miss reads the whole chunk; misses that follow each other read twice as much each time, up to
//   kMaxAheadBytes.
// - A chunk that is being read is not read a second time: whoever wants it meanwhile waits for it.
// - Allocation states come from the device itself.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "image/block_device.hh"
#include "image/parent_cache.hh"

namespace cairn::image {

// Of chunks that requests asked for.
struct CacheCounters {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;  // that were read for the asker
  std::uint64_t shared = 0;  // that another request was reading
  std::uint64_t read_bytes = 0;
};

class CachedDevice final : public BlockDevice {
 public:
  static constexpr std::uint64_t kMaxAheadBytes = std::uint64_t{1} << 20;

  // The inner device never changes, neither its bytes nor its size. The owner fits the cache.
  CachedDevice(std::shared_ptr<BlockDevice> inner, std::shared_ptr<ParentCache> cache,
               CacheOwner owner);

  std::shared_ptr<const CacheCounters> counters() const;

  std::uint64_t size_bytes() const override;
  bool read_only() const override { return true; }
  void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) override;
  // read_only.
  void write(std::uint64_t offset, Buffer data, WriteDone done) override;
  void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                    WriteDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) override;
  void flush(WriteDone done) override { done(Status::ok()); }
  void extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) override;
  void populated(PopulatedDone done) override;

 private:
  class Chunks;
  // Shared with the reads in flight, which may end after this.
  std::shared_ptr<Chunks> chunks_;
};

}  // namespace cairn::image
