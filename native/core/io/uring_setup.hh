// Making an io_uring that suits a single-threaded loop, and saying why when the kernel refuses it.
#pragma once

#include <liburing.h>

#include "base/status.hh"

namespace cairn::io {

// A ring with the best flags that this kernel knows, disabled: nothing can be submitted before
// enable_ring(). The caller ends it with io_uring_queue_exit.
// Errors: unsupported_feature with the remedy (permission, kernel version, locked memory, files).
Result<io_uring> make_disabled_ring();

// Enables the ring for the calling thread; only that thread may submit to it from then on.
void enable_ring(io_uring& ring);

}  // namespace cairn::io
