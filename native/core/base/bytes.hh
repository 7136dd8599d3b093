// Byte spans and little-endian encoding. Everything that Cairn writes on disk or on the wire is
// little-endian; foreign big-endian formats (qcow2, NBD) use the *_be functions.
// Writer appends to a growing byte vector. Reader walks foreign bytes: it never reads past the
// end, remembers the first failure, and returns zeros after it; check ok() once at the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn {

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

static_assert(std::endian::native == std::endian::little,
              "the core is written for little-endian hosts");

template <typename T>
T load_le(const void* from) {
  static_assert(std::is_integral_v<T>);
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
void store_le(void* to, T value) {
  static_assert(std::is_integral_v<T>);
  std::memcpy(to, &value, sizeof value);
}
template <typename T>
T swap_bytes(T value) {
  if constexpr (sizeof(T) == 8)
    return static_cast<T>(__builtin_bswap64(static_cast<std::uint64_t>(value)));
  if constexpr (sizeof(T) == 4)
    return static_cast<T>(__builtin_bswap32(static_cast<std::uint32_t>(value)));
  if constexpr (sizeof(T) == 2)
    return static_cast<T>(__builtin_bswap16(static_cast<std::uint16_t>(value)));
  return value;
}
template <typename T>
T load_be(const void* from) {
  return swap_bytes(load_le<T>(from));
}
template <typename T>
void store_be(void* to, T value) {
  store_le(to, swap_bytes(value));
}

inline ByteSpan as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Writer {
 public:
  Writer() = default;
  template <typename T>
  requires std::is_integral_v<T>
  void put(T value) { store_le(extend(sizeof(T)), value); }
  void raw(ByteSpan bytes) {
    if (!bytes.empty()) std::memcpy(extend(bytes.size()), bytes.data(), bytes.size());
  }
  // u16 length, then the bytes.
  void text16(std::string_view text) {
    put(static_cast<std::uint16_t>(text.size()));
    raw(as_bytes(text));
  }
  // u32 length, then the bytes.
  void blob32(ByteSpan bytes) {
    put(static_cast<std::uint32_t>(bytes.size()));
    raw(bytes);
  }
  std::size_t size() const { return size_; }
  std::byte* data() { return bytes_.data(); }
  ByteSpan span() const { return {bytes_.data(), size_}; }
  void clear() { size_ = 0; }
  void reserve(std::size_t length) {
    if (length > bytes_.size()) bytes_.resize(length);
  }
  std::vector<std::byte> take() {
    bytes_.resize(size_);
    size_ = 0;
    return std::exchange(bytes_, {});
  }

 private:
  // Where the next bytes go.
  std::byte* extend(std::size_t length) {
    const std::size_t at = size_;
    size_ += length;
    if (size_ > bytes_.size()) bytes_.resize(size_ < 32 ? 64 : 2 * size_);
    return bytes_.data() + at;
  }

  std::vector<std::byte> bytes_;  // the first size_ have been written
  std::size_t size_ = 0;
};

class Reader {
 public:
  explicit Reader(ByteSpan bytes) : bytes_(bytes) {}
  template <typename T>
  requires std::is_integral_v<T> T get() {
    if (!need(sizeof(T))) return T{};
    T value = load_le<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return value;
  }
  ByteSpan raw(std::size_t length) {
    if (!need(length)) return {};
    ByteSpan part = bytes_.subspan(position_, length);
    position_ += length;
    return part;
  }
  std::string_view text16() { return as_text(raw(get<std::uint16_t>())); }
  ByteSpan blob32() { return raw(get<std::uint32_t>()); }
  std::size_t remaining() const { return bytes_.size() - position_; }
  bool ok() const { return ok_; }
  // ok and nothing left over
  bool at_end() const { return ok_ && remaining() == 0; }
  void fail() {
    ok_ = false;
    position_ = bytes_.size();
  }

 private:
  bool need(std::size_t length) {
    if (length <= remaining()) return true;
    fail();
    return false;
  }
  ByteSpan bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace cairn
