// lookup2 over bytes: blocks of 12 bytes as three little-endian words, then the rest with the
// length in the lowest byte of the third word.
#include "crush/object_hash.hh"

#include "crush/hash.hh"

namespace cairn::crush {
namespace {

constexpr std::size_t kBlockLength = 12;

// Bytes first .. of the tail as a little-endian word, zeros where the tail has ended.
std::uint32_t tail_word(ByteSpan tail, std::size_t first) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4 && first + i < tail.size(); ++i)
    word |= std::to_integer<std::uint32_t>(tail[first + i]) << (8 * i);
  return word;
}

}  // namespace

std::uint32_t object_name_hash(ByteSpan name) {
  std::uint32_t a = 0x9e3779b9;  // the golden ratio; any value would do
  std::uint32_t b = a;
  std::uint32_t c = 0;
  ByteSpan rest = name;
  while (rest.size() >= kBlockLength) {
    a += load_le<std::uint32_t>(rest.data());
    b += load_le<std::uint32_t>(rest.data() + 4);
    c += load_le<std::uint32_t>(rest.data() + 8);
    hash_mix(a, b, c);
    rest = rest.subspan(kBlockLength);
  }
  a += tail_word(rest, 0);
  b += tail_word(rest, 4);
  c += static_cast<std::uint32_t>(name.size()) + (tail_word(rest, 8) << 8);
  hash_mix(a, b, c);
  return c;
}

}  // namespace cairn::crush
