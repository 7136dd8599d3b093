// SlabPool: memory for many pieces of one size that live long, in slabs of their own.
//
// Among other allocations, a piece that lives on holds the page around it: an OSD that had let go
// of two thirds of its block maps kept all of their pages. Here a slab goes back to malloc, in one
// piece, when nothing of it is in use.
//
// Invariants
// - A slab lies at a multiple of its size, so that a piece finds it.
// - New pieces come from the slab that had a piece given back last while it was full: those with
//   few in use run empty.
// - One slab that has run empty is kept.
// - Pieces may outlive their pool, which lets go of its slabs with them.
// One thread at a time uses a pool and its pieces.
#pragma once

#include <cstddef>

namespace cairn {

class SlabPool {
 public:
  static constexpr std::size_t kSlabBytes = std::size_t{32} << 10;

  // piece_bytes: at most a quarter of a slab.
  explicit SlabPool(std::size_t piece_bytes);
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  // Aligned as for any type without an alignment of its own.
  void* take();
  // Of whichever pool the piece is.
  static void give(void* piece);
  // With a piece in use, or kept.
  std::size_t slab_count() const;

 private:
  struct Piece;
  struct Slab;
  struct Slabs;
  static Slab* new_slab(Slabs& slabs);
  static void link(Slab& slab);
  static void unlink(Slab& slab);
  static void free_slab(Slab& slab);

  Slabs* slabs_;
};

}  // namespace cairn
