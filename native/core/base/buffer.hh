// Buffer: a shared handle to a slice of 4 KiB-aligned memory, fit for O_DIRECT. Copying a Buffer
// shares the bytes; slices keep the whole allocation alive. The reference count is atomic, the
// bytes are not: whoever fills a buffer does so before sharing it.
// Freed blocks of 4 KiB are kept per thread for reuse, up to kMaxCachedBytes of resident memory: a
// store that checkpoints frees and needs tens of MiB in turn, and a page fault costs more than the
// block's whole way. So are those of kMinLargeBytes to kMaxLargeBytes, up to kMaxCachedLargeBytes:
// a stream of big payloads needs the same sizes over and over. release_unused() gives back what a
// pause did not need.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/bytes.hh"

namespace cairn {

// A piece of memory and how many buffers share it: an inner part of Buffer. One of 4 KiB stays with
// its memory when nobody has it.
struct BufferBlock {
  std::atomic<std::uint32_t> references{1};
  std::byte* memory = nullptr;
  std::size_t capacity = 0;
};

class Buffer {
 public:
  static constexpr std::size_t kAlignment = 4096;
  static constexpr std::size_t kMaxCachedBytes = std::size_t{128} << 20;
  static constexpr std::size_t kMinLargeBytes = std::size_t{64} << 10;
  static constexpr std::size_t kMaxLargeBytes = std::size_t{4} << 20;
  static constexpr std::size_t kMaxCachedLargeBytes = std::size_t{32} << 20;

  Buffer() = default;
  // length bytes, contents undefined; the memory is rounded up to the alignment
  static Buffer allocate(std::size_t length);
  // Gives memory back that this thread has not needed since the last call, at most
  // kMaxReleasedPages of blocks of 4 KiB and as much of large ones at a time. True: more of the
  // same waits for the next call, which need not be long after. For a timer.
  static constexpr std::size_t kMaxReleasedPages = 2048;
  static bool release_unused();
  static Buffer zeroed(std::size_t length);
  static Buffer copy_of(ByteSpan bytes);

  Buffer(const Buffer& other) : block_(other.block_), data_(other.data_), size_(other.size_) {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Buffer(Buffer&& other) noexcept
      : block_(std::exchange(other.block_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(block_, other.block_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() {
    if (block_ != nullptr) drop(block_);
  }

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  MutableByteSpan span() { return {data_, size_}; }
  ByteSpan span() const { return {data_, size_}; }
  // Shares the bytes [offset, offset + length); asserts that they are inside.
  Buffer slice(std::size_t offset, std::size_t length) const;

 private:
  using Block = BufferBlock;
  static void drop(Block* block);

  Block* block_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace cairn
