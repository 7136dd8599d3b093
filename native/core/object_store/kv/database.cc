// LevelDB's settings and calls.
#include "object_store/kv/database.hh"

#include <leveldb/iterator.h>
#include <leveldb/write_batch.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "base/assert.hh"

namespace cairn::kv {
namespace {

constexpr std::size_t kMinWriteBufferBytes = std::size_t{64} << 10;  // LevelDB clips to it
constexpr std::size_t kSmallWriteBufferBytes = std::size_t{8} << 20;
constexpr std::size_t kMaxTableBytes = std::size_t{2} << 20;
constexpr std::size_t kMinTableBytes = std::size_t{1} << 20;  // LevelDB clips to it
// An open table costs about 26 KiB (index and filter of a 2 MiB table): 256 of them 6.5 MiB.
constexpr int kMaxOpenFiles = 256;
// A batch of so many operations is sorted before LevelDB has it. At most 16 MiB for that, and as
// much as the batch has.
constexpr std::size_t kSortedFrom = 64;
constexpr std::size_t kSortedUpTo = std::size_t{1} << 18;
constexpr int kFilterBitsPerKey = 10;  // 1 % false positives

std::size_t fitting_write_buffer(std::size_t wanted, std::uint64_t region_bytes) {
  // The reserve has up to 14 of them: a region must be large before it gives more than 8 MiB.
  const std::uint64_t small = std::min<std::uint64_t>(region_bytes / 16, kSmallWriteBufferBytes);
  const auto most = std::max<std::size_t>({small, region_bytes / 32, kMinWriteBufferBytes});
  return std::clamp(wanted, kMinWriteBufferBytes, most);
}

leveldb::Slice slice_of(std::string_view text) { return {text.data(), text.size()}; }

leveldb::ReadOptions checked_read() {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  return options;
}

}  // namespace

Database::Database(std::unique_ptr<RegionFs> fs, const Options& options, std::uint64_t region_bytes)
    : threaded_(options.threaded),
      write_buffer_bytes_(fitting_write_buffer(options.write_buffer_bytes, region_bytes)),
      table_bytes_(std::clamp<std::size_t>(region_bytes / 64, kMinTableBytes, kMaxTableBytes)),
      unit_bytes_(options.unit_bytes),
      fs_(std::move(fs)),
      env_(std::make_unique<RegionEnv>(*fs_, options.threaded)),
      block_cache_(leveldb::NewLRUCache(options.block_cache_bytes)),
      filter_(leveldb::NewBloomFilterPolicy(kFilterBitsPerKey)) {}

Result<std::unique_ptr<Database>> Database::open(std::unique_ptr<RegionFs> fs,
                                                 const Options& options, std::uint64_t region_bytes,
                                                 bool create) {
  std::unique_ptr<Database> database(new Database(std::move(fs), options, region_bytes));
  leveldb::Options settings;
  settings.env = database->env_.get();
  settings.create_if_missing = create;
  settings.error_if_exists = create;
  // Without this a damaged record ends the replay of a log, silently.
  settings.paranoid_checks = true;
  settings.write_buffer_size = database->write_buffer_bytes_;
  settings.max_file_size = database->table_bytes_;
  settings.max_open_files = kMaxOpenFiles;
  settings.block_cache = database->block_cache_.get();
  settings.filter_policy = database->filter_.get();
  settings.compression = leveldb::kNoCompression;
  leveldb::DB* db = nullptr;
  const leveldb::Status opened = leveldb::DB::Open(settings, "kv", &db);
  database->db_.reset(db);
  if (opened.ok()) {
    database->run_background_work();
    // The files that LevelDB found to be obsolete: else a crash loop would pile them up.
    CAIRN_RETURN_IF_ERROR(database->fs_->commit());
    return database;
  }
  Status status = from_leveldb(opened);
  // A file that another one names and that is not there was not removed by us.
  if (status.code() == ErrorCode::not_found) status = {ErrorCode::corrupt, status.message()};
  return status;
}

Database::~Database() {
  if (!db_) return;
  db_.reset();
  // Nobody was promised anything: a failure here is that of a crash at this moment.
  static_cast<void>(fs_->commit());
}

void Database::run_background_work() {
  if (!threaded_) env_->run_scheduled();
}

Result<Values> Database::get(const std::vector<std::string>& keys) {
  gets_ += keys.size();
  Values values;
  values.reserve(keys.size());
  leveldb::Status status;
  for (const std::string& key : keys) {
    std::string value;
    status = db_->Get(checked_read(), key, &value);
    if (status.ok())
      values.emplace_back(std::move(value));
    else if (status.IsNotFound())
      values.emplace_back(std::nullopt);
    else
      break;
  }
  run_background_work();
  if (!status.ok() && !status.IsNotFound()) return from_leveldb(status);
  return values;
}

Result<std::vector<KeyValue>> Database::scan(std::string_view begin, std::string_view end,
                                             std::size_t limit) {
  ++scans_;
  std::vector<KeyValue> pairs;
  std::unique_ptr<leveldb::Iterator> iterator(db_->NewIterator(checked_read()));
  for (iterator->Seek(slice_of(begin)); iterator->Valid() && pairs.size() < limit;
       iterator->Next()) {
    if (!end.empty() && iterator->key().compare(slice_of(end)) >= 0) break;
    pairs.emplace_back(iterator->key().ToString(), iterator->value().ToString());
  }
  const leveldb::Status status = iterator->status();
  iterator.reset();
  run_background_work();
  if (!status.ok()) return from_leveldb(status);
  return pairs;
}

Result<Found> Database::find(const std::vector<std::string>& keys,
                             const std::vector<KeyRange>& ranges) {
  Found found;
  Result<Values> values = get(keys);
  if (!values) return values.status();
  found.values = std::move(*values);
  for (const auto& [begin, end] : ranges) {
    auto pairs = scan(begin, end, std::numeric_limits<std::size_t>::max());
    if (!pairs) return pairs.status();
    found.ranges.push_back(std::move(*pairs));
  }
  return found;
}

Status Database::apply(WriteBatch& batch, bool sync) {
  if (!has_room_for(batch) && !(compact() && has_room_for(batch))) {
    ++refused_full_;
    return {ErrorCode::no_space, "the key-value region is full: " + std::to_string(used_bytes()) +
                                     " bytes are used of " + std::to_string(fs_->capacity_bytes())};
  }
  ++applies_;
  has_flushed_ = false;
  operations_since_compaction_ += batch.operation_count();
  if (sync) ++synced_applies_;
  const std::size_t count = batch.operation_count();
  if (count >= kSortedFrom && count <= kSortedUpTo) batch.sort();
  leveldb::WriteOptions options;
  options.sync = sync;
  const leveldb::Status status = db_->Write(options, &batch.encoded());
  run_background_work();
  return from_leveldb(status);
}

bool Database::has_room_for(const WriteBatch& batch) const {
  return !batch.needs_room() || batch.size_bytes() <= free_bytes();
}

bool Database::compact() {
  if (operations_since_compaction_ < used_bytes() / kBytesCompactedPerOperation) return false;
  operations_since_compaction_ = 0;
  if (threaded_) {
    db_->CompactRange(nullptr, nullptr);
    return true;
  }
  // A write of nothing turns the memtable into a table. After that there is nothing to do but what
  // CompactRange asks for (while level 1 stays below its 10 MiB), one step at a time.
  static_cast<void>(db_->Write({}, nullptr));
  env_->run_scheduled();
  env_->run_waiting([this] { db_->CompactRange(nullptr, nullptr); });
  return true;
}

void Database::give_back() {
  if (has_flushed_ || memtable_bytes() <= kRestingMemtableBytes) return;
  has_flushed_ = true;
  // A write of nothing: it takes a new memtable, the old one is made a table by the thread that
  // compacts. An error is LevelDB's from now on: the next apply() has it.
  static_cast<void>(db_->Write({}, nullptr));
}

// Of both memtables, the one that is being made a table too.
std::size_t Database::memtable_bytes() const {
  std::string text;  // what the block cache has counts in it
  const bool is_known = db_->GetProperty("leveldb.approximate-memory-usage", &text);
  CAIRN_ASSERT(is_known);
  std::size_t all = 0;
  std::from_chars(text.data(), text.data() + text.size(), all);
  const std::size_t cached = block_cache_->TotalCharge();
  return all > cached ? all - cached : 0;
}

std::uint64_t Database::reserve_bytes() const {
  const std::uint64_t largest_compaction =
      kMaxLevel0Tables * write_buffer_bytes_ + kMaxCompactionTables * table_bytes_;
  return 2 * write_buffer_bytes_ + std::min(used_bytes(), largest_compaction) +
         kReserveFiles * unit_bytes_;
}

std::uint64_t Database::free_bytes() const {
  const std::uint64_t free = fs_->free_bytes();
  const std::uint64_t reserve = reserve_bytes();
  return free > reserve ? free - reserve : 0;
}

Stats Database::stats() const {
  const RegionFs::Counters& counters = fs_->counters();
  return {.applies = applies_,
          .synced_applies = synced_applies_,
          .gets = gets_,
          .scans = scans_,
          .refused_full = refused_full_,
          .disk_bytes_written = counters.bytes_written,
          .disk_bytes_read = counters.bytes_read,
          .disk_flushes = counters.flushes,
          .table_commits = counters.commits,
          .used_bytes = fs_->used_bytes(),
          .free_bytes = fs_->free_bytes(),
          .reserve_bytes = reserve_bytes()};
}

}  // namespace cairn::kv
