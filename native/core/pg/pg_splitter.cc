// The steps of a split: see pg_splitter.hh.
#include "pg/pg_splitter.hh"

#include <algorithm>
#include <bit>

#include "base/planted_bug.hh"
#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_split_child_made);
CAIRN_DEFINE_PROBE(pg_split_behind_a_restart);
CAIRN_DEFINE_PROBE(pg_split_with_missing_objects);

namespace {
// The store loads the block maps of all that one transaction moves, as for a removal.
constexpr std::size_t kPageObjects = 64;
}  // namespace

bool is_half_made(const object_store::PgSnapshot& snapshot) {
  return std::any_of(snapshot.meta.begin(), snapshot.meta.end(),
                     [](const auto& pair) { return pair.first == kHalfMadeKey; });
}

PgId parent_of(const PgId& pg) {
  CAIRN_ASSERT(pg.seed != 0);
  return {pg.pool, pg.seed ^ std::bit_floor(pg.seed)};
}

void PgSplitter::want(PgId id, std::uint32_t pg_num) {
  CAIRN_ASSERT(std::has_single_bit(pg_num));
  Pg* pg = host_.find_for_split(id);
  if (pg == nullptr || pg->pg_num() >= pg_num) return;
  if (pg->pg_num() == 0) return pg->set_pg_num(pg_num);
  std::shared_ptr<Split>& split = splits_[id];
  if (split == nullptr) split = std::make_shared<Split>();
  split->parent = id;
  split->target = std::max(split->target, pg_num);
  if (pg->spec().interval != 0 || split->running) return;
  pg_split_behind_a_restart.hit();
  begin_child(split);
}

bool PgSplitter::on_interval_started(PgId pg) {
  const auto found = splits_.find(pg);
  if (found == splits_.end()) return false;
  const std::shared_ptr<Split> split = found->second;
  split->holds_report = true;
  if (!split->running) begin_child(split);
  return true;
}

bool PgSplitter::will_make(PgId pg) const {
  while (pg.seed != 0) {
    const std::uint32_t place = std::bit_floor(pg.seed);
    pg = parent_of(pg);
    const auto found = splits_.find(pg);
    if (const Pg* parent = host_.find_for_split(pg)) {
      return found != splits_.end() && found->second->target > place && parent->pg_num() <= place;
    }
  }
  return false;
}

void PgSplitter::begin_child(const std::shared_ptr<Split>& split) {
  const Pg* parent = host_.find_for_split(split->parent);
  split->running = true;
  split->child = PgId{split->parent.pool, split->parent.seed + parent->pg_num()};
  CAIRN_ASSERT(host_.find_for_split(split->child) == nullptr);
  object_store::Transaction mark;
  mark.pg_meta_set(split->child, kHalfMadeKey, {});
  host_.split_store().submit(std::move(mark), [](const Status&) {});
  move_page(split, std::nullopt);
}

void PgSplitter::move_page(const Handle& handle, const std::optional<ObjectId>& after) {
  host_.split_store().list(
      handle.lock()->parent, after, kPageObjects,
      [this, handle](const Status& status, std::vector<object_store::ListedObject> page) {
        if (!status) return fail(handle, status);
        moved_page(handle, std::move(page));
      });
}

void PgSplitter::moved_page(const Handle& handle, std::vector<object_store::ListedObject> page) {
  const std::shared_ptr<Split> split = handle.lock();
  if (split == nullptr) return;
  const Pg* parent = host_.find_for_split(split->parent);
  object_store::Transaction moves;
  for (const object_store::ListedObject& layer : page) {
    if (parent->goes_to_child(layer.id.name)) moves.move(split->parent, layer.id, split->child);
  }
  moves.allow_reserve();  // the map says already that it happens
  const bool is_last = page.size() < kPageObjects;
  std::optional<ObjectId> after;
  if (!page.empty()) after = page.back().id;
  const auto go_on = [this, handle, is_last, after](const Status& status) {
    if (!status) return fail(handle, status);
    if (handle.expired()) return;
    if (is_last) return finish_child(handle);
    move_page(handle, after);
  };
  if (moves.empty()) return go_on(Status::ok());
  host_.split_store().submit(std::move(moves), go_on);
}

void PgSplitter::finish_child(const Handle& handle) {
  const PgId parent = handle.lock()->parent;
  const ObjectId fence{parent.pool, kFenceObject, kHead};
  host_.split_store().info(parent, fence,
                           [this, handle](const Status& status, object_store::ObjectInfo tokens) {
                             if (!status) return fail(handle, status);
                             if (!handle.expired()) commit_child(handle, std::move(tokens));
                           });
}

void PgSplitter::commit_child(const Handle& handle, object_store::ObjectInfo tokens) {
  const std::shared_ptr<Split> split = handle.lock();
  object_store::Transaction transaction;
  std::unique_ptr<Pg> child = host_.make_for_split(split->child);
  host_.find_for_split(split->parent)->split_off(*child, transaction);
  if (tokens.exists && !planted(PlantedBug::split_forgets_fence)) {
    const ObjectId fence{split->child.pool, kFenceObject, kHead};
    transaction.touch(split->child, fence, tokens.version);
    for (auto& [key, token] : tokens.omap) {
      transaction.omap_set(split->child, fence, key, std::move(token), tokens.version);
    }
  }
  transaction.pg_meta_remove(split->child, kHalfMadeKey);
  transaction.allow_reserve();
  host_.split_store().submit(std::move(transaction), [this, handle, child = std::move(child)](
                                                         const Status& status) mutable {
    if (!status) return fail(handle, status);
    const std::shared_ptr<Split> found = handle.lock();
    if (found != nullptr) child_durable(*found, std::move(child));
  });
}

void PgSplitter::child_durable(Split& split, std::unique_ptr<Pg> child) {
  const std::uint32_t target = split.target;
  const PgId parent = split.parent;
  Pg* pg = host_.find_for_split(parent);
  pg_split_child_made.hit();
  if (!child->missing().empty()) pg_split_with_missing_objects.hit();
  pg->gave_child();
  split.running = false;
  const PgId made = child->id();
  host_.child_made(std::move(child));
  want(made, target);  // its own children, if the pool has more than twice as many PGs now
  if (!is_splitting(made)) host_.split_over(made, false);
  if (pg->pg_num() < target) return begin_child(splits_.at(parent));
  const bool holds_report = split.holds_report;
  splits_.erase(parent);
  host_.split_over(parent, holds_report);
}

void PgSplitter::fail(const Handle& handle, const Status& status) {
  const std::shared_ptr<Split> split = handle.lock();
  // The daemon stops: the next one goes on with it.
  if (split == nullptr || status.code() == ErrorCode::canceled) return;
  const PgId parent = split->parent;
  splits_.erase(parent);
  host_.split_failed(parent, status);
}

}  // namespace cairn::pg
