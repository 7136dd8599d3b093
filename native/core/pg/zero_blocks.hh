// What a sparsify does to an object: which of its blocks of data hold zeros, and what frees them.
// Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "net/messages.hh"
#include "object_store/object_store.hh"

namespace cairn::pg {

// A block that was found to hold zeros; so it does as long as it has this version.
struct ZeroBlock {
  std::uint32_t index = 0;
  Version version;
};
using ZeroBlocks = std::vector<ZeroBlock>;  // ascending

// The blocks that hold nothing but zeros, of those that a read from block `first` on has given.
void add_zero_blocks(std::uint32_t first, const object_store::ReadResult& read, ZeroBlocks& found);

struct ZeroPlan {
  std::vector<net::Step> steps;       // of the change; none: there is nothing to do
  std::vector<net::ExtentRun> freed;  // the data that goes, with the state that is left
  bool met_changes = false;           // of blocks since they were found
};
// object: as it is now, with a head that clients see. No layer shows other bytes afterwards: zeros
// before the step's offset stay explicit, as a parent may show where a block is absent.
ZeroPlan plan_sparsify(const net::Step& sparsify, const object_store::ObjectInfo& object,
                       const ZeroBlocks& found);

}  // namespace cairn::pg
