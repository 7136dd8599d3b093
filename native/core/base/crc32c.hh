// CRC-32C (Castagnoli, RFC 3720 appendix B.4): crc32c("123456789") == 0xe3069283.
#pragma once

#include <cstdint>

#include "base/bytes.hh"

namespace cairn {

// seed: the checksum of the bytes before these, 0 at the start; so
// crc32c(b, crc32c(a)) == crc32c(a followed by b).
std::uint32_t crc32c(ByteSpan bytes, std::uint32_t seed = 0);

}  // namespace cairn
