// CRC-32C by ISA-L: see crc32c.hh.
#include "base/crc32c.hh"

#include <isa-l/crc.h>

namespace cairn {

std::uint32_t crc32c(ByteSpan bytes, std::uint32_t seed) {
  // ISA-L takes a mutable pointer but only reads; its length is an int, so long spans go in parts.
  constexpr std::size_t kPartBytes = std::size_t{1} << 30;
  std::uint32_t state = ~seed;
  while (!bytes.empty()) {
    const std::size_t part = bytes.size() < kPartBytes ? bytes.size() : kPartBytes;
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    state = crc32_iscsi(data, static_cast<int>(part), state);
    bytes = bytes.subspan(part);
  }
  return ~state;
}

}  // namespace cairn
