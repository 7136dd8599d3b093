// Whether this build has a sanitizer that has to see each piece of memory come and go.
#pragma once

#ifdef __has_feature
#define CAIRN_HAS_FEATURE(feature) __has_feature(feature)
#else
#define CAIRN_HAS_FEATURE(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    CAIRN_HAS_FEATURE(address_sanitizer) || CAIRN_HAS_FEATURE(thread_sanitizer)
#define CAIRN_HAS_SANITIZER 1
#else
#define CAIRN_HAS_SANITIZER 0
#endif
