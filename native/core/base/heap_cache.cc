// Operator new and delete of the core: a cache per thread in front of malloc.
//
// A wake-up handles a batch of operations: it allocates hundreds of small pieces and frees them
// together. glibc keeps seven freed pieces of a size per thread; the others go through its lists,
// and each freed buffer that touches the end of its heap makes it merge them all again. That was a
// quarter of an OSD's time in user mode.
//
// Invariants
// - Every piece is one of malloc's, so that new here and delete elsewhere (in libstdc++, in Node),
//   or the other way round, go together. A piece on a list has at least the list's bytes: its size
//   is malloc_usable_size, or what the caller says that was asked for, rounded up as malloc does.
// - A thread keeps at most kMaxThreadBytes, and gives all back when it ends.
// - In the addon these operators are its own (binding/exports.map): Node keeps malloc.
// Not in builds with sanitizers, which have to see each free.
#include "base/heap_cache.hh"

#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/assert.hh"
#include "base/sanitizer.hh"

#if CAIRN_HAS_SANITIZER

bool cairn::release_heap_cache() { return false; }
void cairn::trim_heaps() {}
void cairn::keep_heaps_small() {}
std::size_t cairn::heap_cache_bytes() { return 0; }

#else

namespace {

// As glibc's sizes: 24 bytes, then steps of 16.
constexpr std::size_t kFirstBytes = 24;
constexpr std::size_t kStepBytes = 16;
constexpr std::size_t kLists = 64;
// The end of a checkpoint period frees what some ten thousand writes had put by, all at once.
constexpr std::size_t kMaxThreadBytes = std::size_t{16} << 20;

struct Piece {
  Piece* next;
};
// A thread that has taken fewer pieces from malloc since the last release does hardly anything.
constexpr std::size_t kPausePieces = 1000;
// Payloads of big writes between small pieces would leave holes in the heaps. No cost is seen: 1
// MiB writes took 0.96 of the CPU time.
constexpr int kMapBytes = 128 << 10;
constexpr int kFreeEndBytes = 2 << 20;
enum class Phase : std::uint8_t { unused, open, ended };

// One object, so that an operator looks up the thread's memory once.
struct ThreadCache {
  Piece* lists[kLists] = {};
  std::size_t room_bytes = 0;         // for more; 0 until something has been freed
  std::size_t most_room_bytes = 0;    // since the last release
  std::size_t taken_from_malloc = 0;  // since the last release
  Phase phase = Phase::unused;
};
// Without constructors or a destructor: usable from the thread's first instruction to its last.
constinit thread_local ThreadCache thread_cache;

constexpr std::size_t bytes_of(std::size_t list) { return kFirstBytes + kStepBytes * list; }
// The first list whose pieces have so many bytes.
constexpr std::size_t list_for(std::size_t length) {
  return length <= kFirstBytes ? 0 : (length - kFirstBytes + kStepBytes - 1) / kStepBytes;
}

void free_lists(ThreadCache& cache) {
  for (Piece*& list : cache.lists)
    while (list != nullptr) {
      Piece* const piece = list;
      list = piece->next;
      std::free(piece);
    }
}

// Frees so many bytes, rounded up to whole pieces, from all lists alike; returns how many.
std::size_t free_some(ThreadCache& cache, std::size_t wanted_bytes) {
  std::size_t freed_bytes = 0;
  bool is_empty = false;
  while (freed_bytes < wanted_bytes && !std::exchange(is_empty, true)) {
    for (std::size_t list = 0; list < kLists && freed_bytes < wanted_bytes; ++list) {
      Piece* const piece = cache.lists[list];
      if (piece == nullptr) continue;
      cache.lists[list] = piece->next;
      std::free(piece);
      freed_bytes += bytes_of(list);
      is_empty = false;
    }
  }
  return freed_bytes;
}

struct EndOfThread {
  ~EndOfThread() {
    ThreadCache& cache = thread_cache;
    cache.phase = Phase::ended;
    cache.room_bytes = 0;
    free_lists(cache);
  }
};

void open_lists(ThreadCache& cache) {
  cache.phase = Phase::open;
  static thread_local EndOfThread end;
  static_cast<void>(&end);
  cache.room_bytes = cache.most_room_bytes = kMaxThreadBytes;
}

void* take_from_malloc(ThreadCache& cache, std::size_t length) {
  void* const memory = std::malloc(length);
  CAIRN_ASSERT(memory != nullptr);
  ++cache.taken_from_malloc;
  return memory;
}

}  // namespace

bool cairn::release_heap_cache() {
  ThreadCache& cache = thread_cache;
  if (cache.phase == Phase::open) {
    cache.room_bytes += free_some(cache, kMaxThreadBytes - cache.most_room_bytes);
    cache.most_room_bytes = cache.room_bytes;
  }
  return std::exchange(cache.taken_from_malloc, 0) < kPausePieces;
}

void cairn::trim_heaps() { ::malloc_trim(0); }

void cairn::keep_heaps_small() {
  ::mallopt(M_MMAP_THRESHOLD, kMapBytes);
  ::mallopt(M_TRIM_THRESHOLD, kFreeEndBytes);
}

std::size_t cairn::heap_cache_bytes() {
  const ThreadCache& cache = thread_cache;
  return cache.phase == Phase::open ? kMaxThreadBytes - cache.room_bytes : 0;
}

namespace {

void give(void* memory, std::size_t list) {
  ThreadCache& cache = thread_cache;
  if (cache.room_bytes < bytes_of(list)) {
    if (cache.phase == Phase::unused) open_lists(cache);
    if (cache.room_bytes < bytes_of(list)) return std::free(memory);
  }
  auto* const piece = static_cast<Piece*>(memory);
  piece->next = cache.lists[list];
  cache.lists[list] = piece;
  cache.room_bytes -= bytes_of(list);
}

}  // namespace

void* operator new(std::size_t length) {
  ThreadCache& cache = thread_cache;
  const std::size_t list = list_for(length);
  if (list >= kLists) return take_from_malloc(cache, length);
  Piece* const piece = cache.lists[list];
  if (piece == nullptr) return take_from_malloc(cache, bytes_of(list));
  cache.lists[list] = piece->next;
  // What a checkpoint has freed is cold: the next one of this size is on its way until it is asked
  // for.
  __builtin_prefetch(piece->next, 1);
  cache.room_bytes += bytes_of(list);
  cache.most_room_bytes = std::max(cache.most_room_bytes, cache.room_bytes);
  return piece;
}

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  const std::size_t usable = ::malloc_usable_size(memory);
  const std::size_t list = (usable - kFirstBytes) / kStepBytes;
  if (usable < kFirstBytes || list >= kLists) return std::free(memory);
  give(memory, list);
}

// Without a look at the piece's header, which may lie in a line of its own.
void operator delete(void* memory, std::size_t length) noexcept {
  if (memory == nullptr) return;
  const std::size_t list = list_for(length);
  if (list >= kLists) return std::free(memory);
  give(memory, list);
}

#endif
