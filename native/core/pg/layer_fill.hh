// Filling absent blocks in several layers of a family at once (deep flattening: docs/snapshots.md):
// which layers have to be made, which blocks each of them lacks, and the steps that every copy
// carries out. Pure.
//
// Invariants
//  - A block that is there, explicit zeros too, stays what it is.
//  - Only what the named snapshots show changes: a clone that serves others too is divided, and the
//    head is cloned before it is filled, or left alone.
//  - The bytes of a block are written into one layer; the others share it, with its version.
#pragma once

#include <map>
#include <vector>

#include "object_store/object_store.hh"
#include "pg/family.hh"

namespace cairn::pg {

// The blocks of layers by id (kHead: the head); one that is not there has none.
using LayerMaps = std::map<std::uint64_t, std::vector<object_store::BlockInfo>>;

struct FillRequest {
  std::uint64_t first_block = 0;
  std::uint64_t block_count = 0;
  std::vector<std::uint64_t> layers;  // snapshots, ascending; kHead as the last one: the head
};

struct FillPlan {
  FamilyPlan family;
  std::vector<net::Step> steps;        // behind the clone of the head; none: nothing is lacking
  std::vector<std::uint64_t> written;  // blocks whose bytes the steps want, in this order
  std::size_t layers = 0;              // that are changed or made
};

// corrupt: the snapshots contradict the family; too_large: more steps than an entry holds.
Result<FillPlan> plan_fill(const Family& before, const LayerMaps& maps, const FillRequest& request,
                           const net::SnapContext& context, const RemovedSnaps& removed);

// Whether one of the layers lacks a block, for each of the range.
std::vector<bool> lacking_blocks(const Family& family, const LayerMaps& maps,
                                 const FillRequest& request, const RemovedSnaps& removed);
// The clones, and kHead, whose blocks the above want to know.
std::vector<std::uint64_t> layers_to_look_at(const Family& family, const FillRequest& request);

}  // namespace cairn::pg
