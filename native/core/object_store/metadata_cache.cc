// The cache's list and its accounts.
#include "object_store/metadata_cache.hh"

#include <algorithm>
#include <utility>

namespace cairn::object_store {

namespace {

// A chunk, its table entry and the allocator's own bytes.
constexpr std::uint64_t kReferenceChunkCharge = sizeof(ReferenceChunk) + 64;
constexpr std::size_t kLookedAt = 16;
// What has more than a few shards does not rest while others need room: the first who wants one
// would wake all.
constexpr std::uint64_t kMostRestingBytes = 8192;
// Packing so many shards takes as long as a look.
constexpr std::size_t kChangedInLook = 4;
// The cache grows by such a part of its limit before it is looked at again.
constexpr std::uint64_t kGrowthsInLimit = 256;

}  // namespace

bool MetadataCache::must_stay_awake(const Onode& onode) {
  return onode.dirty_parts > 0 || onode.is_dirty() || onode.pins > 0;
}

void MetadataCache::unlink(Onode& onode) {
  onode.newer->older = onode.older;
  onode.older->newer = onode.newer;
}

void MetadataCache::link_newest(Onode& list, Onode& onode) {
  onode.newer = &list;
  onode.older = list.older;
  list.older->newer = &onode;
  list.older = &onode;
}

void MetadataCache::drop(Onode& onode) {
  unlink(onode);
  used_bytes_ -= onode.charged_bytes();
  if (!onode.is_resting) --awake_count_;
  if (last_found_ == &onode) last_found_ = nullptr;
  onodes_.erase(HashedKey(onode.key()));
}

void MetadataCache::rest(Onode& onode) {
  onode.rest();
  onode.is_resting = true;
  --awake_count_;
  resting_bytes_ += onode.charged_bytes();
  link_newest(resting_, onode);
}

void MetadataCache::wake(Onode& onode) {
  unlink(onode);
  onode.is_resting = false;
  ++awake_count_;
  resting_bytes_ -= onode.charged_bytes();
  onode.wake();
  link_newest(list_, onode);
}

Onode* MetadataCache::find(const ObjectKey& key) {
  if (last_found_ == nullptr || last_found_->key() != key) {
    const std::unique_ptr<Onode>* const found = onodes_.find(HashedKey(key));
    if (found == nullptr) return nullptr;
    last_found_ = found->get();
  }
  last_found_->is_used = true;
  if (last_found_->is_resting) wake(*last_found_);
  return last_found_;
}

Onode& MetadataCache::insert(const ObjectKey& key) {
  auto onode = std::make_unique<Onode>(key.collection, std::string(key.name), key.snap);
  Onode& result = *onode;
  std::unique_ptr<Onode>& place = onodes_[HashedKey(result.key())];
  CAIRN_ASSERT(place == nullptr);
  place = std::move(onode);
  link_newest(list_, result);
  ++awake_count_;
  result.charge_to(&used_bytes_);
  result.recharge();
  return result;
}

Shard& MetadataCache::make_shard(Onode& onode, std::uint32_t index) {
  CAIRN_ASSERT(onode.exists && index < kMaxObjectBlocks / kShardBlocks);
  if (Shard* shard = onode.shard(index); shard != nullptr) return *shard;
  return onode.add_shard(index);
}

ReferenceChunk* MetadataCache::find_references(std::uint32_t physical) const {
  const auto found = references_.find(physical / kReferenceChunkBlocks);
  return found == references_.end() ? nullptr : found->second.get();
}

ReferenceChunk& MetadataCache::make_references(std::uint32_t physical) {
  const std::uint32_t index = physical / kReferenceChunkBlocks;
  std::unique_ptr<ReferenceChunk>& chunk = references_[index];
  if (!chunk) {
    chunk = std::make_unique<ReferenceChunk>(index);
    used_bytes_ += kReferenceChunkCharge;
  }
  return *chunk;
}

void MetadataCache::evict() {
  // While all that is looked at must stay there is no sense in looking at each call.
  if (used_bytes_ < look_again_bytes_) return;
  const bool must_stay =
      used_bytes_ > limit_bytes_ && !shrink(kLookedAt) && used_bytes_ > limit_bytes_;
  look_again_bytes_ = must_stay ? used_bytes_ + limit_bytes_ / kGrowthsInLimit : 0;
}

bool MetadataCache::shrink(std::size_t most_looks) {
  // Entries that must stay go to the newest end; only so many are looked at in one call, so that
  // its cost stays constant when most are dirty or used.
  std::size_t left = std::min(onodes_.size(), most_looks);
  bool must_stay = true;
  for (; used_bytes_ > limit_bytes_ && left > 0; --left) {
    if (resting_bytes_ > limit_bytes_ / 2) {
      must_stay = false;
      Onode& oldest = *resting_.newer;
      resting_bytes_ -= oldest.charged_bytes();
      drop(oldest);
      continue;
    }
    if (list_.newer == &list_) break;
    Onode& oldest = *list_.newer;
    unlink(oldest);
    const bool was_used = std::exchange(oldest.is_used, false);
    const bool stays = must_stay_awake(oldest);
    const bool is_big = oldest.charged_bytes() > kMostRestingBytes;
    std::size_t changed = stays || was_used || is_big ? oldest.pack_shards() : 0;
    if (changed == 0 && stays && !was_used && oldest.pins == 0)
      changed = oldest.forget_packed_shards();
    left -= std::min(left - 1, changed / kChangedInLook);
    must_stay = must_stay && stays && changed == 0;
    if (stays || was_used || changed > 0) {
      link_newest(list_, oldest);
    } else if (is_big) {
      link_newest(list_, oldest);
      drop(oldest);
    } else {
      rest(oldest);
    }
  }
  left = kLookedAt;
  for (auto at = references_.begin();
       used_bytes_ > limit_bytes_ && at != references_.end() && left > 0; --left) {
    if (at->second->is_dirty()) {
      ++at;
      continue;
    }
    must_stay = false;
    used_bytes_ -= kReferenceChunkCharge;
    at = references_.erase(at);
  }
  return used_bytes_ > limit_bytes_ && !must_stay;
}

std::size_t MetadataCache::rest_unused(std::size_t most_looks) {
  std::size_t seen = 0;
  for (std::size_t left = most_looks; left > 0 && list_.newer != &list_; --left) {
    Onode& oldest = *list_.newer;
    unlink(oldest);
    ++seen;
    const bool was_used = std::exchange(oldest.is_used, false);
    if (was_used || must_stay_awake(oldest)) {
      link_newest(list_, oldest);
      continue;
    }
    left -= std::min(left - 1, std::size_t{oldest.shard_end()} / kChangedInLook);
    rest(oldest);
  }
  return seen;
}

}  // namespace cairn::object_store
