// A family as the primary knows it, and what snapshots add to a change of its head. Pure.
#pragma once

#include <optional>
#include <vector>

#include "pg/snapset.hh"

namespace cairn::pg {

struct Family {
  SnapSet set;
  bool head = false;  // it exists for clients
  bool operator==(const Family&) const = default;
  // Of a head object in the store; attr: its attribute. corrupt: no snap set.
  static Result<Family> from_store(bool stored, const Version& version, std::string_view attr);
  // The layer that the snapshot shows, as SnapSet::resolve(), and none when that is a head that
  // does not exist.
  std::optional<std::uint64_t> resolve(std::uint64_t snap) const;
};

struct FamilyPlan {
  std::uint64_t clone = 0;      // to make of the head before the change; 0: none
  bool writes_set = false;      // after.set becomes the attribute of the head, behind the change
  std::optional<Family> after;  // none: it is as it was, with a head
};

// True: what the changes mean depends on the family, or they change its snap set.
bool depends_on_family(const net::OpRequest& request);
// steps: of one operation, those that are no changes count for nothing. A removal of a head that
// has clones leaves a whiteout, and one without takes the snap set with it.
FamilyPlan plan_change(const Family& before, const std::vector<net::Step>& steps,
                       const net::SnapContext& context, const RemovedSnaps& removed);
// What a rollback to the snapshot does to the head; none: it is what the snapshot shows.
std::optional<net::Step> rollback_step(const Family& family, std::uint64_t snap);

}  // namespace cairn::pg
