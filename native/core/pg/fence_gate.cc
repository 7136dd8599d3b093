// The gate's fencing: an operation that carries a token passes only when that token is durable on
// the whole acting set and no higher one has been seen. The table of fence.hh judges; here is what
// follows from it.
#include <utility>

#include "pg/pg.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

bool Pg::held_by_fence(ClientOp& op) {
  if (op.request.object == kFenceObject) {
    refuse(op, ErrorCode::permission_denied, "this name is the PG's own");
    return true;
  }
  if (host_.blocklisted(op.request.id.client)) {
    ++counters_.refused_fenced;
    refuse(op, ErrorCode::blocklisted, "this client is on the cluster's blocklist");
    return true;
  }
  const net::Fence fence = op.request.fence;
  if (fence.token == 0) return false;
  // Behind those that wait for the same image, so that they keep their order.
  const auto waiting = waiting_for_fence_.find(fence.key);
  switch (fence_.judge(fence)) {
    case FenceTable::Verdict::serve:
      return false;
    case FenceTable::Verdict::refuse:
      refuse_fenced(op);
      return true;
    case FenceTable::Verdict::wait:
      CAIRN_ASSERT(waiting != waiting_for_fence_.end());
      waiting->second.push_back(std::move(op));
      return true;
    case FenceTable::Verdict::load:
      // The fence object's highest token has to be known here before anything is served by it.
      if (missing_.contains(kFenceObject)) {
        wait_for_object(kFenceObject, std::move(op));
        return true;
      }
      op.slot.release();
      waiting_for_fence_[fence.key].push_back(std::move(op));
      load_fence(fence.key);
      return true;
    case FenceTable::Verdict::raise:
      // No write while a member lacks the object, as for every object.
      if (object_is_missing_anywhere(kFenceObject)) {
        wait_for_object(kFenceObject, std::move(op));
        return true;
      }
      op.slot.release();
      waiting_for_fence_[fence.key].push_back(std::move(op));
      raise_fence(fence);
      return true;
  }
  return false;
}

void Pg::refuse_fenced(const ClientOp& op) {
  ++counters_.refused_fenced;
  refuse(op, ErrorCode::fenced, "another client has taken the image's lock over");
}

void Pg::load_fence(const std::string& key) {
  fence_.load_started(key);
  host_.store().omap_get(
      id_, object_id(kFenceObject), {key}, {}, {}, 1,
      [this, key, interval = spec_.interval](
          Status status, bool, std::vector<std::pair<std::string, std::string>> values) {
        // A new interval has answered those that waited, and knows nothing of this table.
        if (!current(interval)) return;
        std::uint64_t token = 0;
        if (status && !values.empty()) {
          auto decoded = decode_token(values.front().second);
          if (decoded) {
            token = *decoded;
          } else {
            status = decoded.status();
          }
        }
        if (status) {
          fence_.loaded(key, token);
          return release_fenced(key);
        }
        fence_.load_failed(key);
        const ErrorCode code = refusal_of(kFenceObject, status);
        for (ClientOp& op : take_fenced(key)) refuse(op, code, status.message());
      });
}

void Pg::raise_fence(const net::Fence& fence) {
  fence_.raise_started(fence);
  ClientOp raise;
  raise.request.object = kFenceObject;
  raise.request.steps = {{StepCode::omap_set, 0, 0, fence.key, encode_token(fence.token)}};
  raise.arrived_ns = host_.executor().now_ns();
  raise.committed = [this, fence] {
    fence_.raised(fence);
    release_fenced(fence.key);
  };
  commit_write(std::move(raise), {}, {});
}

std::deque<ClientOp> Pg::take_fenced(const std::string& key) {
  auto node = waiting_for_fence_.extract(key);
  return node ? std::move(node.mapped()) : std::deque<ClientOp>();
}

void Pg::release_fenced(const std::string& key) {
  for (ClientOp& op : take_fenced(key)) admit(std::move(op));
}

}  // namespace cairn::pg
