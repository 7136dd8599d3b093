// Replay: brings an opened store to the state of the last record of its WAL.
//
// The region says up to which record it holds everything, and where the next one lies. Records are
// read on from there and applied to the state in memory; nothing is written, so a crash during
// recovery changes nothing. Where does the log end?
// - A record is good when its header, its transactions and the checksum of each image are, its
//   sequence is the expected one, and its generation is not below its predecessor's. (Each open
//   writes with a higher generation. What an earlier run left behind the point where a later run
//   began to write has a lower generation than the record before it, and never counts.)
// - A record may have a higher generation than the superblock: then the superblock's last writes
//   were lost or hit each other, and the copy that was found is an old one. The next generation is
//   above that of every record in the ring, or what is left behind could count.
// - Of the newest record, whose successor is not there, the directly written data is checked too
//   (wal.hh says why).
// - At the first record that is not good the log ends, unless another record anywhere in the ring
//   proves that this one was durable once: it has a higher sequence and a flushed_sequence at or
//   above the expected one. Then records that were acknowledged are damaged: the store refuses with
//   `corrupt`, and the OSD must be rebuilt from its peers. Nothing behind a bad record is applied.
//   Such a witness counts in a block of the bad record's direct data too: it went astray.
// - The newest durable record has no such witness. If it is damaged, it looks as if it had never
//   been durable, and its transactions are missing: the store comes up with an older last_update,
//   which peering sees. A checkpoint closes this window some seconds after the last write. With it
//   goes the record before, if a checkpoint was under way that had written the damaged record's
//   images over that one's direct data: nothing proves that one then, and its data looks wrong. So
//   it is when the newest record went astray and only its later blocks came over that data.
#pragma once

#include "base/status.hh"
#include "object_store/loader.hh"
#include "object_store/mutator.hh"
#include "object_store/store_state.hh"
#include "object_store/wal.hh"

namespace cairn::object_store {

struct ReplayResult {
  WalPosition next;                     // behind the last good record
  std::uint64_t record_count = 0;       // replayed
  std::uint64_t newest_generation = 0;  // of all records in the ring
};

// Loads what open needs from the region (PGs, bitmaps, leftovers), then replays. Blocking.
// Errors: corrupt (names what and the remedy), io_error.
Status load_tables(StoreState& state, SystemState& system);
Result<ReplayResult> replay(StoreState& state, const SystemState& system);

}  // namespace cairn::object_store
