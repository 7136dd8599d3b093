// Bugs planted on purpose, to show that the harness catches them (`npm run teeth`).
//
// They exist only with CAIRN_PLANTED_BUGS=1, in what `ninja planted` makes, where the environment
// variable CAIRN_PLANTED_BUG names the one that is live. Everywhere else planted() is the constant
// false and the compiler drops the branch.
#pragma once

#include <cstdint>
#include <string_view>

// CMakeLists.txt looks for the #include of this file when it runs, and defines it then.
#ifndef CAIRN_PLANTED_BUGS
#error "this source was compiled without planted bugs till now: run cmake again"
#endif

namespace cairn {

enum class PlantedBug : std::uint8_t {
  none,
  // object store
  skip_flush,               // a commit is acknowledged without its flush
  trim_log_early,           // the WAL is trimmed before the checkpoint is synced
  checksum_without_offset,  // a block's checksum is not seeded with its place
  truncate_at_damage,       // damage below the flushed mark cuts the log instead of refusing
  reuse_block_early,        // a block with a pending record is reallocated
  reuse_before_discard,     // a block is reallocated while the disk still discards it
  // placement groups
  ack_before_replica,     // a write is acknowledged before the replicas have it
  stale_interval_op,      // an operation of an older interval is executed
  read_without_lease,     // a read is served when the lease has run out
  no_lease_margin,        // promises of leases leave nothing for clocks that drift
  no_dedup,               // a resent mutation is applied again
  no_fencing_check,       // a stale fencing token is accepted
  resurrect_delete,       // recovery ignores that the object has been removed
  forget_divergent,       // divergent entries are rewound without marking their objects missing
  skip_clone,             // the first change after a snapshot makes no clone
  trim_used_clone,        // a clone goes with the first of the snapshots that it serves
  recover_head_alone,     // recovery leaves the clones of an object behind
  fill_undivided,         // a clone is filled with what only some of its snapshots are to get
  split_forgets_fence,    // a split leaves the fencing tokens with the parent alone
  split_forgets_missing,  // a split tells the child nothing of what its copy lacks
  sparsify_blindly,       // blocks that were found to be zeros go, whatever they hold by now
  // front ends
  no_address_wrap_check,  // a guest range may wrap around
  double_fetch,           // a descriptor is read again after its validation
};

// Its name in CAIRN_PLANTED_BUG and in reports; empty for none.
std::string_view name_of(PlantedBug bug);

#if CAIRN_PLANTED_BUGS
bool planted(PlantedBug bug);
constexpr bool kPlantedBugsBuilt = true;
#else
constexpr bool planted(PlantedBug) { return false; }
constexpr bool kPlantedBugsBuilt = false;
#endif

}  // namespace cairn
