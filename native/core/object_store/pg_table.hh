// PgTable: the placement groups of the store, all in memory: which collection holds the objects,
// how many there are, and the part of the log that the key-value region does not have yet.
//
// A PG log is kept in segments of 64 entries, one key-value each: segment s has the entries
// 64 s to 64 s + 63 as far as they were appended. In memory are the changed segments, those that
// the last checkpoint wrote (it may be under way), and the last one. Memory: about 300 bytes a PG,
// its last segment, and the entries of two checkpoint periods.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/flat_map.hh"
#include "object_store/checkpoint_set.hh"
#include "object_store/keys.hh"
#include "object_store/object_store.hh"

namespace cairn::object_store {

constexpr std::uint64_t kSegmentEntries = 64;

// Entries [first, first + count), each as u32 length and the bytes.
struct LogSegment {
  std::uint64_t first = 0;
  std::uint32_t count = 0;
  bool is_dirty = false;
  std::vector<std::byte> bytes;

  void append(ByteSpan entry);
  // Keeps the entries below number.
  void cut(std::uint64_t number);
  std::string encode() const;
  static bool decode(std::string_view value, LogSegment& segment);
  // Adds the entries of [from, to) to the list.
  void list(std::uint64_t from, std::uint64_t to, std::vector<LogEntryBytes>& into) const;
};

class PgEntry final : public CheckpointEntry {
 public:
  explicit PgEntry(const PgId& id) : id_(id) {}
  void encode(kv::WriteBatch& batch) override;
  bool decode(std::string_view value);
  const PgId& id() const { return id_; }

  void append(std::uint64_t number, ByteSpan entry);
  void trim(std::uint64_t up_to_number);
  void rewind(std::uint64_t to_number);
  void reset(std::uint64_t first_number);
  // The PG is removed; what its collection has in the region is reclaimed by collection.
  void forget();
  // A checkpoint begins, and none is under way: what is clean is in the region, and may go.
  void begin_period();
  // The segment that rewind(to_number) cuts, when it is not in memory.
  std::optional<std::uint64_t> segment_to_rewind(std::uint64_t to_number) const;

  bool exists = false;
  // Born in this checkpoint period: an object that is not in memory is not on disk either.
  bool is_new = false;
  keys::Collection collection = 0;
  std::uint64_t newest_layer = 0;  // highest snapshot id of those made since the start
  std::uint64_t object_count = 0;
  // Of all its objects; a block that clones share counts for each. Not known of a PG that was
  // stored before this was counted.
  std::optional<std::uint64_t> data_blocks = 0;
  std::uint64_t log_first = 1;  // entries [log_first, log_next) are kept
  std::uint64_t log_next = 1;
  std::map<std::uint64_t, LogSegment> segments;  // by segment number

 private:
  void erase_segments(std::uint64_t first, std::uint64_t end);

  PgId id_;
  std::vector<std::uint64_t> erased_;  // segments that the region has to forget
};

class PgTable {
 public:
  // Null when the PG does not exist.
  PgEntry* find(const PgId& id);
  // The entry, existing or not; made when it is not there.
  PgEntry& entry(const PgId& id);
  template <typename Visit>
  void for_each(Visit visit) {
    entries_.for_each([&](const PgId&, const std::unique_ptr<PgEntry>& entry) {
      if (entry->exists) visit(*entry);
    });
  }
  // The moment of a checkpoint: what is born from now on is in the next period.
  void freeze() {
    entries_.for_each(
        [](const PgId&, const std::unique_ptr<PgEntry>& entry) { entry->begin_period(); });
  }

 private:
  // An entry stays where it is, and is never erased.
  FlatMap<PgId, std::unique_ptr<PgEntry>, PgIdHash> entries_;
  PgEntry* last_found_ = nullptr;  // a transaction asks for its PG several times
};

}  // namespace cairn::object_store
