// Planning the filling of layers: see layer_fill.hh.
#include "pg/layer_fill.hh"

#include <algorithm>
#include <utility>

#include "base/planted_bug.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;
using object_store::BlockState;

namespace {

constexpr std::uint64_t kNothing = 0;  // no clone has this id
// Of an entry, for what the primary adds.
constexpr std::size_t kOtherSteps = 2;

bool names(const FillRequest& request, std::uint64_t layer) {
  return std::binary_search(request.layers.begin(), request.layers.end(), layer);
}

class Filling {
 public:
  Filling(const Family& before, const LayerMaps& maps, const FillRequest& request,
          const net::SnapContext& context, const RemovedSnaps& removed)
      : before_(before), maps_(maps), request_(request), context_(context), removed_(removed) {
    plan_.family.after = before;
  }
  Result<FillPlan> make();

 private:
  // A layer that is to be filled, and the one whose blocks it has before.
  struct Target {
    std::uint64_t layer = 0;
    std::uint64_t source = kNothing;
  };
  bool is_absent(std::uint64_t layer, std::uint64_t block) const;
  bool lacks(std::uint64_t layer) const;
  void choose_head();
  void choose_clones();
  void divide(const SnapSet::Clone& clone, std::uint64_t source,
              std::vector<SnapSet::Clone>& parts);
  Status choose_unserved();
  // That the image has and that is not being removed.
  bool exists(std::uint64_t snap) const;
  bool exists_between(std::uint64_t older, std::uint64_t newer) const;
  void add_steps(const Target& target, std::vector<std::uint64_t>& donors);
  SnapSet& set() { return plan_.family.after->set; }

  const Family& before_;
  const LayerMaps& maps_;
  const FillRequest& request_;
  const net::SnapContext& context_;
  const RemovedSnaps& removed_;
  FillPlan plan_;
  std::vector<Target> targets_;
};

bool Filling::is_absent(std::uint64_t layer, std::uint64_t block) const {
  if (layer == kHead && !before_.head) return true;
  const auto found = maps_.find(layer);
  return found == maps_.end() || block >= found->second.size() ||
         found->second[block].state == BlockState::absent;
}

bool Filling::lacks(std::uint64_t layer) const {
  for (std::uint64_t i = 0; i < request_.block_count; ++i) {
    if (is_absent(layer, request_.first_block + i)) return true;
  }
  return false;
}

// The head shows itself and all snapshots above the set's seq.
void Filling::choose_head() {
  if (!lacks(kHead)) return;
  std::size_t shown = 0, named = 0;
  for (const std::uint64_t snap : context_.snaps) {
    if (snap <= set().seq || removed_.contains(snap)) continue;
    ++shown;
    if (names(request_, snap)) ++named;
  }
  const bool fills_head = names(request_, kHead);
  if (named != (fills_head ? shown : 0)) {
    plan_.family.clone = prepare_change(set(), context_, before_.head, removed_).clone;
  }
  if (fills_head) targets_.push_back({kHead, kHead});
}

void Filling::choose_clones() {
  std::vector<SnapSet::Clone> parts;
  for (const SnapSet::Clone& clone : set().clones) {
    const std::uint64_t source = clone.id == plan_.family.clone ? kHead : clone.id;
    if (lacks(source)) {
      divide(clone, source, parts);
    } else {
      parts.push_back(clone);
    }
  }
  set().clones = std::move(parts);
}

// Runs of snapshots that are filled and of those that are not; the newest run keeps the clone's id.
// Removed snapshots go with their neighbours.
void Filling::divide(const SnapSet::Clone& clone, std::uint64_t source,
                     std::vector<SnapSet::Clone>& parts) {
  struct Run {
    std::vector<std::uint64_t> snaps;
    std::optional<bool> filled;
  };
  std::vector<Run> runs(1);
  for (const std::uint64_t snap : clone.snaps) {
    if (!removed_.contains(snap)) {
      const bool filled = planted(PlantedBug::fill_undivided) ? names(request_, clone.snaps.back())
                                                              : names(request_, snap);
      if (runs.back().filled && *runs.back().filled != filled) runs.emplace_back();
      runs.back().filled = filled;
    }
    runs.back().snaps.push_back(snap);
  }
  for (Run& run : runs) {
    const bool is_last = &run == &runs.back();
    const std::uint64_t id = is_last ? clone.id : run.snaps.back();
    if (!is_last) plan_.steps.push_back({StepCode::copy_clone, id, clone.id, {}, {}});
    if (run.filled.value_or(false)) targets_.push_back({id, source});
    parts.push_back({id, std::move(run.snaps)});
  }
}

bool Filling::exists(std::uint64_t snap) const {
  const auto& snaps = context_.snaps;
  return std::find(snaps.begin(), snaps.end(), snap) != snaps.end() && !removed_.contains(snap);
}

bool Filling::exists_between(std::uint64_t older, std::uint64_t newer) const {
  return std::any_of(context_.snaps.begin(), context_.snaps.end(), [&](std::uint64_t snap) {
    return snap > older && snap < newer && !removed_.contains(snap);
  });
}

// Snapshots at which the object did not exist: it gets a history.
Status Filling::choose_unserved() {
  std::vector<SnapSet::Clone>& clones = set().clones;
  for (const std::uint64_t snap : request_.layers) {
    if (!exists(snap) || snap > set().seq || set().resolve(snap)) continue;
    auto next = std::find_if(clones.begin(), clones.end(),
                             [snap](const SnapSet::Clone& clone) { return clone.id >= snap; });
    if (next != clones.end() && next->snaps.front() <= snap) {
      return {ErrorCode::corrupt, "a clone does not serve a snapshot of its time"};
    }
    // Neighbours without a layer share a new one; one between them may want its own later.
    const bool joins =
        next != clones.begin() && !targets_.empty() && targets_.back().source == kNothing &&
        targets_.back().layer == std::prev(next)->id && !exists_between(std::prev(next)->id, snap);
    if (joins) {
      targets_.back().layer = std::prev(next)->id = snap;
      std::prev(next)->snaps.push_back(snap);
    } else {
      targets_.push_back({snap, kNothing});
      clones.insert(next, {snap, {snap}});
    }
  }
  return Status::ok();
}

// donors: of each block the layer that the bytes are written to, kNothing: none yet.
void Filling::add_steps(const Target& target, std::vector<std::uint64_t>& donors) {
  const std::uint64_t first_block = request_.first_block;
  std::uint64_t last_donor = kNothing;
  std::uint64_t run_end = ~std::uint64_t{0};
  for (std::uint64_t i = 0; i < request_.block_count; ++i) {
    const std::uint64_t block = first_block + i;
    const bool absent = target.source == kNothing || is_absent(target.source, block);
    if (!absent) continue;
    const std::uint64_t donor = std::exchange(donors[i], donors[i] ? donors[i] : target.layer);
    if (donor == kNothing) plan_.written.push_back(block);
    const bool goes_on = run_end == block && last_donor == donor;
    last_donor = donor;
    run_end = block + 1;
    if (goes_on) {
      plan_.steps.back().length += kBlockBytes;
    } else if (donor != kNothing) {
      plan_.steps.push_back({StepCode::share_blocks,
                             block * kBlockBytes,
                             kBlockBytes,
                             {},
                             net::pack_ids({donor, target.layer})});
    } else if (target.layer == kHead) {
      plan_.steps.push_back({StepCode::write, block * kBlockBytes, kBlockBytes, {}, {}});
    } else {
      plan_.steps.push_back({StepCode::write_layer,
                             block * kBlockBytes,
                             kBlockBytes,
                             {},
                             net::pack_ids({target.layer})});
    }
  }
}

Result<FillPlan> Filling::make() {
  choose_head();
  choose_clones();
  if (Status status = choose_unserved(); !status) return status;
  if (targets_.empty()) return FillPlan{};
  std::vector<std::uint64_t> donors(request_.block_count, kNothing);
  bool fills_head = false;
  for (const Target& target : targets_) {
    add_steps(target, donors);
    fills_head = fills_head || target.layer == kHead;
  }
  if (plan_.steps.size() + kOtherSteps > net::kMaxStepsPerEntry) {
    return Status(ErrorCode::too_large, "too many layers for so many blocks at once");
  }
  plan_.layers = targets_.size() + (plan_.family.clone != 0 ? 1 : 0);
  plan_.family.after->head = before_.head || fills_head;
  // The head's version is that of the family, whatever layer has changed.
  plan_.family.writes_set = !fills_head || set() != before_.set;
  return std::move(plan_);
}

}  // namespace

Result<FillPlan> plan_fill(const Family& before, const LayerMaps& maps, const FillRequest& request,
                           const net::SnapContext& context, const RemovedSnaps& removed) {
  return Filling(before, maps, request, context, removed).make();
}

std::vector<std::uint64_t> layers_to_look_at(const Family& family, const FillRequest& request) {
  std::vector<std::uint64_t> layers;
  for (const std::uint64_t snap : request.layers) {
    const std::optional<std::uint64_t> layer = family.resolve(snap);
    if (layer && (layers.empty() || layers.back() != *layer)) layers.push_back(*layer);
  }
  return layers;
}

std::vector<bool> lacking_blocks(const Family& family, const LayerMaps& maps,
                                 const FillRequest& request, const RemovedSnaps& removed) {
  std::vector<bool> lacking(request.block_count, false);
  for (const std::uint64_t snap : request.layers) {
    if (removed.contains(snap)) continue;
    const std::optional<std::uint64_t> layer = family.resolve(snap);
    const auto found = layer ? maps.find(*layer) : maps.end();
    for (std::uint64_t i = 0; i < request.block_count; ++i) {
      const std::uint64_t block = request.first_block + i;
      const bool is_there = found != maps.end() && block < found->second.size() &&
                            found->second[block].state != BlockState::absent;
      if (!is_there) lacking[i] = true;
    }
  }
  return lacking;
}

}  // namespace cairn::pg
