// The cache in front of malloc that operators new and delete have: see heap_cache.cc.
#pragma once

namespace cairn {

// Gives all that the calling thread keeps back to malloc: a few pieces scattered over a heap keep
// it from shrinking. For a timer. Does nothing in builds with sanitizers, which have no cache.
void release_heap_cache();

}  // namespace cairn
