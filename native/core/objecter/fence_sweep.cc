// A fencing sweep, some PGs at a time: see fence_sweep.hh.
#include "objecter/fence_sweep.hh"

#include <algorithm>
#include <utility>

namespace cairn::objecter {

namespace {

constexpr std::uint32_t kInFlight = 64;

struct Sweep {
  Objecter& objecter;
  PoolId pool;
  net::Fence fence;
  std::uint32_t count;  // PGs of the pool, those that came meanwhile too
  UniqueFunction<void(Status, SweepResult)> done;
  std::uint32_t next = 0;
  std::uint32_t answered = 0;
  SweepResult result = {};
  Status failure = {};

  // None was reached after its parent split without our map saying so: what was sent with an older
  // map is refused then. So this is asked at each answer, and no later split matters.
  void count_pgs() { count = std::max(count, objecter.pg_num(pool)); }
  void end() {
    if (!done) return;
    count_pgs();
    result.silent = count - answered;
    std::exchange(done, nullptr)(failure, result);
  }
};

void send_next(const std::shared_ptr<Sweep>& sweep) {
  while (sweep->next < sweep->count && sweep->next - sweep->answered < kInFlight) {
    const std::uint32_t seed = sweep->next++;
    // Whether that object exists does not matter: the token is raised before the step is looked at.
    sweep->objecter.submit({sweep->pool, "fence", sweep->fence, seed},
                           {{net::StepCode::stat, 0, 0, {}, {}}}, {},
                           [sweep](const Status& status, const net::OpReply&, Buffer) {
                             if (!sweep->done) return;
                             ++sweep->answered;
                             if (status) ++sweep->result.raised;
                             if (!status && sweep->failure) sweep->failure = status;
                             sweep->count_pgs();
                             if (sweep->answered == sweep->count) return sweep->end();
                             send_next(sweep);
                           });
  }
}

}  // namespace

void sweep_fence(io::Executor& executor, Objecter& objecter, PoolId pool, const net::Fence& fence,
                 std::uint64_t timeout_ns, UniqueFunction<void(Status, SweepResult)> done) {
  const std::uint32_t count = objecter.pg_num(pool);
  if (count == 0) return done(Status(ErrorCode::not_found, "no such pool"), {});
  auto sweep = std::make_shared<Sweep>(Sweep{objecter, pool, fence, count, std::move(done)});
  executor.run_after(timeout_ns, [sweep] { sweep->end(); });
  send_next(sweep);
}

}  // namespace cairn::objecter
