// The rules of snap sets, and their bytes.
#include "pg/snapset.hh"

#include <algorithm>

#include "object_store/varint.hh"

namespace cairn::pg {

namespace {

constexpr std::uint8_t kFormat = 1;

// Adds a step of at least 1 to the number; false when it leaves the range of snapshot ids.
bool advance(std::uint64_t& number, std::uint64_t by) {
  if (by == 0 || by >= kHead - number) return false;
  number += by;
  return true;
}

bool decode_clone(object_store::ValueReader& reader, std::uint64_t below, SnapSet::Clone& clone) {
  clone.id = below;
  if (!advance(clone.id, reader.varint())) return false;
  const std::uint64_t count = reader.varint();
  std::uint64_t snap = below;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!advance(snap, reader.varint()) || snap > clone.id) return false;
    clone.snaps.push_back(snap);
  }
  return count > 0;
}

}  // namespace

std::optional<std::uint64_t> SnapSet::resolve(std::uint64_t snap) const {
  if (snap > seq) return kHead;
  const auto clone = std::lower_bound(
      clones.begin(), clones.end(), snap,
      [](const Clone& candidate, std::uint64_t wanted) { return candidate.id < wanted; });
  if (clone == clones.end()) return std::nullopt;
  const bool is_served = std::binary_search(clone->snaps.begin(), clone->snaps.end(), snap);
  return is_served ? std::optional(clone->id) : std::nullopt;
}

bool head_exists(const SnapSet& set, bool stored, const Version& version) {
  return stored && (set.whiteout == Version{} || set.whiteout != version);
}

SnapChange prepare_change(SnapSet& set, const net::SnapContext& context, bool head_exists,
                          const RemovedSnaps& removed) {
  if (context.seq <= set.seq) return {};
  SnapChange change;
  change.changed = true;
  if (head_exists) {
    SnapSet::Clone clone{context.seq, {}};
    for (const std::uint64_t snap : context.snaps) {
      if (snap > set.seq && !removed.contains(snap)) clone.snaps.push_back(snap);
    }
    std::reverse(clone.snaps.begin(), clone.snaps.end());
    if (!clone.snaps.empty()) {
      change.clone = clone.id;
      set.clones.push_back(std::move(clone));
    }
  }
  set.seq = context.seq;
  return change;
}

SnapTrim trim(SnapSet& set, bool head_exists, const RemovedSnaps& removed) {
  SnapTrim result;
  for (SnapSet::Clone& clone : set.clones) {
    const auto gone = std::erase_if(
        clone.snaps, [&removed](std::uint64_t snap) { return removed.contains(snap); });
    result.changed = result.changed || gone > 0;
    if (clone.snaps.empty()) result.clones.push_back(clone.id);
  }
  std::erase_if(set.clones, [](const SnapSet::Clone& clone) { return clone.snaps.empty(); });
  result.head_goes = result.changed && !head_exists && set.clones.empty();
  return result;
}

std::string encode_snap_set(const SnapSet& set) {
  using object_store::put_varint;
  std::string bytes(1, static_cast<char>(kFormat));
  put_varint(bytes, set.seq);
  put_varint(bytes, set.whiteout.epoch);
  put_varint(bytes, set.whiteout.number);
  put_varint(bytes, set.clones.size());
  std::uint64_t below = 0;
  for (const SnapSet::Clone& clone : set.clones) {
    put_varint(bytes, clone.id - below);
    put_varint(bytes, clone.snaps.size());
    std::uint64_t last = below;
    for (const std::uint64_t snap : clone.snaps)
      put_varint(bytes, snap - std::exchange(last, snap));
    below = clone.id;
  }
  return bytes;
}

Result<SnapSet> decode_snap_set(std::string_view bytes) {
  const auto bad = [] { return Status(ErrorCode::corrupt, "a snap set is malformed"); };
  SnapSet set;
  if (bytes.empty()) return set;
  object_store::ValueReader reader(bytes);
  if (reader.fixed<std::uint8_t>() != kFormat) return bad();
  set.seq = reader.varint();
  const std::uint64_t epoch = reader.varint();
  if (epoch > ~Epoch{0} || set.seq == kHead) return bad();
  set.whiteout.epoch = static_cast<Epoch>(epoch);
  set.whiteout.number = reader.varint();
  const std::uint64_t count = reader.varint();
  std::uint64_t below = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    SnapSet::Clone clone;
    if (!decode_clone(reader, below, clone)) return bad();
    below = clone.id;
    set.clones.push_back(std::move(clone));
  }
  if (below > set.seq || !reader.at_end()) return bad();
  return set;
}

}  // namespace cairn::pg
