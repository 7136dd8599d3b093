// The two periods of dirty metadata: the running one, and the frozen one of a checkpoint.
#include "object_store/checkpoint_set.hh"

#include <algorithm>

#include "base/assert.hh"

namespace cairn::object_store {

// Entries lie anywhere in memory: those that come soon are fetched while others are encoded.
constexpr std::size_t kFetchAhead = 4;

void CheckpointSet::touch_slowly(CheckpointEntry& entry) {
  if (entry.dirty_period_ == 0) {
    if (entry.dirty_count_ != nullptr) ++*entry.dirty_count_;
  } else if (!entry.encoded_) {
    entry.encode(batch_);
  }
  entry.dirty_period_ = period_;
  entry.encoded_ = false;
  active_.push_back(&entry);
  if (const std::uint64_t group = entry.group(); group != 0)
    active_groups_[group].push_back(&entry);
}

void CheckpointSet::put(std::string key, std::string value) {
  values_.insert_or_assign(std::move(key), std::move(value));
}

void CheckpointSet::erase(std::string key) {
  values_.insert_or_assign(std::move(key), std::nullopt);
}

void CheckpointSet::freeze() {
  CAIRN_ASSERT(!is_frozen_);
  is_frozen_ = true;
  ++period_;
  position_ = 0;
  frozen_.swap(active_);
  frozen_groups_.swap(active_groups_);
  frozen_values_.swap(values_);
  frozen_orphans_.swap(orphans_);
}

bool CheckpointSet::encode_some(std::size_t count) {
  CAIRN_ASSERT(is_frozen_);
  const std::size_t end = std::min(frozen_.size(), position_ + count);
  for (; position_ < end; ++position_) {
    if (position_ + kFetchAhead < frozen_.size())
      __builtin_prefetch(frozen_[position_ + kFetchAhead]);
    CheckpointEntry& entry = *frozen_[position_];
    if (entry.dirty_period_ == period_ || entry.encoded_) continue;
    entry.encode(batch_);
    entry.encoded_ = true;
  }
  if (position_ < frozen_.size()) return false;
  for (const auto& [key, value] : frozen_values_) {
    if (value)
      batch_.put(key, *value);
    else
      batch_.erase(key);
  }
  position_ = 0;
  return true;
}

bool CheckpointSet::finish_some(std::size_t count) {
  CAIRN_ASSERT(is_frozen_);
  // A clean entry may be gone before the last slice.
  frozen_groups_.clear();
  const std::size_t end = std::min(frozen_.size(), position_ + count);
  for (; position_ < end; ++position_) {
    CheckpointEntry& entry = *frozen_[position_];
    if (entry.dirty_period_ == period_) continue;
    entry.dirty_period_ = 0;
    if (entry.dirty_count_ != nullptr) --*entry.dirty_count_;
  }
  if (position_ < frozen_.size()) return false;
  frozen_.clear();
  frozen_values_.clear();
  frozen_orphans_.clear();
  batch_ = {};
  is_frozen_ = false;
  return true;
}

const std::optional<std::string>* CheckpointSet::find(std::string_view key) const {
  for (const PendingValues* values : {&values_, &frozen_values_})
    if (const auto found = values->find(key); found != values->end()) return &found->second;
  return nullptr;
}

void CheckpointSet::overlay(std::string_view begin, std::string_view end,
                            PendingValues& into) const {
  for (const PendingValues* values : {&frozen_values_, &values_})
    for (auto at = values->lower_bound(begin); at != values->end() && at->first < end; ++at)
      into.insert_or_assign(at->first, at->second);
}

}  // namespace cairn::object_store
