// The cache in front of malloc that operators new and delete have: see heap_cache.cc.
#pragma once

#include <cstddef>

namespace cairn {

// Gives as much back to malloc as the calling thread has kept all the time since the last call: a
// few pieces scattered over a heap keep it from shrinking. For a timer. Does nothing in builds with
// sanitizers, which have no cache.
void release_heap_cache();
// What the calling thread keeps.
std::size_t heap_cache_bytes();

}  // namespace cairn
