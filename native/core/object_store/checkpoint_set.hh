// CheckpointSet: which pieces of metadata in memory are newer than the key-value region, and the
// exact picture of one moment of them that a checkpoint writes while changes go on.
//
// Invariants
// - Whoever changes an entry calls touch() first.
// - freeze() fixes the moment: the batch gets the content that each entry had then. An entry that
//   is changed afterwards, before its turn has come, is encoded by touch() (copy on write), so
//   freezing costs nothing and encoding goes in slices.
// - Named values that are in no cache (omap, PG metadata, notes) wait in two ordered maps, one for
//   the next checkpoint and one for the running one.
// - What has been frozen stays here until finish_some(), that is until the region has it; a reader
//   that looks here after the region's answer has come misses nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "object_store/kv/kv_store.hh"

namespace cairn::object_store {

class CheckpointEntry {
 public:
  virtual ~CheckpointEntry() = default;
  virtual void encode(kv::WriteBatch& batch) = 0;
  // Entries with the same number, other than 0, can be asked for (for_each_dirty_of).
  virtual std::uint64_t group() const { return 0; }
  bool is_dirty() const { return dirty_period_ != 0; }

 protected:
  CheckpointEntry() = default;
  CheckpointEntry(const CheckpointEntry&) = delete;
  CheckpointEntry& operator=(const CheckpointEntry&) = delete;
  // Counts the dirty parts of what must stay in memory together with this entry.
  std::uint32_t* dirty_count_ = nullptr;

 private:
  friend class CheckpointSet;
  std::uint32_t dirty_period_ = 0;  // 0: clean
  bool encoded_ = false;
};

class CheckpointSet {
 public:
  using PendingValues = std::map<std::string, std::optional<std::string>, std::less<>>;

  // Before each change of the entry, which must outlive its being dirty.
  void touch(CheckpointEntry& entry) {
    if (entry.dirty_period_ == period_) return;
    touch_slowly(entry);
  }
  void put(std::string key, std::string value);
  void erase(std::string key);
  // Keeps an entry that nobody else owns any more until the region has its last content.
  void adopt(std::unique_ptr<CheckpointEntry> entry) { orphans_.push_back(std::move(entry)); }

  bool has_changes() const { return !active_.empty() || !values_.empty(); }
  bool is_frozen() const { return is_frozen_; }
  std::size_t active_count() const { return active_.size() + values_.size(); }

  void freeze();
  // Encodes up to count frozen entries; true: all are in the batch.
  bool encode_some(std::size_t count);
  // All that was frozen, for the region; may be moved away.
  kv::WriteBatch& batch() { return batch_; }
  // The region has the batch. Cleans up to count entries; true: the set is thawed.
  bool finish_some(std::size_t count);

  // The pending value of a key: none: nothing pending; an empty inner optional: erased.
  const std::optional<std::string>* find(std::string_view key) const;
  // Copies what is pending in [begin, end) over into.
  void overlay(std::string_view begin, std::string_view end, PendingValues& into) const;
  // Calls visit(CheckpointEntry&) for each dirty entry of the group, for some twice.
  template <typename Visit>
  void for_each_dirty_of(std::uint64_t group, Visit visit) const {
    for (const Groups* groups : {&frozen_groups_, &active_groups_}) {
      const auto found = groups->find(group);
      if (found == groups->end()) continue;
      for (CheckpointEntry* entry : found->second) visit(*entry);
    }
  }

 private:
  using Groups = std::unordered_map<std::uint64_t, std::vector<CheckpointEntry*>>;
  void touch_slowly(CheckpointEntry& entry);

  std::uint32_t period_ = 1;
  bool is_frozen_ = false;
  std::size_t position_ = 0;  // in frozen_, of encoding, then of finishing
  std::vector<CheckpointEntry*> active_;
  std::vector<CheckpointEntry*> frozen_;
  // Those of them that have a group.
  Groups active_groups_;
  Groups frozen_groups_;
  PendingValues values_;
  PendingValues frozen_values_;
  std::vector<std::unique_ptr<CheckpointEntry>> orphans_;
  std::vector<std::unique_ptr<CheckpointEntry>> frozen_orphans_;
  kv::WriteBatch batch_;
};

}  // namespace cairn::object_store
