// ObjectStore: one OSD's objects on one data file or block device (docs/format/object-store.md).
//
// Purpose: durable, atomic transactions over objects (4 KiB blocks and key-values), PG logs and PG
// metadata, with one write-ahead log for all of them.
//
// Invariants
//  - Transactions become durable in the order of submit(), each whole or not at all; on_durable
//  runs
//    in that order and only once the transaction would survive a power cut.
//  - A submitted transaction is visible to reads at once. What may be shown to whom is the PG
//    gate's matter.
//  - A block that a read returns has been checked against its checksum, which is seeded with the
//    object's pool and name, the block's index and the version that wrote it, and is kept away from
//    the data: a flipped, misdirected or lost write is a checksum_mismatch, never data.
//  - After an error of a write or flush the store is failed: it accepts nothing more and
//  acknowledges
//    nothing more, for a failed fsync must not be retried as if it could still succeed. So it is
//    when metadata cannot be read that a transaction needs.
//  - An error of a read is that read's alone: io_error of the medium, checksum_mismatch or corrupt
//    of what it gave. Another copy can serve it, and mend this one by write_checked.
//  - A full disk refuses growth whole, before anything of it is logged, and keeps a reserve: what
//    frees space is always taken.
//
// Memory: 2 bits a block of the data area (64 MiB a TiB). Nothing per stored object: what is known
// of objects is cached, up to metadata_cache_bytes. Beside it, until the next checkpoint: the data
// that waits for its place (pending_data_bytes, at most the WAL's length), about 450 bytes for each
// 64 KiB piece of an object that was changed, and the new entries of the PG logs.
//
// It does not replicate, order clients, or know what a PG log entry means.
// One executor owns a store; all callbacks run on it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/buffer.hh"
#include "base/histogram.hh"
#include "base/ids.hh"
#include "base/status.hh"
#include "base/unique_function.hh"
#include "io/disk.hh"
#include "io/executor.hh"

namespace cairn::object_store {

using Uuid = std::array<std::uint8_t, 16>;

// Who a store belongs to; written at format(), checked at open().
struct Identity {
  Uuid cluster{};
  OsdId osd = kNoOsd;
  Uuid store{};  // random per format
};

struct Geometry {
  std::uint64_t wal_bytes = std::uint64_t{128} << 20;
  // Region of the key-value store; 0: 2 % of the disk, but at least 256 MiB or an eighth of a
  // smaller disk, and never below 64 MiB.
  std::uint64_t kv_bytes = 0;
  std::uint64_t kv_unit_bytes = std::uint64_t{256} << 10;
};

struct Options {
  // Writes of at least this many bytes go to fresh blocks first, smaller ones through the WAL.
  std::uint64_t large_write_bytes = std::uint64_t{64} << 10;
  // A checkpoint starts when so many bytes of data wait in memory for their place on the disk (or
  // when half of the WAL is used, or after two seconds without a write).
  std::uint64_t pending_data_bytes = std::uint64_t{48} << 20;
  // And when it would write so many bytes of metadata, or a sixteenth of their region. Random small
  // writes come to half of that with the data; big ones take 2 GiB. What is left for the pause
  // behind a fill then costs 25 ms of CPU at most.
  std::uint64_t pending_metadata_bytes = std::uint64_t{6} << 20;
  // And when half of the stored data, and so many bytes more, have been released. Big writes that
  // overwrite in order release as much as they take: so they have room to use again, and the file
  // of a small store stays small.
  std::uint64_t released_bytes = std::uint64_t{256} << 20;
  // Smaller overwrites move to free runs of at least so many blocks, at most 1024, where there are
  // some (redirector.hh); 0: they stay in their place.
  std::uint32_t redirect_run_blocks = 8;
  // Released blocks are discarded by so many at a time (discarder.hh), 16 MiB, when nobody has used
  // them again for so long. At 1 GiB/s big writes use all of it again where a checkpoint releases
  // up to 3 GiB, of a store with 5 GiB of data; of a larger one a part.
  std::uint32_t discard_piece_blocks = 4096;
  std::uint64_t discard_rest_ns = 3'000'000'000;
  // Behind a long group of transactions the next one waits until it has as many, at most so long:
  // a record costs about the same for few as for many. 0: never. The log decides what is long.
  std::uint64_t group_wait_ns = 0;
  std::uint64_t metadata_cache_bytes = std::uint64_t{32} << 20;
  // Of a region below 512 MiB less: kv_store.hh.
  std::uint64_t kv_write_buffer_bytes = std::uint64_t{16} << 20;
  std::uint64_t kv_block_cache_bytes = std::uint64_t{8} << 20;
  bool threaded_kv = true;  // false: stepped, for simulation
  // Brings a task of the key-value store's thread back to the executor; needed when threaded_kv.
  std::function<void(io::Task)> post_back;
  // One line for an operator: level "info" | "warn" | "error".
  std::function<void(const char* level, const std::string& text)> log;
};

enum class BlockState : std::uint8_t { absent = 0, zero = 1, data = 2 };

// What is known of one 4 KiB block without reading it.
struct BlockInfo {
  BlockState state = BlockState::absent;
  std::uint32_t crc = 0;  // of a data block, seeded; equal on every copy
  Version version;        // of the write that made it data or zero
  bool operator==(const BlockInfo&) const = default;
};

// The checksum kept for a data block: CRC-32C over (pool u32, name, block index u32, version.epoch
// u32, version.number u64; little-endian), then the 4096 bytes.
std::uint32_t block_checksum(PoolId pool, std::string_view name, std::uint32_t block_index,
                             const Version& version, ByteSpan block);

// Of an object's attribute: a small value that is read and written with the object's header.
constexpr std::size_t kMaxAttrBytes = std::size_t{16} << 10;

struct ReadResult {
  bool exists = false;
  Version version;                // of the last transaction that touched the object
  std::string attr;               // a read of length 0 costs the header alone
  Buffer data;                    // the asked bytes; zero and absent blocks are zeros
  std::vector<BlockInfo> blocks;  // one per block touched, when asked for
};

struct ObjectInfo {
  bool exists = false;
  Version version;
  std::string attr;
  std::uint32_t block_count = 0;  // index of the last block that is not absent, plus one
  std::vector<BlockInfo> blocks;  // [0, block_count)
  std::vector<std::pair<std::string, std::string>> omap;  // sorted by key
};

struct ListedObject {
  ObjectId id;
  Version version;
  std::string attr;
};

// A list of changes that become durable together. Offsets and lengths of data are multiples of
// 4096 and end within kMaxObjectBytes. Objects come into being by their first change.
class Transaction {
 public:
  struct Op;

  // version: of the PG log entry that this change belongs to; it becomes the version of the blocks
  // and of the object.
  void write(PgId pg, const ObjectId& object, std::uint64_t offset, Buffer data, Version version);
  // As write, for a block that comes from another copy: the checksum is checked, not made, and a
  // mismatch refuses the transaction. object version stays; see set_object_version.
  void write_checked(PgId pg, const ObjectId& object, std::uint64_t offset, Buffer data,
                     const std::vector<BlockInfo>& blocks);
  // Makes blocks explicit zeros (they read as zeros and hide a clone's parent).
  void write_zeroes(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
                    Version version);
  // Makes blocks absent.
  void punch(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
             Version version);
  // An object without any data (exists afterwards).
  void touch(PgId pg, const ObjectId& object, Version version);
  void remove(PgId pg, const ObjectId& object);
  // to becomes a copy of from that shares its blocks (reference counted); to's former content goes.
  // The attribute is not copied: to has none.
  void clone(PgId pg, const ObjectId& from, const ObjectId& to, Version version);
  // The blocks of a range of `to` become those of `from`, shared, with their versions; all else of
  // `to` stays. Both have one name, as for clone.
  void share(PgId pg, const ObjectId& from, const ObjectId& to, std::uint64_t offset,
             std::uint64_t length, Version version);
  void omap_set(PgId pg, const ObjectId& object, std::string key, std::string value,
                Version version);
  void omap_remove(PgId pg, const ObjectId& object, std::string key, Version version);
  void omap_clear(PgId pg, const ObjectId& object, Version version);
  void set_object_version(PgId pg, const ObjectId& object, Version version);
  // Opaque here; at most kMaxAttrBytes, empty: none.
  void set_attr(PgId pg, const ObjectId& object, std::string attr, Version version);
  // The object, this name and snapshot, belongs from now on to `to`, another PG of the same pool:
  // with its blocks, omap, attribute and version. Nothing is copied, and blocks that it shares stay
  // shared. Nothing happens when `from` has no such object, so a move may be repeated; one that
  // `to` has already goes first, as by remove().
  void move(PgId from, const ObjectId& object, PgId to);

  // PG log: entries are numbered 1, 2, 3... without gaps within a PG (number = Version.number).
  void log_append(PgId pg, std::uint64_t number, std::vector<std::byte> entry);
  void log_trim(PgId pg, std::uint64_t up_to_number);  // forgets entries <= number
  void log_rewind(PgId pg, std::uint64_t to_number);   // forgets entries > number
  // Starts the log anew after a gap: forgets all entries; the next append is first_number.
  void log_reset(PgId pg, std::uint64_t first_number);

  // Small named values of a PG ("info", "missing"...): opaque here.
  void pg_meta_set(PgId pg, std::string key, std::string value);
  void pg_meta_remove(PgId pg, std::string key);
  // Forgets a PG whole: objects, log, metadata. Space is reclaimed in the background.
  void remove_pg(PgId pg);

  // Values of the OSD itself (newest map, superblock-like notes): opaque here.
  void store_meta_set(std::string key, std::string value);

  void append(Transaction other);  // behind the own changes
  // It may use the space that is kept back on a full disk, since it must not be refused any more:
  // a log somewhere says already that it happens. Ask ObjectStore::room_for() before.
  // Transactions that only free space (remove, punch, omap_remove, logs, PG metadata) always may.
  void allow_reserve() { may_use_reserve_ = true; }
  bool may_use_reserve() const { return may_use_reserve_; }
  bool empty() const { return ops_.empty(); }
  std::size_t data_bytes() const { return data_bytes_; }
  const std::vector<Op>& ops() const { return ops_; }
  std::vector<Op>& ops() { return ops_; }

  Transaction();
  Transaction(Transaction&&) noexcept;
  Transaction& operator=(Transaction&&) noexcept;
  ~Transaction();

 private:
  std::vector<Op> ops_;
  std::size_t data_bytes_ = 0;
  bool may_use_reserve_ = false;
};

struct Usage {
  std::uint64_t total_bytes = 0;  // of the data area
  std::uint64_t used_bytes = 0;
  std::uint64_t reserved_bytes = 0;  // kept back for deletes, trims, and what has been logged
  std::uint64_t objects = 0;
  std::uint64_t metadata_bytes = 0;  // in memory: headers, block maps, reference counts
};

struct Counters {
  std::uint64_t transactions = 0, wal_groups = 0, wal_bytes = 0, flushes = 0, checkpoints = 0;
  std::uint64_t data_read_bytes = 0, data_written_bytes = 0, checksum_errors = 0;
  // Metadata that was not in memory: how often the key-value region was asked, and for how many
  // keys; the pairs that it found count where all of an object was asked for.
  std::uint64_t metadata_loads = 0, metadata_values = 0;
  std::uint64_t discarded_blocks = 0;      // of which the disk was told that they hold nothing
  std::uint64_t reused_blocks = 0;         // released, and used again without a discard
  std::uint64_t redirected_blocks = 0;     // overwrites that went to another place
  std::uint64_t pending_transactions = 0;  // submitted, not yet durable
  Histogram commit_ns;                     // submit to durable
  Histogram read_ns;
};

struct LogEntryBytes {
  std::uint64_t number = 0;
  std::vector<std::byte> bytes;
};

// One PG as found at open.
struct PgSnapshot {
  PgId pg;
  std::uint64_t objects = 0;
  std::vector<std::pair<std::string, std::string>> meta;
  std::vector<LogEntryBytes> log;  // in order
};

using Done = UniqueFunction<void(Status)>;
using ReadDone = UniqueFunction<void(Status, ReadResult)>;
using InfoDone = UniqueFunction<void(Status, ObjectInfo)>;
using ListDone = UniqueFunction<void(Status, std::vector<ListedObject>)>;
using OmapDone =
    UniqueFunction<void(Status, bool exists, std::vector<std::pair<std::string, std::string>>)>;

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // Writes a new store over the disk (blocking). already_exists when a Cairn superblock is there.
  static Status format(io::BlockingDisk& disk, const Identity& identity, const Geometry& geometry);

  // Opens and replays (blocking). expected: members that are not zero / kNoOsd must match, else
  // wrong_cluster or wrong_daemon. Other errors: corrupt (superblock, or the WAL below its flushed
  // mark), incompatible_version, unsupported_feature (names the bit), not_found (no store here).
  static Result<std::unique_ptr<ObjectStore>> open(io::Executor& executor, io::Disk& disk,
                                                   const Identity& expected, Options options);

  virtual const Identity& identity() const = 0;
  // All PGs with their log and metadata, as recovered; for the PG layer's start (blocking).
  virtual Result<std::vector<PgSnapshot>> load_pgs() = 0;
  // None: never set. Blocking; at start. Errors: corrupt, io_error.
  virtual Result<std::optional<std::string>> store_meta(const std::string& key) = 0;

  // ok, or no_space: growth by so many bytes of data and of keys and values would reach into the
  // reserve, with all that is submitted counted in. For the one who decides about a change, before
  // it is logged anywhere. Data that would overwrite blocks in place counts as growth here.
  virtual Status room_for(std::uint64_t data_bytes, std::uint64_t metadata_bytes) = 0;

  // on_durable: ok, or checksum_mismatch (write_checked) / no_space: refused whole, and the store
  // goes on; or the error that the store failed with. Never inside the call.
  virtual void submit(Transaction transaction, Done on_durable) = 0;

  // Any alignment. Absent object: exists = false and zeros. checksum_mismatch: names the block.
  virtual void read(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
                    bool with_blocks, ReadDone done) = 0;
  virtual void info(PgId pg, const ObjectId& object, InfoDone done) = 0;
  // Objects of a PG behind `after` (nullopt: from the start), ordered by (name, snap).
  virtual void list(PgId pg, std::optional<ObjectId> after, std::size_t limit, ListDone done) = 0;
  // Values of the keys (all with prefix when keys is empty), from_key exclusive, at most limit.
  virtual void omap_get(PgId pg, const ObjectId& object, std::vector<std::string> keys,
                        std::string prefix, std::string after_key, std::size_t limit,
                        OmapDone done) = 0;

  // Writes a checkpoint and trims the WAL; the store does this by itself too.
  virtual void checkpoint(Done done) = 0;
  // Completes everything submitted, checkpoints, and stops.
  virtual void close(Done done) = 0;

  virtual Usage usage() const = 0;
  virtual std::uint64_t object_count(PgId pg) const = 0;
  // Of the data of its objects, in whole blocks; a block that clones share counts for each of them.
  // 0 for a PG that was stored before this was counted.
  virtual std::uint64_t stored_bytes(PgId pg) const = 0;
  virtual const Counters& counters() const = 0;
  // When the oldest transaction that is not durable yet was submitted; 0: there is none.
  virtual std::uint64_t oldest_pending_ns() const = 0;
  // What a write or flush of the disk has failed with; ok: nothing. From then on it serves no more.
  virtual const Status& failure() const = 0;
  // For a timer of some seconds: gives back memory of metadata that a pause did not need.
  virtual void release_memory() = 0;
  bool failed() const { return !failure().is_ok(); }
};

}  // namespace cairn::object_store
