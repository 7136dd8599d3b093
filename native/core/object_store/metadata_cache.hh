// MetadataCache: headers, block maps and reference counts in memory, bounded by bytes.
//
// Invariants
// - The header of an object is in the cache, or nothing of it; a shard is loaded when it is first
//   needed, with all others of the object while there is room. "No such object" is cached too.
// - What makes room, in this order: clean shards are packed (shard.hh); an object that was not used
//   since then goes or, if it is dirty, its packed shards. If it has few shards it rests first,
//   with them in one piece: one with one block takes less than half then. Half of the limit is for
//   those that rest; find() brings them back. In a pause big ones rest too.
// - A dirty shard, and a dirty or pinned object, stays. Dirty entries are bounded by what one WAL
//   can hold, so the cache is bounded by its limit and what was changed since the last checkpoint:
//   about 450 bytes for each shard, 500 for each object.
// - Shards are packed and forgotten by evict(), shrink() and rest_unused() alone: between them a
//   Shard stays where it is.
// - A use is a mark on the entry and does not move it in the list: its neighbours are cold memory.
//   Whoever has the mark when his turn to go comes loses it, and goes to the end.
// - Values that come late from the region never replace an entry that is there.
// Knows no disk: the Loader fills it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/flat_map.hh"
#include "object_store/metadata.hh"

namespace cairn::object_store {

class MetadataCache {
 public:
  explicit MetadataCache(std::uint64_t limit_bytes) : limit_bytes_(limit_bytes) {
    for (Onode* list : {&list_, &resting_}) list->newer = list->older = list;
  }
  MetadataCache(const MetadataCache&) = delete;
  MetadataCache& operator=(const MetadataCache&) = delete;

  // The object, null when it is not in memory. Counts as a use.
  Onode* find(const ObjectKey& key);
  // A new entry for an object that is not in memory; it does not exist yet.
  Onode& insert(const ObjectKey& key);
  // The shard, made with absent blocks when it is not in memory.
  Shard& make_shard(Onode& onode, std::uint32_t index);

  ReferenceChunk* find_references(std::uint32_t physical) const;
  ReferenceChunk& make_references(std::uint32_t physical);

  // Lets entries go that were not used since they were last looked at, until the limit holds.
  void evict();
  // The same, with so many looks. False: the limit holds, or nothing of what it has seen may go.
  bool shrink(std::size_t most_looks);
  // Lets clean objects rest, of whatever size, that were not used since they were last looked at:
  // for a pause. Takes the time of so many looks at most, and says how many it has looked at.
  std::size_t rest_unused(std::size_t most_looks);
  // Objects that do not rest.
  std::size_t awake_count() const { return awake_count_; }
  std::uint64_t used_bytes() const { return used_bytes_; }
  // For more than what is asked for.
  bool has_room() const { return used_bytes_ < limit_bytes_ / 4 * 3; }

 private:
  // A key with its hash, so that a look-up goes to no other entry than the one it wants.
  struct HashedKey {
    HashedKey() = default;
    explicit HashedKey(const ObjectKey& of)
        : hash(std::hash<std::string_view>{}(of.name) ^ (of.snap * 0x9e3779b97f4a7c15ULL) ^
               (of.collection * 0xff51afd7ed558ccdULL)),
          key(&of) {}
    bool operator==(const HashedKey& other) const {
      return hash == other.hash && *key == *other.key;
    }
    std::size_t hash = 0;
    const ObjectKey* key = nullptr;
  };
  struct HashOf {
    std::size_t operator()(const HashedKey& key) const { return key.hash; }
  };
  static bool must_stay_awake(const Onode& onode);
  static void unlink(Onode& onode);
  static void link_newest(Onode& list, Onode& onode);
  void drop(Onode& onode);
  void rest(Onode& onode);
  void wake(Onode& onode);

  const std::uint64_t limit_bytes_;
  std::uint64_t used_bytes_ = 0;
  // The key is the entry's own.
  FlatMap<HashedKey, std::unique_ptr<Onode>, HashOf> onodes_;
  Onode* last_found_ = nullptr;  // a transaction asks for its object several times
  // newer: the next to be looked at; older: the last.
  Onode list_{0, {}, 0};
  Onode resting_{0, {}, 0};  // clean, unpinned, packed if they have shards
  std::uint64_t resting_bytes_ = 0;
  std::size_t awake_count_ = 0;
  std::uint64_t look_again_bytes_ = 0;  // below, evict() does nothing
  std::unordered_map<std::uint32_t, std::unique_ptr<ReferenceChunk>> references_;
};

}  // namespace cairn::object_store
