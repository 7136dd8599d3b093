// The cache in front of malloc that operators new and delete have: see heap_cache.cc.
#pragma once

#include <cstddef>

namespace cairn {

// Gives as much back to malloc as the calling thread has kept all the time since the last call: a
// few pieces scattered over a heap keep it from shrinking. True: the thread is in a pause. For a
// timer, or before a long sleep. Does nothing in builds with sanitizers, which have no cache.
bool release_heap_cache();
// Gives whole free pages of all heaps back to the system. Looks through all free memory, and each
// thread waits for its heap: only when nobody is waited for.
void trim_heaps();
// For a process that lives long: big pieces come from the system and go back there, and so does
// what is free at the end of a thread's heap. malloc would raise both bounds by itself, up to 32
// and 64 MiB, until somebody sets them.
void keep_heaps_small();
// What the calling thread keeps.
std::size_t heap_cache_bytes();

}  // namespace cairn
