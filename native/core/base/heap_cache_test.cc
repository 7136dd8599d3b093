// New and delete as the core uses them: pieces of all sizes, freed where and when one likes.
#include "base/heap_cache.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

namespace cairn {

namespace {

struct Filled {
  unsigned char* memory;
  std::size_t length;
  unsigned char value;
};

// Small ones, of each list of the cache, and some beyond them.
std::vector<Filled> allocate_filled(std::size_t count, unsigned seed) {
  std::vector<Filled> pieces;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t length = 1 + (i * 7 + seed) % 1400;
    Filled piece{static_cast<unsigned char*>(operator new(length)), length,
                 static_cast<unsigned char>(i + seed)};
    std::memset(piece.memory, piece.value, length);
    pieces.push_back(piece);
  }
  return pieces;
}

bool is_whole(const Filled& piece) {
  return std::all_of(piece.memory, piece.memory + piece.length,
                     [&piece](unsigned char byte) { return byte == piece.value; });
}

void free_all(const std::vector<Filled>& pieces) {
  for (const Filled& piece : pieces) operator delete(piece.memory);
}

}  // namespace

TEST_CASE("heap: pieces are aligned and never overlap, also those that were freed before") {
  for (unsigned round = 0; round < 3; ++round) {
    const std::vector<Filled> kept = allocate_filled(5000, round);
    free_all(allocate_filled(5000, round + 100));
    if (round == 1) release_heap_cache();
    const std::vector<Filled> again = allocate_filled(5000, round + 200);
    for (const auto* pieces : {&kept, &again}) {
      CHECK(std::all_of(pieces->begin(), pieces->end(), is_whole));
      for (const Filled& piece : *pieces)
        REQUIRE(reinterpret_cast<std::uintptr_t>(piece.memory) % alignof(std::max_align_t) == 0);
    }
    free_all(kept);
    free_all(again);
  }
}

TEST_CASE("heap: a piece may be freed by another thread, and outlives the one that made it") {
  std::vector<Filled> pieces;
  std::thread([&pieces] {
    free_all(allocate_filled(2000, 1));
    pieces = allocate_filled(2000, 2);
  }).join();
  CHECK(std::all_of(pieces.begin(), pieces.end(), is_whole));
  std::thread([&pieces] { free_all(pieces); }).join();
  const std::vector<Filled> later = allocate_filled(2000, 3);
  CHECK(std::all_of(later.begin(), later.end(), is_whole));
  free_all(later);
}

}  // namespace cairn
