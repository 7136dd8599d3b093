// A sweep over all PGs of a pool that makes each refuse the lower tokens of an image, without
// waiting for an operation of the new holder to get there. Fencing does not need it: a PG that is
// not reached here refuses as soon as it serves the new holder. It is for the taking over from a
// holder that may wake up: from then on all that it sends is refused, wherever it goes. PGs that
// the pool gets by a split while the sweep runs are swept too: a parent that was reached before it
// split has given them the token, one that was reached afterwards has not.
#pragma once

#include "objecter/objecter.hh"

namespace cairn::objecter {

struct SweepResult {
  std::uint32_t raised = 0;  // PGs that refuse lower tokens now
  std::uint32_t silent = 0;  // that did not answer in time: they serve nobody at the moment
};

// done: fenced when a higher token than this is known somewhere; not_found: no such pool.
void sweep_fence(io::Executor& executor, Objecter& objecter, PoolId pool, const net::Fence& fence,
                 std::uint64_t timeout_ns, UniqueFunction<void(Status, SweepResult)> done);

}  // namespace cairn::objecter
