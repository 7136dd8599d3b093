#include "base/buffer.hh"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/assert.hh"

namespace cairn {

struct Buffer::Block {
  std::atomic<std::uint32_t> references{1};
  std::byte* memory = nullptr;
  std::size_t capacity = 0;
};

namespace {

// Free lists by capacity class: 4, 8, 16, 32, 64 KiB.
constexpr std::size_t kClasses = 5;

struct Cache {
  std::vector<std::byte*> free[kClasses];
  std::size_t cached_bytes = 0;
  ~Cache() {
    for (auto& list : free)
      for (std::byte* memory : list) std::free(memory);
  }
};

Cache& cache() {
  thread_local Cache instance;
  return instance;
}

int class_of(std::size_t capacity) {
  const std::size_t pages = capacity / Buffer::kAlignment;
  if (pages == 0 || pages > 16 || !std::has_single_bit(pages)) return -1;
  return std::countr_zero(pages);
}

std::size_t capacity_for(std::size_t length) {
  const std::size_t rounded = (length + Buffer::kAlignment - 1) & ~(Buffer::kAlignment - 1);
  const std::size_t capacity = rounded == 0 ? Buffer::kAlignment : rounded;
  return capacity <= 16 * Buffer::kAlignment ? std::bit_ceil(capacity) : capacity;
}

std::byte* take_memory(std::size_t capacity) {
  if (const int index = class_of(capacity); index >= 0) {
    Cache& local = cache();
    auto& list = local.free[index];
    if (!list.empty()) {
      std::byte* memory = list.back();
      list.pop_back();
      local.cached_bytes -= capacity;
      return memory;
    }
  }
  void* memory = std::aligned_alloc(Buffer::kAlignment, capacity);
  CAIRN_ASSERT(memory != nullptr);
  return static_cast<std::byte*>(memory);
}

void give_memory(std::byte* memory, std::size_t capacity) {
  if (const int index = class_of(capacity); index >= 0) {
    Cache& local = cache();
    if (local.cached_bytes + capacity <= Buffer::kMaxCachedBytes) {
      local.free[index].push_back(memory);
      local.cached_bytes += capacity;
      return;
    }
  }
  std::free(memory);
}

}  // namespace

Buffer Buffer::allocate(std::size_t length) {
  Buffer buffer;
  buffer.block_ = new Block;
  buffer.block_->capacity = capacity_for(length);
  buffer.block_->memory = take_memory(buffer.block_->capacity);
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

Buffer::Buffer(const Buffer& other) : block_(other.block_), data_(other.data_), size_(other.size_) {
  if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
}

Buffer::Buffer(Buffer&& other) noexcept
    : block_(std::exchange(other.block_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer other) noexcept {
  std::swap(block_, other.block_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Buffer::~Buffer() {
  if (block_ == nullptr) return;
  if (block_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  give_memory(block_->memory, block_->capacity);
  delete block_;
}

Buffer Buffer::slice(std::size_t offset, std::size_t length) const {
  CAIRN_ASSERT(offset <= size_ && length <= size_ - offset);
  Buffer part(*this);
  part.data_ += offset;
  part.size_ = length;
  return part;
}

}  // namespace cairn
