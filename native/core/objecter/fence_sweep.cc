// A fencing sweep, some PGs at a time: see fence_sweep.hh.
#include "objecter/fence_sweep.hh"

#include <utility>

namespace cairn::objecter {

namespace {

constexpr std::uint32_t kInFlight = 64;

struct Sweep {
  Objecter& objecter;
  PoolId pool;
  net::Fence fence;
  std::uint32_t count;
  UniqueFunction<void(Status, SweepResult)> done;
  std::uint32_t next = 0;
  std::uint32_t answered = 0;
  SweepResult result = {};
  Status failure = {};

  void end() {
    if (!done) return;
    result.silent = count - answered;
    std::exchange(done, nullptr)(failure, result);
  }
};

void send_next(const std::shared_ptr<Sweep>& sweep) {
  if (sweep->next == sweep->count || !sweep->done) return;
  const std::uint32_t seed = sweep->next++;
  // Whether that object exists does not matter: the token is raised before the step is looked at.
  sweep->objecter.submit({sweep->pool, "fence", sweep->fence, seed},
                         {{net::StepCode::stat, 0, 0, {}, {}}}, {},
                         [sweep](const Status& status, const net::OpReply&, Buffer) {
                           ++sweep->answered;
                           if (status) ++sweep->result.raised;
                           if (!status && sweep->failure) sweep->failure = status;
                           if (sweep->answered == sweep->count) return sweep->end();
                           send_next(sweep);
                         });
}

}  // namespace

void sweep_fence(io::Executor& executor, Objecter& objecter, PoolId pool, const net::Fence& fence,
                 std::uint64_t timeout_ns, UniqueFunction<void(Status, SweepResult)> done) {
  const std::uint32_t count = objecter.pg_num(pool);
  if (count == 0) return done(Status(ErrorCode::not_found, "no such pool"), {});
  auto sweep = std::make_shared<Sweep>(Sweep{objecter, pool, fence, count, std::move(done)});
  executor.run_after(timeout_ns, [sweep] { sweep->end(); });
  for (std::uint32_t i = 0; i < kInFlight; ++i) send_next(sweep);
}

}  // namespace cairn::objecter
