// crush_ln: the fixed-point binary logarithm that straw2 draws with, bit for bit Ceph's.
// The two tables behind it are computed at compile time (ln_table.cc).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace cairn::crush {

struct LnTables {
  // reciprocal[k] = ceil(2^48 / (1 + k/128)), log2_coarse[k] = floor(2^48 log2(1 + k/128)),
  // k from 0 to 128 (the even and the odd entries of Ceph's RH_LH table).
  std::array<std::uint64_t, 129> reciprocal;
  std::array<std::uint64_t, 129> log2_coarse;
  // About 2^48 log2(1 + k/2^15): Ceph's LL table with its deviations, see ln_table.cc.
  std::array<std::uint64_t, 256> log2_fine;
};

extern const LnTables kLnTables;

// About 2^44 log2(u + 1). u: 0 to 65535, the low half of a hash. Result: 0 to just under 2^48.
inline std::uint64_t crush_ln(std::uint32_t u) {
  // Scale u + 1 to m in [2^15, 2^16]; the shift counts in the exponent. u + 1 = 2^16 stays as it
  // is: it counts as 2^16 - 1 here, because a branch on random bits would cost more.
  std::uint32_t mantissa = u + 1;
  const auto shift = static_cast<std::uint32_t>(std::countl_zero(mantissa - (mantissa >> 16))) - 16;
  mantissa <<= shift;
  const std::uint64_t exponent = 15 - shift;
  // The top 8 bits choose the coarse step k; the reciprocal divides them away and leaves
  // 2^15 (1 + fraction) with a fraction below 2^-7, whose low 8 bits choose the fine step.
  // m * reciprocal stays below 2^16 * 2^48 = 2^64.
  const std::uint32_t coarse = (mantissa >> 8) - 128;
  const std::uint64_t reduced = (mantissa * kLnTables.reciprocal[coarse]) >> 48;
  const std::uint64_t log2_48 = kLnTables.log2_coarse[coarse] + kLnTables.log2_fine[reduced & 0xff];
  return (exponent << 44) + (log2_48 >> 4);
}

}  // namespace cairn::crush
