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
      pool.give(held.back().bytes);
      held.pop_back();
    }
  }
  CHECK(pool.slab_count() >= held.size() / (kPiecesOfSlab + 1));
  for (const Held& piece : held) {
    REQUIRE(is_intact(piece));
    pool.give(piece.bytes);
  }
  pool.release();
  CHECK(pool.slab_count() == 1);
}

TEST_CASE("slab pool: what came back last is taken first, and slabs that run empty go") {
  SlabPool pool(kPieceBytes);
  std::vector<void*> held;
  for (std::size_t i = 0; i < 100 * kPiecesOfSlab; ++i) held.push_back(pool.take());
  const std::size_t most = pool.slab_count();
  CHECK(most <= 101);
  std::mt19937_64 random(2);
  for (int i = 0; i < 1000; ++i) {
    void*& piece = held[random() % held.size()];
    void* const was = piece;
    pool.give(piece);
    piece = pool.take();
    REQUIRE(piece == was);
  }
  CHECK(pool.slab_count() == most);
  // The first half lies in slabs of its own, but for what waits in the list.
  REQUIRE(held.size() / 2 < SlabPool::kMostHot);
  for (std::size_t i = 0; i < held.size() / 2; ++i) pool.give(held[i]);
  CHECK(pool.slab_count() == most);
  pool.release();
  CHECK(pool.slab_count() <= most / 2 + 2);
  for (std::size_t i = held.size() / 2; i < held.size(); ++i) pool.give(held[i]);
  pool.release();
  CHECK(pool.slab_count() == 1);
}

TEST_CASE("slab pool: the list of what came back has an end") {
  SlabPool pool(kPieceBytes);
  std::vector<void*> held;
  for (std::size_t i = 0; i < 10 * SlabPool::kMostHot; ++i) held.push_back(pool.take());
  const std::size_t most = pool.slab_count();
  for (void* piece : held) pool.give(piece);
  CHECK(pool.slab_count() < most / 9);
  CHECK(pool.slab_count() > most / 12);
}

TEST_CASE("slab pool: pieces outlive their pool, and come back to another one") {
  auto pool = std::make_unique<SlabPool>(kPieceBytes);
  std::vector<void*> held;
  for (std::size_t i = 0; i < 3 * kPiecesOfSlab; ++i) held.push_back(pool->take());
  pool.reset();
  SlabPool other(kPieceBytes);
  for (void* piece : held) {
    std::memset(piece, 7, kPieceBytes);
    other.give(piece);
  }
  other.release();
  CHECK(other.slab_count() == 0);
}
