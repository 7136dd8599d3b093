// SnapSet: what the primary keeps of a family, that is of an object with all its layers: which
// clones there are and which snapshots each of them serves. docs/snapshots.md has the rules; it is
// the attribute of the head object in the store.
//
// Invariants: clones ascend by id, none is above seq; each serves at least one snapshot; what a
// clone serves ascends, lies above the clone before it and not above its own id.
//
// Pure: values and their bytes. Memory: 8 bytes for each snapshot that a clone serves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hh"
#include "base/status.hh"
#include "net/messages.hh"
#include "pg/removed_snaps.hh"

namespace cairn::pg {

struct SnapSet {
  struct Clone {
    std::uint64_t id = 0;
    std::vector<std::uint64_t> snaps;
    bool operator==(const Clone&) const = default;
  };
  std::uint64_t seq = 0;  // the newest snapshot of which a change of the head knew
  // The head object is there for its clones' sake alone while it has this very version: every
  // change makes it another one, and with that the head exists again. {0, 0}: none.
  Version whiteout;
  std::vector<Clone> clones;
  bool operator==(const SnapSet&) const = default;

  // The layer that the snapshot shows: kHead, a clone's id, none when there was no object. Whether
  // there is a head is not known here (see head_exists).
  std::optional<std::uint64_t> resolve(std::uint64_t snap) const;
};

// Whether clients see a head. stored, version: of the head object in the store.
bool head_exists(const SnapSet& set, bool stored, const Version& version);

struct SnapChange {
  bool changed = false;     // the set is another one
  std::uint64_t clone = 0;  // 0: none has to be made
};
// Before a change of the head under this context: which clone has to be made of it. removed: the
// snapshots that count as not there.
SnapChange prepare_change(SnapSet& set, const net::SnapContext& context, bool head_exists,
                          const RemovedSnaps& removed);

struct SnapTrim {
  bool changed = false;
  std::vector<std::uint64_t> clones;  // that serve nothing any more
  bool head_goes = false;             // it was there for its clones' sake
};
SnapTrim trim(SnapSet& set, bool head_exists, const RemovedSnaps& removed);

std::string encode_snap_set(const SnapSet& set);
// No bytes: the set of an object without snapshots. corrupt: not what encode_snap_set writes.
Result<SnapSet> decode_snap_set(std::string_view bytes);

}  // namespace cairn::pg
