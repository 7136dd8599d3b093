// The steps that look at several layers of an object at once: which blocks some of them lack, and
// filling those (layer_fill.hh has the rules).
#include <cstring>
#include <utility>

#include "base/probe.hh"
#include "pg/layer_fill.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_layers_filled);
CAIRN_DEFINE_PROBE(pg_fill_divided_a_clone);
CAIRN_DEFINE_PROBE(pg_fill_made_history);

using net::Step;
using net::StepCode;

namespace {

// Of the block map of a layer, and of a new one's header.
constexpr std::uint64_t kLayerMetadataBytes = std::uint64_t{16} << 10;
// The version of a whiteout is known only when the set is written.
constexpr std::size_t kWhiteoutBytes = 16;

FillRequest request_of(const Step& step) {
  const std::uint64_t first = step.offset / kBlockBytes;
  const std::uint64_t end = (step.offset + step.length + kBlockBytes - 1) / kBlockBytes;
  return {first, end - first, net::unpack_ids(step.value)};
}

std::vector<net::ExtentRun> runs_of(const std::vector<bool>& lacking, const FillRequest& request) {
  std::vector<net::ExtentRun> runs;
  for (std::uint64_t i = 0; i < request.block_count; ++i) {
    const auto state = static_cast<std::uint8_t>(lacking[i] ? 0 : net::kMaxBlockState);
    if (!runs.empty() && runs.back().state == state) {
      runs.back().length += kBlockBytes;
    } else {
      runs.push_back({(request.first_block + i) * kBlockBytes, kBlockBytes, state});
    }
  }
  return runs;
}

// The bytes of the blocks that the steps write, in their order.
Buffer data_of(const FillPlan& plan, const FillRequest& request, const Buffer& data) {
  Buffer written = Buffer::allocate(plan.written.size() * kBlockBytes);
  std::size_t at = 0;
  for (const std::uint64_t block : plan.written) {
    const std::size_t from = (block - request.first_block) * kBlockBytes;
    std::memcpy(written.data() + at, data.data() + from, kBlockBytes);
    at += kBlockBytes;
  }
  return written;
}

}  // namespace

// Under way: the layers of an object are looked at.
struct Pg::LayerLook {
  std::unique_ptr<Running> running;
  FillRequest request;
  Family family;
  LayerMaps maps;
  std::vector<std::uint64_t> clones;  // still to be looked at
  UniqueFunction<void(std::unique_ptr<LayerLook>)> done;
};

void Pg::look_at_layers(std::unique_ptr<LayerLook> look) {
  const ObjectId head = object_id(look->running->op.request.object);
  host_.store().info(
      id_, head,
      [this, look = std::move(look)](Status status, object_store::ObjectInfo info) mutable {
        if (!still_current(*look->running)) return;
        if (!status) return fail_read(std::move(look->running), status);
        auto family = Family::from_store(info.exists, info.version, info.attr);
        if (!family) {
          const Status& why = family.status();
          return fail_steps(std::move(look->running), why.code(), why.message());
        }
        look->family = std::move(*family);
        look->clones = layers_to_look_at(look->family, look->request);
        std::erase(look->clones, kHead);
        if (look->family.head) look->maps[kHead] = std::move(info.blocks);
        look_at_next(std::move(look));
      });
}

void Pg::look_at_next(std::unique_ptr<LayerLook> look) {
  if (look->clones.empty()) {
    auto done = std::move(look->done);
    return done(std::move(look));
  }
  const std::uint64_t clone = look->clones.back();
  look->clones.pop_back();
  const ObjectId layer = layer_id(look->running->op.request.object, clone);
  host_.store().info(
      id_, layer,
      [this, clone, look = std::move(look)](Status status, object_store::ObjectInfo info) mutable {
        if (!still_current(*look->running)) return;
        if (!status) return fail_read(std::move(look->running), status);
        // One that has just been trimmed away has no blocks; its snapshots are removed ones.
        look->maps[clone] = std::move(info.blocks);
        look_at_next(std::move(look));
      });
}

void Pg::run_lacking(std::unique_ptr<Running> running, const Step& step) {
  auto look = std::make_unique<LayerLook>();
  look->request = request_of(step);
  look->running = std::move(running);
  look->done = [this](std::unique_ptr<LayerLook> seen) {
    const std::vector<bool> lacking =
        lacking_blocks(seen->family, seen->maps, seen->request, host_.removed_snaps(id_.pool));
    seen->running->reply.exists = seen->family.head;
    seen->running->reply.extents = runs_of(lacking, seen->request);
    run_steps(std::move(seen->running));
  };
  look_at_layers(std::move(look));
}

// Behind all guards, with nothing else under way on the object.
void Pg::run_fill(std::unique_ptr<Running> running) {
  auto look = std::make_unique<LayerLook>();
  for (const Step& step : running->op.request.steps) {
    if (step.code == StepCode::fill_layers) look->request = request_of(step);
  }
  look->running = std::move(running);
  look->done = [this](std::unique_ptr<LayerLook> seen) { commit_fill(std::move(seen)); };
  look_at_layers(std::move(look));
}

void Pg::commit_fill(std::unique_ptr<LayerLook> look) {
  std::unique_ptr<Running> running = std::move(look->running);
  if (!fence_still_holds(running)) return;
  const std::string object = running->op.request.object;
  Result<FillPlan> plan =
      plan_fill(look->family, look->maps, look->request, running->op.request.snap_context,
                host_.removed_snaps(id_.pool));
  if (!plan) {
    return fail_steps(std::move(running), plan.status().code(), plan.status().message());
  }
  const Status room = host_.store().room_for(0, plan->layers * kLayerMetadataBytes);
  if (!room) return fail_steps(std::move(running), room.code(), room.message());
  const SnapSet& set = plan->family.after ? plan->family.after->set : look->family.set;
  if (encode_snap_set(set).size() + kWhiteoutBytes > object_store::kMaxAttrBytes) {
    return fail_steps(std::move(running), ErrorCode::busy,
                      "too many snapshots wait for being trimmed");
  }
  objects_[object].locked = false;
  ClientOp op = std::move(running->op);
  if (plan->steps.empty()) {
    reply(op, std::move(running->reply), {});
  } else {
    pg_layers_filled.hit();
    if (set.clones.size() > look->family.set.clones.size()) pg_fill_made_history.hit();
    if (plan->steps.front().code == StepCode::copy_clone) pg_fill_divided_a_clone.hit();
    op.data = data_of(*plan, look->request, op.data);
    op.request.steps = std::move(plan->steps);
    families_.put(object, *plan->family.after);
    commit_write(std::move(op), std::move(running->reply), plan->family);
    fills_.add(log_.head_number(), object);
  }
  // Those that waited for the lock need not wait for the change to be durable everywhere.
  release_object(object);
}

}  // namespace cairn::pg
