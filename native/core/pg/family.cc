// Planning the changes of families: see family.hh.
#include "pg/family.hh"

#include <algorithm>

namespace cairn::pg {

using net::Step;
using net::StepCode;

Result<Family> Family::from_store(bool stored, const Version& version, std::string_view attr) {
  Result<SnapSet> set = decode_snap_set(attr);
  if (!set) return set.status();
  const bool head = head_exists(*set, stored, version);
  return Family{std::move(*set), head};
}

std::optional<std::uint64_t> Family::resolve(std::uint64_t snap) const {
  const std::optional<std::uint64_t> layer = set.resolve(snap);
  return layer == kHead && !head ? std::nullopt : layer;
}

bool depends_on_family(const net::OpRequest& request) {
  if (request.snap_context.seq != 0) return true;
  return std::any_of(request.steps.begin(), request.steps.end(), [](const Step& step) {
    return step.code == StepCode::remove || step.code == StepCode::rollback;
  });
}

FamilyPlan plan_change(const Family& before, const std::vector<Step>& steps,
                       const net::SnapContext& context, const RemovedSnaps& removed) {
  bool exists = before.head;
  bool drops_set = false;  // the store forgets the attribute with the head object
  for (const Step& step : steps) {
    if (!is_mutation(step.code) && step.code != StepCode::restore_head) continue;
    exists = step.code != StepCode::remove;
    drops_set = drops_set || !exists || step.code == StepCode::restore_head;
  }
  FamilyPlan plan;
  plan.after = before;
  Family& after = *plan.after;
  const SnapChange change = prepare_change(after.set, context, before.head, removed);
  plan.clone = change.clone;
  after.head = exists;
  if (!exists && after.set.clones.empty()) {
    after.set = {};
    return plan;
  }
  plan.writes_set = change.changed || !exists || (drops_set && after.set != SnapSet{});
  return plan;
}

std::optional<Step> rollback_step(const Family& family, std::uint64_t snap) {
  const std::optional<std::uint64_t> layer = family.resolve(snap);
  if (layer == kHead || (!layer && !family.head)) return std::nullopt;
  if (!layer) return Step{StepCode::remove, 0, 0, {}, {}};
  return Step{StepCode::restore_head, *layer, 0, {}, {}};
}

}  // namespace cairn::pg
