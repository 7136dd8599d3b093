// rjenkins1: the 32-bit hash of two, three or four words that CRUSH draws with. Its mixing step is
// Bob Jenkins' 96-bit mix (Dr. Dobb's Journal, September 1997, public domain); the seed, the
// padding words and the order of the steps are those of Ceph's CRUSH_HASH_RJENKINS1, bit for bit.
#pragma once

#include <cstdint>

namespace cairn::crush {

inline constexpr std::uint32_t kHashSeed = 1315423911;
inline constexpr std::uint32_t kHashPadX = 231232;
inline constexpr std::uint32_t kHashPadY = 1232;

// One 96-bit mix: every bit of a, b and c reaches every bit of c. Word: std::uint32_t, or a GCC
// vector of them, to mix several hashes at once.
template <typename Word>
constexpr void hash_mix(Word& a, Word& b, Word& c) {
  a = (a - b - c) ^ (c >> 13);
  b = (b - c - a) ^ (a << 8);
  c = (c - a - b) ^ (b >> 13);
  a = (a - b - c) ^ (c >> 12);
  b = (b - c - a) ^ (a << 16);
  c = (c - a - b) ^ (b >> 5);
  a = (a - b - c) ^ (c >> 3);
  b = (b - c - a) ^ (a << 10);
  c = (c - a - b) ^ (b >> 15);
}

// Ceph's crush_hash32_2.
constexpr std::uint32_t hash32_2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t hash = kHashSeed ^ a ^ b;
  std::uint32_t x = kHashPadX;
  std::uint32_t y = kHashPadY;
  hash_mix(a, b, hash);
  hash_mix(x, a, hash);
  hash_mix(b, y, hash);
  return hash;
}

// Ceph's crush_hash32_3, with the result by reference: a vector by value would depend on the
// instruction set that the caller was compiled for.
template <typename Word>
constexpr void hash32_3_to(Word& hash, const Word& first, const Word& second, const Word& third) {
  Word a = first;
  Word b = second;
  Word c = third;
  hash = a ^ b ^ c ^ kHashSeed;
  Word x = (a ^ a) + kHashPadX;  // the constant in every lane
  Word y = (a ^ a) + kHashPadY;
  hash_mix(a, b, hash);
  hash_mix(c, x, hash);
  hash_mix(y, a, hash);
  hash_mix(b, x, hash);
  hash_mix(y, c, hash);
}

// Ceph's crush_hash32_3.
constexpr std::uint32_t hash32_3(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t hash = 0;
  hash32_3_to(hash, a, b, c);
  return hash;
}

// Ceph's crush_hash32_4.
constexpr std::uint32_t hash32_4(std::uint32_t a, std::uint32_t b, std::uint32_t c,
                                 std::uint32_t d) {
  std::uint32_t hash = kHashSeed ^ a ^ b ^ c ^ d;
  std::uint32_t x = kHashPadX;
  std::uint32_t y = kHashPadY;
  hash_mix(a, b, hash);
  hash_mix(c, d, hash);
  hash_mix(a, x, hash);
  hash_mix(y, b, hash);
  hash_mix(c, x, hash);
  hash_mix(y, d, hash);
  return hash;
}

}  // namespace cairn::crush
