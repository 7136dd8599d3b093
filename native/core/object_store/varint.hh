// LEB128 varints for the values of the key-value region: seven bits a byte, lowest first. Signed
// numbers are zigzag-coded. The reader never passes the end and remembers the first failure.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.hh"

namespace cairn::object_store {

inline void put_varint(std::string& to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) to += static_cast<char>(value | 0x80);
  to += static_cast<char>(value);
}
template <typename T>
void put_fixed(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// The same into memory with room for them, at most 10 bytes a varint; what follows is returned.
inline char* write_varint(char* to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) *to++ = static_cast<char>(value | 0x80);
  *to++ = static_cast<char>(value);
  return to;
}
inline char* write_signed_varint(char* to, std::int64_t value) {
  return write_varint(
      to, (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}
template <typename T>
char* write_fixed(char* to, T value) {
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

class ValueReader {
 public:
  explicit ValueReader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = fixed<std::uint8_t>();
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  std::int64_t signed_varint() {
    const std::uint64_t value = varint();
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
  }
  template <typename T>
  T fixed() {
    if (bytes_.size() < sizeof(T)) {
      ok_ = false;
      bytes_ = {};
      return T{};
    }
    const T value = load_le<T>(bytes_.data());
    bytes_.remove_prefix(sizeof(T));
    return value;
  }
  // Empty when there are fewer.
  std::string_view bytes(std::uint64_t length) {
    if (bytes_.size() < length) {
      ok_ = false;
      length = bytes_.size();
    }
    const std::string_view value = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return ok_ ? value : std::string_view{};
  }
  // All that has not been read.
  std::string_view rest() { return std::exchange(bytes_, {}); }
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace cairn::object_store
