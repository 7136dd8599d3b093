// Pieces of slabs: none is given out twice, and empty slabs go.
#include "base/slab_pool.hh"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

using namespace cairn;

namespace {

constexpr std::size_t kPieceBytes = 440;
constexpr std::size_t kPiecesOfSlab = SlabPool::kSlabBytes / kPieceBytes - 1;  // or one more

struct Held {
  unsigned char* bytes;
  unsigned char content;
};

bool is_intact(const Held& held) {
  for (std::size_t i = 0; i < kPieceBytes; ++i)
    if (held.bytes[i] != held.content) return false;
  return true;
}

}  // namespace

TEST_CASE("slab pool: pieces do not overlap, in any order of taking and giving back") {
  SlabPool pool(kPieceBytes);
  std::mt19937_64 random(1);
  std::vector<Held> held;
  for (int step = 0; step < 20'000; ++step) {
    const bool grows = step / 4000 % 2 == 0;
    if (held.empty() || random() % 10 < (grows ? 7 : 3)) {
      Held piece{static_cast<unsigned char*>(pool.take()), static_cast<unsigned char>(random())};
      CHECK(reinterpret_cast<std::uintptr_t>(piece.bytes) % alignof(std::max_align_t) == 0);
      std::memset(piece.bytes, piece.content, kPieceBytes);
      held.push_back(piece);
    } else {
      std::swap(held[random() % held.size()], held.back());
      REQUIRE(is_intact(held.back()));
      SlabPool::give(held.back().bytes);
      held.pop_back();
    }
  }
  CHECK(pool.slab_count() >= held.size() / (kPiecesOfSlab + 1));
  for (const Held& piece : held) {
    REQUIRE(is_intact(piece));
    SlabPool::give(piece.bytes);
  }
  CHECK(pool.slab_count() == 1);
}

TEST_CASE("slab pool: slabs with few pieces run empty, for new ones go to the fuller ones") {
  SlabPool pool(kPieceBytes);
  std::vector<void*> held;
  for (std::size_t i = 0; i < 100 * kPiecesOfSlab; ++i) held.push_back(pool.take());
  const std::size_t most = pool.slab_count();
  CHECK(most <= 101);
  // One piece of each slab but the last ones is left.
  std::vector<void*> left;
  for (std::size_t i = 0; i < held.size(); ++i)
    i % kPiecesOfSlab == 0 ? left.push_back(held[i]) : SlabPool::give(held[i]);
  CHECK(pool.slab_count() > most / 2);
  // Others come in their place, one for one.
  for (std::size_t i = 0; i < left.size(); ++i) {
    SlabPool::give(left[i]);
    left[i] = pool.take();
  }
  CHECK(pool.slab_count() < most / 4);
  for (void* piece : left) SlabPool::give(piece);
}

TEST_CASE("slab pool: pieces outlive their pool") {
  auto pool = std::make_unique<SlabPool>(kPieceBytes);
  std::vector<void*> held;
  for (std::size_t i = 0; i < 3 * kPiecesOfSlab; ++i) held.push_back(pool->take());
  pool.reset();
  for (void* piece : held) {
    std::memset(piece, 7, kPieceBytes);
    SlabPool::give(piece);
  }
}
