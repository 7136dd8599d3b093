// Assertions that stay on in production: a broken invariant stops the process before it can
// write a wrong byte. Use Status for what the outside world can cause.
#pragma once

namespace cairn {

// Prints "assertion failed: EXPRESSION at FILE:LINE" on stderr and aborts.
[[noreturn, gnu::cold]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace cairn

#define CAIRN_ASSERT(expression)       \
  (__builtin_expect(!!(expression), 1) \
       ? static_cast<void>(0)          \
       : ::cairn::assertion_failed(#expression, __FILE__, __LINE__))
