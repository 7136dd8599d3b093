// Freeing the blocks of an object that hold zeros. What there is to read is read beside other
// operations on the object, so that none waits for it; the change then frees only those blocks that
// nobody has written since, which their versions tell.
#include <algorithm>
#include <utility>

#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_zeros_changed_meanwhile);

using net::Step;
using net::StepCode;
using object_store::BlockState;

namespace {

constexpr std::uint64_t kPieceBlocks = (std::uint64_t{256} << 10) / kBlockBytes;

}  // namespace

struct Pg::ZeroSearch {
  std::unique_ptr<Running> running;
  std::vector<object_store::BlockInfo> blocks;  // as they were when it began
  std::uint64_t next = 0;                       // block
  std::unique_ptr<ZeroBlocks> found = std::make_unique<ZeroBlocks>();
};

void Pg::find_zeros(ClientOp op) {
  auto search = std::make_shared<ZeroSearch>();
  const ObjectId object = object_id(op.request.object);
  search->running = std::make_unique<Running>();
  search->running->op = std::move(op);
  search->running->interval = spec_.interval;
  host_.store().info(id_, object, [this, search](Status status, object_store::ObjectInfo info) {
    if (!still_current(*search->running)) return;
    if (!status) return fail_read(std::move(search->running), status);
    search->blocks = std::move(info.blocks);
    search_next(search);
  });
}

void Pg::search_next(const std::shared_ptr<ZeroSearch>& search) {
  const auto& blocks = search->blocks;
  std::uint64_t& next = search->next;
  while (next < blocks.size() && blocks[next].state != BlockState::data) ++next;
  if (next == blocks.size()) {
    search->running->op.zeros = std::move(search->found);
    return admit(std::move(search->running->op));
  }
  const std::uint64_t first = next;
  while (next < blocks.size() && next - first < kPieceBlocks &&
         blocks[next].state == BlockState::data) {
    ++next;
  }
  const ObjectId object = object_id(search->running->op.request.object);
  host_.store().read(id_, object, first * kBlockBytes, (next - first) * kBlockBytes, true,
                     [this, search, first](Status status, object_store::ReadResult result) {
                       if (!still_current(*search->running)) return;
                       if (repair_and_retry(*search->running, status)) return;
                       if (!status) return fail_read(std::move(search->running), status);
                       add_zero_blocks(static_cast<std::uint32_t>(first), result, *search->found);
                       search_next(search);
                     });
}

void Pg::run_sparsify(std::unique_ptr<Running> running) {
  const ObjectId object = object_id(running->op.request.object);
  host_.store().info(
      id_, object,
      [this, running = std::move(running)](Status status, object_store::ObjectInfo info) mutable {
        const auto family = family_found(running, status, info.exists, info.version, info.attr);
        if (!family) return;
        std::vector<Step>& steps = running->op.request.steps;
        const auto sparsify = std::find_if(steps.begin(), steps.end(), [](const Step& step) {
          return step.code == StepCode::sparsify;
        });
        running->reply.exists = family->head;
        ZeroPlan plan;
        if (family->head) plan = plan_sparsify(*sparsify, info, *running->op.zeros);
        if (plan.met_changes) pg_zeros_changed_meanwhile.hit();
        steps.insert(steps.erase(sparsify), plan.steps.begin(), plan.steps.end());
        running->reply.extents = std::move(plan.freed);
        commit_running(std::move(running));
      });
}

}  // namespace cairn::pg
