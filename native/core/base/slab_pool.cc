// Slabs and the list of those with room.
#include "base/slab_pool.hh"

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/assert.hh"

namespace cairn {

namespace {

// malloc has 16 bytes of its own before each piece of memory: with them a slab is as long as its
// alignment, so that neighbours leave no gap.
constexpr std::size_t kEnd = SlabPool::kSlabBytes - 16;

}  // namespace

struct SlabPool::Piece {
  Piece* next;
};

// What all slabs of a pool share; goes with the last of them once the pool has gone.
struct SlabPool::Slabs {
  std::size_t piece_bytes = 0;
  std::size_t count = 0;
  Slab* first_with_room = nullptr;
  Slab* spare = nullptr;  // empty, not in the list
  bool is_pool_gone = false;
};

struct alignas(std::max_align_t) SlabPool::Slab {
  Slabs* slabs = nullptr;
  Slab* previous = nullptr;  // of those with room
  Slab* next = nullptr;
  Piece* free = nullptr;     // pieces that came back
  std::size_t fresh_at = 0;  // of those that nobody had yet, from the slab's begin
  std::size_t used_count = 0;
  bool has_room() const { return free != nullptr || fresh_at + slabs->piece_bytes <= kEnd; }
};

SlabPool::SlabPool(std::size_t piece_bytes) : slabs_(new Slabs) {
  constexpr std::size_t kStep = alignof(std::max_align_t);
  slabs_->piece_bytes = (piece_bytes + kStep - 1) / kStep * kStep;
  CAIRN_ASSERT(piece_bytes >= sizeof(Piece) && piece_bytes <= kSlabBytes / 4);
}

SlabPool::~SlabPool() {
  release();
  slabs_->is_pool_gone = true;
  if (Slab* const spare = std::exchange(slabs_->spare, nullptr); spare != nullptr)
    free_slab(*spare);
  else if (slabs_->count == 0)
    delete slabs_;
}

void SlabPool::link(Slab& slab) {
  Slab*& first = slab.slabs->first_with_room;
  slab.next = first;
  slab.previous = nullptr;
  if (first != nullptr) first->previous = &slab;
  first = &slab;
}

void SlabPool::unlink(Slab& slab) {
  (slab.previous != nullptr ? slab.previous->next : slab.slabs->first_with_room) = slab.next;
  if (slab.next != nullptr) slab.next->previous = slab.previous;
}

SlabPool::Slab* SlabPool::new_slab(Slabs& slabs) {
  if (slabs.spare != nullptr) return std::exchange(slabs.spare, nullptr);
  void* memory = nullptr;
  const bool is_out_of_memory = ::posix_memalign(&memory, kSlabBytes, kEnd) != 0;
  CAIRN_ASSERT(!is_out_of_memory);
  auto* const slab = new (memory) Slab;
  slab->slabs = &slabs;
  slab->fresh_at = sizeof(Slab);
  ++slabs.count;
  return slab;
}

void SlabPool::free_slab(Slab& slab) {
  Slabs& slabs = *slab.slabs;
  std::free(&slab);
  if (--slabs.count == 0 && slabs.is_pool_gone) delete &slabs;
}

void* SlabPool::take() {
  if (hot_ == nullptr) return take_of_slab();
  --hot_count_;
  return std::exchange(hot_, hot_->next);
}

void SlabPool::give(void* piece) {
  if (hot_count_ == kMostHot) return settle(piece);
  ++hot_count_;
  hot_ = new (piece) Piece{hot_};
}

void SlabPool::release() {
  while (hot_ != nullptr) settle(std::exchange(hot_, hot_->next));
  hot_count_ = 0;
}

void* SlabPool::take_of_slab() {
  Slab* slab = slabs_->first_with_room;
  if (slab == nullptr) {
    slab = new_slab(*slabs_);
    link(*slab);
  }
  void* piece = slab->free;
  if (slab->free != nullptr) {
    slab->free = slab->free->next;
  } else {
    piece = reinterpret_cast<std::byte*>(slab) + slab->fresh_at;
    slab->fresh_at += slabs_->piece_bytes;
  }
  ++slab->used_count;
  if (!slab->has_room()) unlink(*slab);
  return piece;
}

void SlabPool::settle(void* piece) {
  const auto address = reinterpret_cast<std::uintptr_t>(piece);
  Slab& slab = *reinterpret_cast<Slab*>(address & ~(kSlabBytes - 1));
  if (!slab.has_room()) link(slab);
  slab.free = new (piece) Piece{slab.free};
  CAIRN_ASSERT(slab.used_count > 0);
  if (--slab.used_count > 0) return;
  unlink(slab);
  Slabs& slabs = *slab.slabs;
  if (slabs.spare != nullptr || slabs.is_pool_gone) return free_slab(slab);
  slabs.spare = &slab;
}

std::size_t SlabPool::slab_count() const { return slabs_->count; }

}  // namespace cairn
