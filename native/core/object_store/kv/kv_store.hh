// KvStore: the ordered key-value state of one OSD (object metadata, omap, PG log, PG meta), in a
// region of the OSD's data file. Keys and values are byte strings; keys are ordered by memcmp.
//
// Invariants
// - A batch is applied whole or not at all, also across a crash.
// - Operations take effect in the order of the calls: a get sees every apply called before it.
// - After a crash the state is that after some prefix of the applied batches, and the prefix holds
//   at least every batch up to the last one applied with sync = true whose completion said ok.
// - Every 4 KiB that is read back is checked (region_fs.hh says what detects which damage). Damage
//   gives ErrorCode::corrupt, never a wrong value or a missing key.
// - A region that is nearly full refuses batches with a put with no_space; reads work, and so do
//   batches of erases and those that allow_reserve(), out of a reserve that also pays for the
//   compactions that free the space.
// Not done here: a log of its own for unsynced batches (the OSD's WAL replays those), several
// writers, snapshots, iteration backwards.
//
// Modes
// - threaded: a worker thread makes the LevelDB calls in their order, a second one those of
//   the ..._settled() methods, and a third one compacts; completions come back through
//   Options::post_back. The disk's *_now methods are then called by three threads at the same time.
// - stepped: everything, compaction too, runs before the call returns, on the caller's thread (or,
//   where LevelDB waits for itself, in lock-step with a second one), in an order that depends on
//   nothing but the calls; completions are posted on the executor.
// All methods belong to the owner's thread. Completions run on the executor, never inside the
// call. Destroying the store finishes what was asked for; completions not yet run never run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.hh"
#include "base/unique_function.hh"
#include "io/disk.hh"
#include "io/executor.hh"

namespace leveldb {
class WriteBatch;
}

namespace cairn::kv {

// Puts and erases that are applied together, in the order given (the last one of a key counts).
class WriteBatch {
 public:
  WriteBatch();
  WriteBatch(WriteBatch&&) noexcept;
  WriteBatch& operator=(WriteBatch&&) noexcept;
  ~WriteBatch();

  // Copies key and value. A key must not be empty.
  void put(std::string_view key, std::string_view value);
  // Erasing a key that is not there is fine.
  void erase(std::string_view key);
  // Adds the operations of other behind these.
  void append(const WriteBatch& other);
  // By key, of each the last operation alone: what a big batch puts into LevelDB's memtable then
  // lies near what it has put there just before.
  void sort();
  void clear();
  bool empty() const { return operation_count_ == 0; }
  std::size_t operation_count() const { return operation_count_; }
  // The batch may use the reserve of a full region, because it makes room (an object's deletion,
  // with the log entry that says so) or must not fail.
  void allow_reserve() { reserve_allowed_ = true; }
  // It has a put and may not use the reserve.
  bool needs_room() const { return has_put_ && !reserve_allowed_; }
  // Encoded length, about the sum of the key and value lengths.
  std::size_t size_bytes() const;
  leveldb::WriteBatch& encoded() { return *encoded_; }

 private:
  std::unique_ptr<leveldb::WriteBatch> encoded_;
  std::size_t operation_count_ = 0;
  bool has_put_ = false;
  bool reserve_allowed_ = false;
};

using KeyValue = std::pair<std::string, std::string>;
using Values = std::vector<std::optional<std::string>>;  // none: no such key
using KeyRange = std::pair<std::string, std::string>;    // begin <= key < end
// Of several keys and ranges, in their order.
struct Found {
  Values values;
  std::vector<std::vector<KeyValue>> ranges;
};
using FindDone = UniqueFunction<void(Status, Found)>;
using GetDone = UniqueFunction<void(Status, Values)>;
using ScanDone = UniqueFunction<void(Status, std::vector<KeyValue>)>;
using ApplyDone = UniqueFunction<void(Status)>;

struct Options {
  bool threaded = false;
  // Threaded mode only, required there: runs the task on the owner's thread; is itself called from
  // the worker (Reactor::post_from_any_thread).
  std::function<void(io::Task)> post_back;
  // Memory per memtable, of which there can be two, and how much a reopen may have to replay. At
  // most 1/16 of the region is taken, above 8 MiB 1/32, and at least 64 KiB (LevelDB's floor).
  std::size_t write_buffer_bytes = std::size_t{8} << 20;
  // Threaded mode: a worker that has had nothing to do for so long gives memory back, that of
  // apply() makes a large memtable a table for it. Longer than from one checkpoint to the next
  // under load.
  std::uint64_t pause_ns = 10'000'000'000;
  // Memory for blocks of tables.
  std::size_t block_cache_bytes = std::size_t{8} << 20;
  // Allocation unit of the region, a multiple of 4096; open() needs the one of format().
  std::uint64_t unit_bytes = std::uint64_t{256} << 10;
  // format() only: any number that other stores do not have (random, or derived from the OSD's
  // uuid). It seeds the block checksums, so that blocks of an older store are not taken for ours.
  std::uint64_t nonce = 0;
};

// Small buffers for tests, stepped: 64 KiB of memtable and of cache, units of 4 KiB.
Options small_options();

struct Stats {
  std::uint64_t applies = 0;
  std::uint64_t synced_applies = 0;
  std::uint64_t gets = 0;  // keys
  std::uint64_t scans = 0;
  std::uint64_t refused_full = 0;  // batches refused with no_space before LevelDB saw them
  std::uint64_t disk_bytes_written = 0;
  std::uint64_t disk_bytes_read = 0;
  std::uint64_t disk_flushes = 0;
  std::uint64_t table_commits = 0;  // of the region's file table
  std::uint64_t used_bytes = 0;     // units allocated to files
  std::uint64_t free_bytes = 0;     // units free now or with the next commit
  std::uint64_t reserve_bytes = 0;  // of free_bytes, what puts may not use
};

class KvStore {
 public:
  // The smallest region that format() takes with this unit: 1 MiB and its file table.
  static std::uint64_t minimum_region_bytes(std::uint64_t unit_bytes);

  // Makes the region an empty store and opens it. Offset and length are multiples of 4096, inside
  // the disk. The disk and the executor outlive the store.
  // Errors: invalid_argument (region too small or misaligned, bad options), io_error.
  static Result<std::unique_ptr<KvStore>> format(io::BlockingDisk& disk,
                                                 std::uint64_t region_offset,
                                                 std::uint64_t region_length,
                                                 io::Executor& executor, Options options);
  // Opens what format() made there; blocks while it replays at most a few memtables.
  // Errors: corrupt (damage that cannot be healed, or no store), incompatible_version,
  // invalid_argument (another region length or unit than at format), no_space, io_error.
  static Result<std::unique_ptr<KvStore>> open(io::BlockingDisk& disk, std::uint64_t region_offset,
                                               std::uint64_t region_length, io::Executor& executor,
                                               Options options);

  virtual ~KvStore() = default;

  // Values in the order of the keys. Errors: corrupt, io_error (the values are then empty).
  virtual void get(std::vector<std::string> keys, GetDone done) = 0;
  // The first limit pairs with begin <= key < end, in key order; an empty end means no end.
  // Fewer than limit pairs: there are no more. Errors: corrupt, io_error.
  virtual void scan(std::string begin, std::string end, std::size_t limit, ScanDone done) = 0;
  // Applies the batch. Near the end of the region it may first compact everything. sync: this and
  // all earlier batches are durable when done says ok. Errors: no_space (nothing was applied),
  // io_error, corrupt (the store takes no more batches until it is reopened; whether this one is in
  // then is not known).
  virtual void apply(WriteBatch batch, bool sync, ApplyDone done) = 0;

  // As get() and scan(), but without waiting for what was called before: they see every batch whose
  // completion has run, and none completes between their look and their answer.
  virtual void get_settled(std::vector<std::string> keys, GetDone done) = 0;
  virtual void scan_settled(std::string begin, std::string end, std::size_t limit,
                            ScanDone done) = 0;
  // Several of both at once: the values of the keys and all pairs of the ranges.
  virtual void find_settled(std::vector<std::string> keys, std::vector<KeyRange> ranges,
                            FindDone done) = 0;

  // The same, blocking, after everything called before. For opening a store, tests and tools.
  virtual Result<Values> get_now(const std::vector<std::string>& keys) = 0;
  virtual Result<Found> find_now(const std::vector<std::string>& keys,
                                 const std::vector<KeyRange>& ranges) = 0;
  virtual Result<std::vector<KeyValue>> scan_now(std::string_view begin, std::string_view end,
                                                 std::size_t limit) = 0;
  virtual Status apply_now(WriteBatch batch, bool sync) = 0;

  // Bytes of the region that are allocated to files now.
  virtual std::uint64_t approximate_bytes() const = 0;
  // Bytes that puts may still use; 0: batches with puts are refused. Compaction can raise it.
  virtual std::uint64_t free_bytes() const = 0;
  virtual Stats stats() const = 0;
};

}  // namespace cairn::kv
