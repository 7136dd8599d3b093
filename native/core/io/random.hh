// Random: a small seeded generator for simulations, the same numbers on every machine. xoshiro256**
// 1.0 (Blackman and Vigna, public domain, https://prng.di.unimi.it/xoshiro256starstar.c), its state
// filled by splitmix64 as its authors advise. Not for keys or identifiers that must be secret.
#pragma once

#include <bit>
#include <cstdint>

#include "base/assert.hh"

namespace cairn::io {

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {  // splitmix64
      seed += 0x9e3779b97f4a7c15ULL;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
      word = z ^ (z >> 31);
    }
  }

  // Any 64-bit value.
  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  // A value in [0, bound); bound > 0. The bias is below bound / 2^64.
  std::uint64_t below(std::uint64_t bound) {
    CAIRN_ASSERT(bound > 0);
    return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
  }
  // A value in [lowest, highest].
  std::uint64_t between(std::uint64_t lowest, std::uint64_t highest) {
    CAIRN_ASSERT(lowest <= highest && highest - lowest != ~std::uint64_t{0});
    return lowest + below(highest - lowest + 1);
  }
  // True with this probability, a fraction in [0, 1].
  bool chance(double probability) {
    return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability;
  }
  // An independent generator, so that one part of a simulation can draw more numbers without
  // changing those of another.
  Random fork() { return Random(next()); }

 private:
  __extension__ typedef unsigned __int128 Wide;  // the extension keeps -Wpedantic quiet
  std::uint64_t state_[4];
};

}  // namespace cairn::io
