// Finding zeros in payload, so that sparse disks stay sparse on their way in and out.
#pragma once

#include <isa-l/mem_routines.h>

#include <algorithm>
#include <cstddef>

#include "base/bytes.hh"

namespace cairn {

inline bool all_zero(ByteSpan bytes) {
  // ISA-L takes a mutable pointer but only reads; it returns 0 for zeros only.
  return bytes.empty() || isal_zero_detect(const_cast<std::byte*>(bytes.data()), bytes.size()) == 0;
}

struct ZeroRun {
  std::size_t length = 0;  // bytes
  bool zero = false;
};

// The longest run from the start of bytes whose blocks are all zero, or all not. The blocks are
// counted from phase bytes before bytes, so that runs break at aligned places of an unaligned
// range. bytes must not be empty; phase < block.
inline ZeroRun next_zero_run(ByteSpan bytes, std::size_t phase, std::size_t block) {
  ZeroRun run;
  std::size_t step = std::min(block - phase, bytes.size());
  run.zero = all_zero(bytes.first(step));
  run.length = step;
  while (run.length < bytes.size()) {
    step = std::min(block, bytes.size() - run.length);
    if (all_zero(bytes.subspan(run.length, step)) != run.zero) break;
    run.length += step;
  }
  return run;
}

}  // namespace cairn
