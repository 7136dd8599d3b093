// The planted bugs (native/core/base/planted_bug.hh) and the hunters that are to catch them.
import type { HunterName } from "./hunters.js";

export interface PlantedBug {
  /** as in CAIRN_PLANTED_BUG */
  name: string;
  what: string;
  /** tried in this order until one has caught it; with --every all of them have to */
  hunters: readonly HunterName[];
}

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: "skip_flush",
    what: "a commit is acknowledged without its flush",
    hunters: ["explore", "sim-blackout"],
  },
  {
    name: "trim_log_early",
    what: "the WAL is trimmed before the checkpoint is synced",
    hunters: ["explore"],
  },
  {
    name: "checksum_without_offset",
    what: "a block's checksum is not seeded with its place",
    hunters: ["explore"],
  },
  {
    name: "truncate_at_damage",
    what: "damage below the flushed mark cuts the log instead of refusing",
    hunters: ["explore"],
  },
  {
    name: "reuse_block_early",
    what: "a block with a pending record is allocated again",
    hunters: ["explore"],
  },
  {
    name: "reuse_before_discard",
    what: "a block is allocated again while the disk still discards it",
    hunters: ["explore"],
  },
  {
    name: "ack_before_replica",
    what: "a write is acknowledged before the replicas have it",
    hunters: ["sim"],
  },
  {
    name: "stale_interval_op",
    what: "an operation of an older interval is executed",
    hunters: ["sim"],
  },
  {
    name: "read_without_lease",
    what: "a read is served when the lease has run out",
    hunters: ["sim"],
  },
  {
    name: "no_lease_margin",
    what: "promises of leases leave nothing for clocks that drift",
    hunters: ["sim-takeover"],
  },
  { name: "no_dedup", what: "a resent mutation is applied again", hunters: ["sim-resets"] },
  {
    name: "no_fencing_check",
    what: "a stale fencing token is accepted",
    hunters: ["sim", "chaos"],
  },
  {
    name: "resurrect_delete",
    what: "recovery ignores that an object has been removed",
    hunters: ["sim"],
  },
  {
    name: "forget_divergent",
    what: "divergent entries go without their objects being fetched again",
    hunters: ["sim"],
  },
  {
    name: "skip_clone",
    what: "the first change after a snapshot makes no clone",
    hunters: ["sim", "fsx"],
  },
  {
    name: "trim_used_clone",
    what: "a clone goes with the first of the snapshots that it serves",
    hunters: ["sim"],
  },
  {
    name: "recover_head_alone",
    what: "recovery leaves the clones of an object behind",
    hunters: ["sim"],
  },
  {
    name: "fill_undivided",
    what: "a clone is filled with what only some of its snapshots are to get",
    hunters: ["sim"],
  },
  {
    name: "split_forgets_fence",
    what: "a split leaves the fencing tokens with the parent alone",
    hunters: ["sim-split"],
  },
  {
    name: "split_forgets_missing",
    what: "a split tells the child nothing of what its copy lacks",
    hunters: ["sim-split"],
  },
  {
    name: "sparsify_blindly",
    what: "blocks that were found to be zeros go, whatever they hold by now",
    hunters: ["sim"],
  },
  {
    name: "no_address_wrap_check",
    what: "a guest range may wrap around the address space",
    hunters: ["fuzz-virtqueue"],
  },
  {
    name: "double_fetch",
    what: "a descriptor is read again after its validation",
    hunters: ["fuzz-virtqueue"],
  },
];
