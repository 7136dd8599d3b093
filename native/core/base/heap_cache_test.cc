// New and delete as the core uses them: pieces of all sizes, freed where and when one likes.
#include "base/heap_cache.hh"

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
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

// As containers do: with the length, if the compiler has a delete for that.
void free_with_length(void* memory, std::size_t length) {
  std::allocator<unsigned char>().deallocate(static_cast<unsigned char*>(memory), length);
}

void free_all_with_lengths(const std::vector<Filled>& pieces) {
  for (const Filled& piece : pieces) free_with_length(piece.memory, piece.length);
}

// False in builds that leave it out.
bool has_heap_cache() {
  free_all(allocate_filled(1, 0));
  return heap_cache_bytes() != 0;
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
    free_all_with_lengths(again);
  }
}

TEST_CASE("heap: a piece of malloc, freed by the length that was asked for, is long enough") {
  if (!has_heap_cache()) return;
  // Not to be seen through: for a compiler these do not go together.
  void* (*const volatile take)(std::size_t) = std::malloc;
  constexpr std::size_t kMostBytes = 1100;
  for (std::size_t length = 1; length < kMostBytes; ++length) {
    free_with_length(take(length), length);
  }
  std::vector<void*> pieces;
  for (std::size_t length = 1; length < kMostBytes; ++length) {
    pieces.push_back(operator new(length));
    CHECK(::malloc_usable_size(pieces.back()) >= length);
  }
  for (void* const piece : pieces) operator delete(piece);
}

TEST_CASE("heap: a pause gives back what was not needed since the last time, and nothing else") {
  if (!has_heap_cache()) return;
  release_heap_cache();
  release_heap_cache();
  const std::size_t idle_bytes = heap_cache_bytes();
  for (int round = 0; round < 3; ++round) {
    free_all(allocate_filled(5000, 1));
    const std::size_t used_bytes = heap_cache_bytes();
    CHECK(used_bytes > idle_bytes + 1'000'000);
    release_heap_cache();
    // But for what the vector left behind as it grew.
    CHECK(heap_cache_bytes() > used_bytes - 65'536);
  }
  free_all(allocate_filled(2500, 1));
  const std::size_t before_bytes = heap_cache_bytes();
  release_heap_cache();
  CHECK(heap_cache_bytes() < before_bytes - 500'000);
  CHECK(heap_cache_bytes() > idle_bytes + 500'000);
  release_heap_cache();
  CHECK(heap_cache_bytes() <= idle_bytes);
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
