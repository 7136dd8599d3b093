// Aligned, shared memory and its free list: see buffer.hh.
#include "base/buffer.hh"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "base/assert.hh"

namespace cairn {

namespace {

// Blocks of 4 KiB are by far the most: a store keeps tens of thousands of them until its
// checkpoint. They are carved from slabs, for aligned_alloc would spend a second page on each
// block's header. A freed block stays hot up to kMaxCachedBytes; beyond that its page goes back to
// the kernel and only its description is kept.
constexpr std::size_t kSlabBytes = 64 * Buffer::kAlignment;

// Blocks of threads that have ended, for whoever needs some next: slabs are shared among threads,
// so no thread can free one.
struct Orphans {
  std::mutex mutex;
  std::vector<BufferBlock*> blocks;
};
Orphans& orphans() {
  static Orphans* instance = new Orphans;
  return *instance;
}

// Large blocks are of sizes that are powers of two, so that one that is free fits.
constexpr std::size_t kLargeSizes =
    std::bit_width(Buffer::kMaxLargeBytes) - std::bit_width(Buffer::kMinLargeBytes) + 1;

struct Cache {
  std::vector<BufferBlock*> hot;
  std::vector<BufferBlock*> cold;
  std::size_t fewest_hot = 0;  // since the last release_unused()
  std::array<std::vector<std::byte*>, kLargeSizes> large;
  std::size_t large_bytes = 0;
  std::size_t fewest_large_bytes = 0;  // since the last release_unused()
  ~Cache() {
    for (const std::vector<std::byte*>& blocks : large)
      for (std::byte* memory : blocks) std::free(memory);
    Orphans& left = orphans();
    const std::lock_guard lock(left.mutex);
    left.blocks.insert(left.blocks.end(), hot.begin(), hot.end());
    left.blocks.insert(left.blocks.end(), cold.begin(), cold.end());
  }
};

Cache& cache() {
  thread_local Cache instance;
  return instance;
}

std::byte* allocate_aligned(std::size_t length) {
  void* memory = std::aligned_alloc(Buffer::kAlignment, length);
  CAIRN_ASSERT(memory != nullptr);
  return static_cast<std::byte*>(memory);
}

BufferBlock* new_block(std::byte* memory, std::size_t capacity) {
  auto* const block = new BufferBlock;
  block->memory = memory;
  block->capacity = capacity;
  return block;
}

BufferBlock* take_block() {
  Cache& local = cache();
  if (local.hot.empty() && local.cold.empty()) {
    Orphans& left = orphans();
    const std::lock_guard lock(left.mutex);
    local.cold.swap(left.blocks);
  }
  if (local.hot.empty() && local.cold.empty()) {
    std::byte* slab = allocate_aligned(kSlabBytes);
    for (std::size_t at = 0; at < kSlabBytes; at += Buffer::kAlignment)
      local.cold.push_back(new_block(slab + at, Buffer::kAlignment));
  }
  std::vector<BufferBlock*>& list = local.hot.empty() ? local.cold : local.hot;
  BufferBlock* const block = list.back();
  list.pop_back();
  local.fewest_hot = std::min(local.fewest_hot, local.hot.size());
  block->references.store(1, std::memory_order_relaxed);
  return block;
}

void give_block(BufferBlock* block) {
  Cache& local = cache();
  if (local.hot.size() < Buffer::kMaxCachedBytes / Buffer::kAlignment)
    return local.hot.push_back(block);
  ::madvise(block->memory, Buffer::kAlignment, MADV_DONTNEED);
  local.cold.push_back(block);
}

bool is_large(std::size_t capacity) {
  return capacity >= Buffer::kMinLargeBytes && capacity <= Buffer::kMaxLargeBytes;
}

std::vector<std::byte*>& large_blocks(std::size_t capacity) {
  return cache().large[std::bit_width(capacity) - std::bit_width(Buffer::kMinLargeBytes)];
}

std::byte* take_large(std::size_t capacity) {
  std::vector<std::byte*>& blocks = large_blocks(capacity);
  if (blocks.empty()) return allocate_aligned(capacity);
  std::byte* memory = blocks.back();
  blocks.pop_back();
  Cache& local = cache();
  local.large_bytes -= capacity;
  local.fewest_large_bytes = std::min(local.fewest_large_bytes, local.large_bytes);
  return memory;
}

void give_large(std::byte* memory, std::size_t capacity) {
  Cache& local = cache();
  if (local.large_bytes + capacity > Buffer::kMaxCachedLargeBytes) return std::free(memory);
  large_blocks(capacity).push_back(memory);
  local.large_bytes += capacity;
}

std::size_t capacity_for(std::size_t length) {
  if (is_large(length)) return std::bit_ceil(length);
  const std::size_t rounded = (length + Buffer::kAlignment - 1) & ~(Buffer::kAlignment - 1);
  return rounded == 0 ? Buffer::kAlignment : rounded;
}

BufferBlock* take(std::size_t capacity) {
  if (capacity == Buffer::kAlignment) return take_block();
  return new_block(is_large(capacity) ? take_large(capacity) : allocate_aligned(capacity),
                   capacity);
}

void give(BufferBlock* block) {
  if (block->capacity == Buffer::kAlignment) return give_block(block);
  if (is_large(block->capacity)) {
    give_large(block->memory, block->capacity);
  } else {
    std::free(block->memory);
  }
  delete block;
}

// What is left of the unneeded, or what may turn out to be unneeded by the next call.
std::size_t fewest_after(std::size_t unneeded, std::size_t most, std::size_t kept) {
  return unneeded > most ? unneeded - most : kept;
}

bool release_blocks(Cache& local) {
  const std::size_t unused = std::min(local.fewest_hot, Buffer::kMaxReleasedPages);
  for (std::size_t i = 0; i < unused; ++i) {
    ::madvise(local.hot.back()->memory, Buffer::kAlignment, MADV_DONTNEED);
    local.cold.push_back(local.hot.back());
    local.hot.pop_back();
  }
  const bool has_more = local.fewest_hot > Buffer::kMaxReleasedPages;
  local.fewest_hot = fewest_after(local.fewest_hot, Buffer::kMaxReleasedPages, local.hot.size());
  return has_more;
}

bool release_large(Cache& local) {
  constexpr std::size_t kMost = Buffer::kMaxReleasedPages * Buffer::kAlignment;
  std::size_t unused = std::min(local.fewest_large_bytes, kMost);
  std::size_t capacity = Buffer::kMaxLargeBytes;
  for (; capacity >= Buffer::kMinLargeBytes; capacity /= 2) {
    std::vector<std::byte*>& blocks = large_blocks(capacity);
    for (; unused >= capacity && !blocks.empty(); blocks.pop_back()) {
      std::free(blocks.back());
      local.large_bytes -= capacity;
      unused -= capacity;
    }
  }
  const bool has_more = local.fewest_large_bytes > kMost;
  local.fewest_large_bytes = fewest_after(local.fewest_large_bytes, kMost, local.large_bytes);
  return has_more;
}

}  // namespace

bool Buffer::release_unused() {
  const bool has_more_blocks = release_blocks(cache());
  return release_large(cache()) || has_more_blocks;
}

Buffer Buffer::allocate(std::size_t length) {
  Buffer buffer;
  buffer.block_ = take(capacity_for(length));
  buffer.data_ = buffer.block_->memory;
  buffer.size_ = length;
  return buffer;
}

Buffer Buffer::zeroed(std::size_t length) {
  Buffer buffer = allocate(length);
  std::memset(buffer.data_, 0, length);
  return buffer;
}

Buffer Buffer::copy_of(ByteSpan bytes) {
  Buffer buffer = allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer.data_, bytes.data(), bytes.size());
  return buffer;
}

void Buffer::drop(Block* block) {
  // The last owner need not tell anybody: nobody else can take a reference any more.
  if (block->references.load(std::memory_order_acquire) == 1 ||
      block->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    give(block);
}

Buffer Buffer::slice(std::size_t offset, std::size_t length) const {
  CAIRN_ASSERT(offset <= size_ && length <= size_ - offset);
  Buffer part(*this);
  part.data_ += offset;
  part.size_ = length;
  return part;
}

}  // namespace cairn
