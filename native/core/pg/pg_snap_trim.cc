// A Pg's part in trimming: what becomes of one object. It is a logged change like any other, so
// that replicas, recovery and a later primary know of it; it takes its turn among the operations on
// the object, and like all that frees space it needs none.
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_trim_had_nothing_to_do);
CAIRN_DEFINE_PROBE(pg_trim_took_the_head);
CAIRN_DEFINE_PROBE(pg_trim_in_parts);

using net::Step;
using net::StepCode;

namespace {

// An entry holds a limited number of steps.
constexpr std::size_t kMaxClonesAtOnce = net::kMaxStepsPerOp;

// Those of the removed snapshots that the oldest clones serve: their going takes no more clones
// away than fit one entry.
RemovedSnaps served_by_oldest(const SnapSet& set, const RemovedSnaps& removed) {
  RemovedSnaps served;
  std::size_t clones = 0;
  for (const SnapSet::Clone& clone : set.clones) {
    if (clones++ == kMaxClonesAtOnce) break;
    const std::uint64_t before = served.size();
    for (const std::uint64_t snap : clone.snaps) {
      if (removed.contains(snap)) served.insert(snap);
    }
    if (planted(PlantedBug::trim_used_clone) && served.size() > before) {
      served.insert(clone.snaps.begin(), clone.snaps.end());
    }
  }
  return served;
}

}  // namespace

void Pg::start_snap_trim(SnapTrimSpec spec) {
  if (phase_ == Phase::active) return trimmer_.start(std::move(spec));
  trim_done(spec.id, Status(ErrorCode::not_active, "the PG does not serve"));
}

void Pg::stop_snap_trim() { trimmer_.stop(); }

void Pg::trim_done(std::uint64_t id, const Status& status) {
  host_.snap_trim_done(id_, spec_.interval, id, status);
}

std::vector<std::string> Pg::missing_objects() const {
  std::vector<std::string> names;
  for (const auto& [name, missing] : missing_) names.push_back(name);
  return names;
}

void Pg::trim_object(const std::string& object) {
  ClientOp op;
  op.request.pg = id_;
  op.request.object = object;
  op.arrived_ns = host_.executor().now_ns();
  op.trims = true;
  admit(std::move(op));
}

void Pg::execute_trim(ClientOp&& op) {
  if (families_.find(op.request.object) != nullptr) return commit_trim(std::move(op));
  auto running = std::make_unique<Running>();
  running->op = std::move(op);
  running->interval = spec_.interval;
  running->locked = true;
  objects_[running->op.request.object].locked = true;
  load_family(std::move(running));
}

void Pg::commit_trim(ClientOp&& op) {
  const std::string object = op.request.object;
  const RemovedSnaps& removed = host_.removed_snaps(id_.pool);
  FamilyPlan plan;
  plan.after = *families_.find(object);
  const SnapTrim result =
      trim(plan.after->set, plan.after->head, served_by_oldest(plan.after->set, removed));
  if (!result.changed) {
    pg_trim_had_nothing_to_do.hit();
    return trimmer_.object_done(object, Status::ok(), false);
  }
  for (const std::uint64_t clone : result.clones) {
    op.request.steps.push_back({StepCode::remove_clone, clone, 0, {}, {}});
  }
  plan.writes_set = !result.head_goes;
  if (result.head_goes) {
    pg_trim_took_the_head.hit();
    op.request.steps.push_back({StepCode::remove, 0, 0, {}, {}});
    plan.after->set = {};
  }
  op.trims_more = !served_by_oldest(plan.after->set, removed).empty();
  if (op.trims_more) pg_trim_in_parts.hit();
  counters_.trimmed_objects += 1;
  counters_.trimmed_clones += result.clones.size();
  families_.put(object, *plan.after);
  commit_write(std::move(op), {}, plan);
}

}  // namespace cairn::pg
