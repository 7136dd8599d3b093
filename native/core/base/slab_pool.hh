// SlabPool: memory for many pieces of one size that live long, in slabs of their own.
//
// Among other allocations, a piece that lives on holds the page around it: an OSD that had let go
// of two thirds of its block maps kept all of their pages. Here a slab goes back to malloc, in one
// piece, when nothing of it is in use.
//
// Invariants
// - A slab lies at a multiple of its size, so that a piece finds it. The begins of slabs share few
//   places in the processor's cache: what comes back waits in a list, up to kMostHot pieces, and is
//   taken from there, without a look at its slab.
// - A slab of which nothing is in use or in that list goes; one of them is kept.
// - Pieces may outlive their pool, which lets go of its slabs with them.
// One thread at a time uses a pool and its pieces. A piece may come back to another pool.
#pragma once

#include <cstddef>

namespace cairn {

class SlabPool {
 public:
  static constexpr std::size_t kSlabBytes = std::size_t{32} << 10;
  static constexpr std::size_t kMostHot = 4096;

  // piece_bytes: at most a quarter of a slab.
  explicit SlabPool(std::size_t piece_bytes);
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  // Aligned as for any type without an alignment of its own.
  void* take();
  void give(void* piece);
  // Tells the slabs of all that waits in the list: for a pause.
  void release();
  // With a piece in use or in the list, or kept.
  std::size_t slab_count() const;

 private:
  struct Piece;
  struct Slab;
  struct Slabs;
  void* take_of_slab();
  static void settle(void* piece);
  static Slab* new_slab(Slabs& slabs);
  static void link(Slab& slab);
  static void unlink(Slab& slab);
  static void free_slab(Slab& slab);

  Slabs* slabs_;
  Piece* hot_ = nullptr;  // came back last
  std::size_t hot_count_ = 0;
};

}  // namespace cairn
