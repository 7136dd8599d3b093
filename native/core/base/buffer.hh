// Buffer: a shared handle to a slice of 4 KiB-aligned memory, fit for O_DIRECT. Copying a Buffer
// shares the bytes; slices keep the whole allocation alive. The reference count is atomic, the
// bytes are not: whoever fills a buffer does so before sharing it.
// Freed blocks of 4 KiB are kept per thread for reuse, up to kMaxCachedBytes of resident memory: a
// store that checkpoints frees and needs tens of MiB in turn, and a page fault costs more than the
// block's whole way. So are those of kMinLargeBytes to kMaxLargeBytes, up to kMaxCachedLargeBytes:
// a stream of big payloads needs the same sizes over and over. release_unused() gives back what a
// pause did not need.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hh"

namespace cairn {

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
  // kMaxReleasedPages of blocks of 4 KiB and as much of large ones at a time. For a timer.
  static constexpr std::size_t kMaxReleasedPages = 2048;
  static void release_unused();
  static Buffer zeroed(std::size_t length);
  static Buffer copy_of(ByteSpan bytes);

  Buffer(const Buffer& other);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer other) noexcept;
  ~Buffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  MutableByteSpan span() { return {data_, size_}; }
  ByteSpan span() const { return {data_, size_}; }
  // Shares the bytes [offset, offset + length); asserts that they are inside.
  Buffer slice(std::size_t offset, std::size_t length) const;

 private:
  struct Block;
  Block* block_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace cairn
