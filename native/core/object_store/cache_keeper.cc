// The slices of the cache's keeper.
#include "object_store/cache_keeper.hh"

#include <algorithm>
#include <utility>

namespace cairn::object_store {

namespace {

constexpr std::size_t kLooksPerSlice = 256;  // 0.1 ms, or 0.6 if all of it is packing
// Fewer from one call to the next are a pause: a guest that does nothing still writes its log.
constexpr std::uint64_t kPauseOperations = 100;

}  // namespace

void CacheKeeper::shrink() {
  owes_shrink_ = state_.is_loading;
  if (owes_shrink_ || is_shrinking_ || !state_.cache.shrink(kLooksPerSlice)) return;
  is_shrinking_ = true;
  state_.executor.post([this, alive = std::weak_ptr(state_.lifetime)] {
    if (alive.expired()) return;
    is_shrinking_ = false;
    shrink();
  });
}

void CacheKeeper::loaded() {
  if (owes_shrink_ && !state_.is_loading) shrink();
}

void CacheKeeper::release(std::uint64_t operations) {
  const std::uint64_t since = operations - std::exchange(operations_, operations);
  if (since >= kPauseOperations || rest_left_ > 0) return;
  rest_left_ = state_.cache.awake_count();
  rest();
}

void CacheKeeper::rest() {
  // The next call takes up what a load has stopped.
  if (state_.is_loading) rest_left_ = 0;
  const std::size_t looks = std::min(rest_left_, kLooksPerSlice);
  rest_left_ -= std::min(rest_left_, state_.cache.rest_unused(looks));
  if (state_.cache.awake_count() == 0) rest_left_ = 0;
  if (rest_left_ == 0) return Shard::release_slabs();
  state_.executor.post([this, alive = std::weak_ptr(state_.lifetime)] {
    if (!alive.expired()) rest();
  });
}

}  // namespace cairn::object_store
