// Changes of an object with snapshots: the primary finds out what the family is, turns copyups and
// rollbacks into steps that say exactly what happens, and adds the clone and the snap set that the
// operation's context asks for. Replicas carry the same steps out (replication.cc).
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_family_loaded);
CAIRN_DEFINE_PROBE(pg_head_cloned);
CAIRN_DEFINE_PROBE(pg_snap_set_too_large);

using net::Step;
using net::StepCode;

namespace {

// Of the block map of a clone with all its blocks.
constexpr std::uint64_t kCloneMetadataBytes = std::uint64_t{16} << 10;
// The version of a whiteout is known only when the set is written.
constexpr std::size_t kWhiteoutBytes = 16;

template <typename Steps>
auto find_step(Steps& steps, StepCode code) {
  return std::find_if(steps.begin(), steps.end(),
                      [code](const Step& step) { return step.code == code; });
}

// The copyup becomes a write of each run of absent blocks, with their bytes of the data.
void fill_absent(ClientOp& op, const std::vector<object_store::BlockInfo>& blocks) {
  using object_store::BlockState;
  std::vector<Step>& steps = op.request.steps;
  const auto copyup = find_step(steps, StepCode::copyup);
  const std::uint64_t first = copyup->offset / kBlockBytes;
  std::vector<Step> writes;
  std::uint64_t kept_bytes = 0;
  Buffer data = Buffer::allocate(op.data.size());
  for (std::uint64_t at = 0; at < op.data.size(); at += kBlockBytes) {
    const std::uint64_t index = first + at / kBlockBytes;
    if (index < blocks.size() && blocks[index].state != BlockState::absent) continue;
    const std::uint64_t offset = index * kBlockBytes;
    if (writes.empty() || writes.back().offset + writes.back().length != offset) {
      writes.push_back({StepCode::write, offset, 0, {}, {}});
    }
    writes.back().length += kBlockBytes;
    std::memcpy(data.data() + kept_bytes, op.data.data() + at, kBlockBytes);
    kept_bytes += kBlockBytes;
  }
  op.data = data.slice(0, kept_bytes);
  steps.insert(steps.erase(copyup), writes.begin(), writes.end());
}

}  // namespace

std::optional<Family> Pg::family_found(std::unique_ptr<Running>& running, const Status& status,
                                       bool stored, const Version& version, std::string_view attr) {
  if (!still_current(*running)) return std::nullopt;
  if (!status) {
    fail_read(std::move(running), status);
    return std::nullopt;
  }
  auto family = Family::from_store(stored, version, attr);
  if (family) return std::move(*family);
  fail_steps(std::move(running), family.status().code(), family.status().message());
  return std::nullopt;
}

void Pg::load_family(std::unique_ptr<Running> running) {
  pg_family_loaded.hit();
  const ObjectId object = object_id(running->op.request.object);
  host_.store().read(
      id_, object, 0, 0, false,
      [this, running = std::move(running)](Status status, object_store::ReadResult result) mutable {
        auto family = family_found(running, status, result.exists, result.version, result.attr);
        if (!family) return;
        families_.put(running->op.request.object, std::move(*family));
        commit_running(std::move(running));
      });
}

void Pg::run_copyup(std::unique_ptr<Running> running) {
  const ObjectId object = object_id(running->op.request.object);
  host_.store().info(
      id_, object,
      [this, running = std::move(running)](Status status, object_store::ObjectInfo info) mutable {
        if (!still_current(*running)) return;
        if (!status) return fail_read(std::move(running), status);
        fill_absent(running->op, info.blocks);
        commit_running(std::move(running));
      });
}

void Pg::commit_running(std::unique_ptr<Running> running) {
  const std::string object = running->op.request.object;
  if (depends_on_family(running->op.request) && families_.find(object) == nullptr) {
    return load_family(std::move(running));
  }
  if (!fence_still_holds(running)) return;
  objects_[object].locked = false;
  commit_change(std::move(running->op), std::move(running->reply));
  // Those that waited for the lock need not wait for the change to be durable everywhere.
  release_object(object);
}

void Pg::commit_change(ClientOp&& op, net::OpReply answer) {
  if (op.trims) return commit_trim(std::move(op));
  if (!depends_on_family(op.request)) {
    if (!op.request.mutates()) return reply(op, std::move(answer), {});
    families_.head_written(op.request.object);
    return commit_write(std::move(op), std::move(answer), {});
  }
  const Family* family = families_.find(op.request.object);
  CAIRN_ASSERT(family != nullptr);
  std::vector<Step>& steps = op.request.steps;
  if (const auto rollback = find_step(steps, StepCode::rollback); rollback != steps.end()) {
    const std::optional<Step> change = rollback_step(*family, rollback->offset);
    if (change) {
      *rollback = *change;
    } else {
      steps.erase(rollback);
    }
  }
  const bool changes = std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    return is_mutation(step.code) || is_internal(step.code);
  });
  // Nothing was in flight when it was found out that there is nothing to do (blocked_by_object).
  if (!changes) return reply(op, std::move(answer), {});
  FamilyPlan plan =
      plan_change(*family, steps, op.request.snap_context, host_.removed_snaps(id_.pool));
  if (encode_snap_set(plan.after->set).size() + kWhiteoutBytes > object_store::kMaxAttrBytes) {
    pg_snap_set_too_large.hit();
    return refuse(op, ErrorCode::busy, "too many snapshots wait for being trimmed");
  }
  if (plan.clone != 0 || find_step(steps, StepCode::restore_head) != steps.end()) {
    if (const Status room = host_.store().room_for(0, kCloneMetadataBytes); !room) {
      return refuse(op, room.code(), "osd." + std::to_string(host_.self()) + ": " + room.message());
    }
  }
  if (plan.clone != 0) pg_head_cloned.hit();
  families_.put(op.request.object, *plan.after);
  commit_write(std::move(op), std::move(answer), std::move(plan));
}

}  // namespace cairn::pg
