// Database: LevelDB on a RegionFs, with the settings that Cairn needs, as plain blocking calls.
// One thread at a time calls it, and beside it another one get(), scan() and find() unless all is
// stepped; it keeps the reserve that erases and compactions need.
//
// The reserve. A compaction writes its outputs before its inputs are given back, so a batch with a
// put is only taken while there is room for
//   two write buffers (the log that grows, the memtable that becomes a table),
//   the outputs of one compaction: at most what is stored, and at most kMaxLevel0Tables write
//     buffers plus kMaxCompactionTables table files, and
//   kReserveFiles units, because a file's last unit is seldom full.
// Erases go on inside the reserve. LevelDB compacts because of what is written, not because of what
// could be freed; so a batch that is about to be refused first has everything compacted, if there
// were enough operations since the last time that it can pay.
#pragma once

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "object_store/kv/kv_store.hh"
#include "object_store/kv/region_env.hh"
#include "object_store/kv/region_fs.hh"

namespace cairn::kv {

// LevelDB's config::kL0_StopWritesTrigger: writes wait when there are so many.
constexpr std::uint64_t kMaxLevel0Tables = 12;
// LevelDB's limit of an expanded compaction, ExpandedCompactionByteSizeLimit().
constexpr std::uint64_t kMaxCompactionTables = 25;
constexpr std::uint64_t kReserveFiles = 8;
// What a memtable may have and stay in memory through a pause.
constexpr std::size_t kRestingMemtableBytes = std::size_t{2} << 20;
// A full compaction pays when the operations since the last one may have freed a sixteenth of what
// is stored, at half a KiB each.
constexpr std::uint64_t kBytesCompactedPerOperation = 16 * 512;

class Database {
 public:
  // Opens the database in the file system; with create, makes an empty one there.
  static Result<std::unique_ptr<Database>> open(std::unique_ptr<RegionFs> fs,
                                                const Options& options, std::uint64_t region_bytes,
                                                bool create);
  // Makes the unsynced batches durable as well, if it can.
  ~Database();

  Result<Values> get(const std::vector<std::string>& keys);
  Result<std::vector<KeyValue>> scan(std::string_view begin, std::string_view end,
                                     std::size_t limit);
  // All pairs of the ranges.
  Result<Found> find(const std::vector<std::string>& keys, const std::vector<KeyRange>& ranges);
  Status apply(WriteBatch& batch, bool sync);
  // In a pause of apply(), threaded: a large memtable is made a table, once until the next apply().
  // Its memory goes back to the system with what else the heaps have free.
  void give_back();

  // From any thread:
  std::uint64_t used_bytes() const { return fs_->used_bytes(); }
  // Without the reserve.
  std::uint64_t free_bytes() const;
  Stats stats() const;

 private:
  Database(std::unique_ptr<RegionFs> fs, const Options& options, std::uint64_t region_bytes);
  std::uint64_t reserve_bytes() const;
  void run_background_work();
  bool has_room_for(const WriteBatch& batch) const;
  // Compacts everything; false: not enough has changed since the last time.
  bool compact();
  std::size_t memtable_bytes() const;

  const bool threaded_;
  const std::size_t write_buffer_bytes_;
  const std::size_t table_bytes_;
  const std::uint64_t unit_bytes_;
  // Destroyed from the last to the first: the database before what it uses.
  std::unique_ptr<RegionFs> fs_;
  std::unique_ptr<RegionEnv> env_;
  std::unique_ptr<leveldb::Cache> block_cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::DB> db_;

  // Since the last full compaction; what was done before the store was opened is not known.
  std::uint64_t operations_since_compaction_ = ~std::uint64_t{0} >> 1;
  bool has_flushed_ = false;  // since the last apply(), by give_back()
  std::atomic<std::uint64_t> applies_{0};
  std::atomic<std::uint64_t> synced_applies_{0};
  std::atomic<std::uint64_t> gets_{0};
  std::atomic<std::uint64_t> scans_{0};
  std::atomic<std::uint64_t> refused_full_{0};
};

}  // namespace cairn::kv
