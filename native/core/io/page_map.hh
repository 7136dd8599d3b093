// PageMap: the contents of a simulated disk, as 4 KiB pages that copies share. Copying costs one
// reference per 64 pages; the first write after a copy duplicates 64 page handles, never the
// bytes. A page that was never written reads as zeros and takes no memory. Maps that share pages
// must not be used by two threads at the same time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/assert.hh"
#include "base/buffer.hh"

namespace cairn::io {

constexpr std::uint64_t kPageBytes = Buffer::kAlignment;

// sequence: which write the bytes come from, 0 for the zeros at the beginning. The bytes of a page
// are shared: they are replaced, never changed.
struct Page {
  Buffer bytes;  // empty: zeros
  std::uint64_t sequence = 0;
};

class PageMap {
 public:
  explicit PageMap(std::uint64_t pages) : chunks_((pages + kChunkPages - 1) / kChunkPages) {}

  const Page& at(std::uint64_t index) const {
    static const Page kZeros;
    const auto& chunk = chunks_[index / kChunkPages];
    return chunk == nullptr ? kZeros : (*chunk)[index % kChunkPages];
  }

  void set(std::uint64_t index, Page page) {
    auto& chunk = chunks_[index / kChunkPages];
    if (chunk == nullptr) {
      chunk = std::make_shared<Chunk>();
    } else if (chunk.use_count() > 1) {
      chunk = std::make_shared<Chunk>(*chunk);
    }
    (*chunk)[index % kChunkPages] = std::move(page);
  }

 private:
  static constexpr std::size_t kChunkPages = 64;
  using Chunk = std::array<Page, kChunkPages>;

  std::vector<std::shared_ptr<Chunk>> chunks_;
};

}  // namespace cairn::io
