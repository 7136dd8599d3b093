// Making a store, opening one, and what the PG layer reads at its start.
#include <algorithm>
#include <limits>

#include "object_store/replay.hh"
#include "object_store/store.hh"

namespace cairn::object_store {

namespace {

constexpr std::uint64_t kZeroBytes = std::uint64_t{1} << 20;

// The key-value store wants an executor; while a disk is formatted nothing is asynchronous.
class NoExecutor final : public io::Executor {
 public:
  std::uint64_t now_ns() const override { return 0; }
  void post(io::Task) override { CAIRN_ASSERT(!"no tasks while formatting"); }
  io::TimerId run_after(std::uint64_t, io::Task) override {
    CAIRN_ASSERT(!"no timers while formatting");
    return 0;
  }
  void cancel(io::TimerId) override {}
};

std::uint64_t nonce_of(const Identity& identity) {
  std::uint64_t nonce;
  std::memcpy(&nonce, identity.store.data() + 8, sizeof nonce);
  return nonce;
}

kv::Options kv_options(const Superblock& superblock, const Options& options) {
  kv::Options kv;
  kv.threaded = options.threaded_kv;
  kv.post_back = options.post_back;
  kv.write_buffer_bytes = options.kv_write_buffer_bytes;
  kv.block_cache_bytes = options.kv_block_cache_bytes;
  kv.unit_bytes = superblock.layout.kv_unit_bytes;
  kv.nonce = nonce_of(superblock.identity);
  return kv;
}

Status write_zeros(io::BlockingDisk& disk, std::uint64_t offset, std::uint64_t length) {
  const Buffer zeros = Buffer::zeroed(std::min(length, kZeroBytes));
  while (length > 0) {
    const std::uint64_t part = std::min<std::uint64_t>(length, zeros.size());
    CAIRN_RETURN_IF_ERROR(disk.write_now(offset, zeros.slice(0, part).span()));
    offset += part;
    length -= part;
  }
  return {};
}

}  // namespace

Status ObjectStore::format(io::BlockingDisk& disk, const Identity& identity,
                           const Geometry& geometry) {
  Result<bool> is_there = has_superblock(disk);
  if (!is_there) return is_there.status();
  if (*is_there)
    return {ErrorCode::already_exists,
            "there is a Cairn store on this disk already; remove the file, or wipe the first and "
            "the last 4096 bytes of the device, to give it up"};
  Result<Layout> layout = make_layout(disk.size_bytes(), geometry);
  if (!layout) return layout.status();
  Superblock superblock;
  superblock.identity = identity;
  superblock.layout = *layout;
  superblock.incompatible = kKnownIncompatible;
  CAIRN_RETURN_IF_ERROR(write_zeros(disk, layout->wal_offset, layout->wal_bytes));
  NoExecutor executor;
  Options options;
  options.threaded_kv = false;
  Result<std::unique_ptr<kv::KvStore>> kv = kv::KvStore::format(
      disk, layout->kv_offset, layout->kv_bytes, executor, kv_options(superblock, options));
  if (!kv) return kv.status();
  kv::WriteBatch batch;
  batch.put(keys::system_state(), encode_system_state({}));
  CAIRN_RETURN_IF_ERROR((*kv)->apply_now(std::move(batch), true));
  kv->reset();
  CAIRN_RETURN_IF_ERROR(disk.flush_now());
  // Last: a disk that was half formatted has no superblock.
  return write_superblock(disk, superblock);
}

Result<std::unique_ptr<ObjectStore>> ObjectStore::open(io::Executor& executor, io::Disk& disk,
                                                       const Identity& expected, Options options) {
  Result<Superblock> superblock = read_superblock(disk);
  if (!superblock) return superblock.status();
  CAIRN_RETURN_IF_ERROR(check_identity(superblock->identity, expected));
  superblock->autoclear &= kKnownAutoclear;
  const Layout& layout = superblock->layout;
  kv::Options of_kv = kv_options(*superblock, options);
  auto state = std::make_unique<StoreState>(executor, disk, *superblock, std::move(options));
  Result<std::unique_ptr<kv::KvStore>> kv =
      kv::KvStore::open(disk, layout.kv_offset, layout.kv_bytes, executor, std::move(of_kv));
  if (!kv) return kv.status();
  state->kv = std::move(*kv);
  SystemState system;
  CAIRN_RETURN_IF_ERROR(load_tables(*state, system));
  Result<ReplayResult> replayed = replay(*state, system);
  if (!replayed) return replayed.status();
  if (replayed->newest_generation > state->superblock.generation)
    state->log("warn",
               "the superblock is older than the records of the WAL: a write of it was lost");
  // The new generation, before the first record; mends a damaged copy too. The flush in it also
  // makes durable what was replayed: after a crash of the process alone, records can lie in the
  // disk's cache that nobody has flushed.
  state->superblock.generation =
      std::max(state->superblock.generation, replayed->newest_generation) + 1;
  state->superblock.incompatible |= kKnownIncompatible;
  CAIRN_RETURN_IF_ERROR(write_superblock(disk, state->superblock));
  if (replayed->record_count > 0)
    state->log("info", "replayed " + std::to_string(replayed->record_count) + " WAL records");
  return std::unique_ptr<ObjectStore>(
      std::make_unique<Store>(std::move(state), replayed->next, system.wal_position));
}

Result<std::vector<PgSnapshot>> Store::load_pgs() {
  constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
  std::vector<PgSnapshot> snapshots;
  Status status;
  state_->pgs.for_each([&](PgEntry& pg) {
    if (!status) return;
    PgSnapshot& snapshot = snapshots.emplace_back();
    snapshot.pg = pg.id();
    snapshot.objects = pg.object_count;
    const auto [begin, end] = keys::all_of('p', pg.collection);
    Result<std::vector<kv::KeyValue>> meta = state_->kv->scan_now(begin, end, kAll);
    const keys::Range log_range{
        keys::log_segment(pg.collection, pg.log_first / kSegmentEntries),
        keys::log_segment(pg.collection, pg.log_next / kSegmentEntries + 1)};
    Result<std::vector<kv::KeyValue>> log =
        state_->kv->scan_now(log_range.first, log_range.second, kAll);
    if (!meta || !log) {
      status = meta ? log.status() : meta.status();
      return;
    }
    CheckpointSet::PendingValues values;
    for (auto& [key, value] : *meta) values.insert_or_assign(std::move(key), std::move(value));
    state_->checkpoint_set.overlay(begin, end, values);
    for (const auto& [key, value] : values)
      if (value) snapshot.meta.emplace_back(keys::user_key(key), *value);
    std::map<std::uint64_t, LogSegment> segments = pg.segments;
    for (const auto& [key, value] : *log) {
      LogSegment segment;
      if (!LogSegment::decode(value, segment)) {
        status = {ErrorCode::corrupt, "the key-value region has a bad PG log segment"};
        return;
      }
      segments.emplace(segment.first / kSegmentEntries, std::move(segment));
    }
    for (const auto& [number, segment] : segments)
      segment.list(pg.log_first, pg.log_next, snapshot.log);
    if (snapshot.log.size() != pg.log_next - pg.log_first)
      status = {ErrorCode::corrupt, "the key-value region lacks entries of a PG log"};
  });
  if (!status) return status;
  std::sort(snapshots.begin(), snapshots.end(),
            [](const PgSnapshot& a, const PgSnapshot& b) { return a.pg < b.pg; });
  return snapshots;
}

Result<std::optional<std::string>> Store::store_meta(const std::string& key) {
  const std::string full = keys::store_meta(key);
  if (const std::optional<std::string>* pending = state_->checkpoint_set.find(full);
      pending != nullptr)
    return *pending;
  Result<kv::Values> values = state_->kv->get_now({full});
  if (!values) return values.status();
  return std::move(values->front());
}

}  // namespace cairn::object_store
