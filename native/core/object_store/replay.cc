// Reading the WAL back.
#include "object_store/replay.hh"

#include <algorithm>
#include <limits>

#include "base/crc32c.hh"
#include "base/planted_bug.hh"
#include "object_store/wal_record.hh"

namespace cairn::object_store {

namespace {

constexpr std::size_t kPageEntries = 4096;

Status damaged_region(const std::string& what) {
  return {ErrorCode::corrupt,
          "the key-value region has a bad " + what + "; rebuild this OSD: its peers have the data"};
}

// Calls visit(key, value) -> Status for every pair of the kind.
template <typename Visit>
Status for_each_pair(kv::KvStore& kv, char kind, Visit visit) {
  auto [begin, end] = keys::all_of(kind);
  for (;;) {
    Result<std::vector<kv::KeyValue>> page = kv.scan_now(begin, end, kPageEntries);
    if (!page) return page.status();
    for (const auto& [key, value] : *page) CAIRN_RETURN_IF_ERROR(visit(key, value));
    if (page->size() < kPageEntries) return {};
    begin = page->back().first + '\0';
  }
}

Status load_pgs(StoreState& state) {
  std::vector<PgEntry*> open_segments;
  std::vector<std::string> segment_keys;
  CAIRN_RETURN_IF_ERROR(for_each_pair(
      *state.kv, 'c', [&](const std::string& key, const std::string& value) -> Status {
        const std::optional<PgId> id = keys::parse_pg(key);
        if (!id || !state.pgs.entry(*id).decode(value)) return damaged_region("PG record");
        PgEntry& pg = state.pgs.entry(*id);
        if (pg.log_next % kSegmentEntries == 0) return {};
        open_segments.push_back(&pg);
        segment_keys.push_back(keys::log_segment(pg.collection, pg.log_next / kSegmentEntries));
        return {};
      }));
  Result<kv::Values> segments = state.kv->get_now(segment_keys);
  if (!segments) return segments.status();
  for (std::size_t i = 0; i < open_segments.size(); ++i) {
    PgEntry& pg = *open_segments[i];
    const std::optional<std::string>& value = (*segments)[i];
    if (!value && pg.log_first == pg.log_next) continue;
    LogSegment segment;
    if (!value || !LogSegment::decode(*value, segment) ||
        segment.first + segment.count != pg.log_next)
      return damaged_region("PG log segment");
    pg.segments.emplace(pg.log_next / kSegmentEntries, std::move(segment));
  }
  return {};
}

class Replayer {
 public:
  Replayer(StoreState& state, const SystemState& system)
      : state_(state),
        loader_(state),
        mutator_(state),
        ring_bytes_(state.superblock.layout.wal_bytes),
        next_{system.applied_sequence + 1, system.wal_position} {}

  Result<ReplayResult> run();

 private:
  struct Record {
    RecordHeader header;
    std::vector<Transaction> transactions;
  };
  Status read_ring(std::uint64_t position, MutableByteSpan into);
  Result<std::optional<RecordHeader>> read_header(std::uint64_t position);
  bool is_expected(const RecordHeader& header) const;
  // None: not a good record.
  Result<std::optional<Record>> read_record();
  static bool images_are_good(const std::vector<Transaction>& transactions);
  Result<bool> direct_data_is_good(const std::vector<Transaction>& transactions);
  Status apply(Record& record);
  bool is_ours(const RecordHeader& header) const;
  Status read_whole_ring(std::uint64_t& newest_generation);
  Status check_witness(const RecordHeader& header) const;

  StoreState& state_;
  Loader loader_;
  Mutator mutator_;
  const std::uint64_t ring_bytes_;
  WalPosition next_;
  std::uint64_t generation_ = 0;  // of the last good record
};

Status Replayer::read_ring(std::uint64_t position, MutableByteSpan into) {
  while (!into.empty()) {
    const std::uint64_t offset = position % ring_bytes_;
    const std::uint64_t length = std::min<std::uint64_t>(into.size(), ring_bytes_ - offset);
    CAIRN_RETURN_IF_ERROR(
        state_.disk.read_now(state_.superblock.layout.wal_offset + offset, into.first(length)));
    into = into.subspan(length);
    position += length;
  }
  return {};
}

Result<std::optional<RecordHeader>> Replayer::read_header(std::uint64_t position) {
  Buffer block = Buffer::allocate(kBlockBytes);
  CAIRN_RETURN_IF_ERROR(read_ring(position, block.span()));
  return decode_record_header(block.span());
}

bool Replayer::is_ours(const RecordHeader& header) const {
  std::uint64_t tag;
  std::memcpy(&tag, state_.superblock.identity.store.data(), sizeof tag);
  return header.store_tag == tag;
}

bool Replayer::is_expected(const RecordHeader& header) const {
  return is_ours(header) && header.sequence == next_.sequence && header.generation >= generation_ &&
         header.record_bytes() < ring_bytes_;
}

bool Replayer::images_are_good(const std::vector<Transaction>& transactions) {
  for (const Transaction& transaction : transactions)
    for (const Transaction::Op& op : transaction.ops())
      for (std::uint32_t i = 0; i < record_images(op); ++i) {
        if (op.block_state(i) != BlockState::data) continue;
        const ByteSpan image = op.data.span().subspan(i * kBlockBytes, kBlockBytes);
        if (block_checksum(op.object.pool, op.object.name, op.first_block + i, op.block_version(i),
                           image) != op.placed[i].crc)
          return false;
      }
  return true;
}

Result<bool> Replayer::direct_data_is_good(const std::vector<Transaction>& transactions) {
  // Blocks whose content the record's own images decide.
  std::vector<std::uint32_t> overwritten;
  for (const Transaction& transaction : transactions)
    for (const Transaction::Op& op : transaction.ops())
      for (std::uint32_t i = 0; i < record_images(op); ++i)
        // One without data has no place.
        if (op.block_state(i) == BlockState::data) overwritten.push_back(op.placed[i].physical);
  std::sort(overwritten.begin(), overwritten.end());
  Buffer block = Buffer::allocate(kBlockBytes);
  bool is_good = true;
  for (const Transaction& transaction : transactions)
    for (const Transaction::Op& op : transaction.ops()) {
      if (!op.writes_data() || !op.direct) continue;
      for (std::uint32_t i = 0; i < op.block_count; ++i) {
        const std::uint32_t physical = op.placed[i].physical;
        if (op.block_state(i) != BlockState::data) continue;
        if (physical >= state_.allocator.block_count()) return false;
        if (std::binary_search(overwritten.begin(), overwritten.end(), physical)) continue;
        CAIRN_RETURN_IF_ERROR(state_.disk.read_now(state_.disk_offset(physical), block.span()));
        if (block_checksum(op.object.pool, op.object.name, op.first_block + i, op.block_version(i),
                           block.span()) == op.placed[i].crc)
          continue;
        is_good = false;
        // A later record that went astray proves what it lies over.
        const auto header = decode_record_header(block.span());
        if (header && is_ours(*header)) CAIRN_RETURN_IF_ERROR(check_witness(*header));
      }
    }
  return is_good;
}

Result<std::optional<Replayer::Record>> Replayer::read_record() {
  Result<std::optional<RecordHeader>> header = read_header(next_.position);
  if (!header) return header.status();
  if (!*header || !is_expected(**header)) return std::optional<Record>();
  Record record;
  record.header = **header;
  Buffer bytes = Buffer::allocate(record.header.record_bytes());
  CAIRN_RETURN_IF_ERROR(read_ring(next_.position, bytes.span()));
  const ByteSpan metadata =
      ByteSpan(bytes.span()).subspan(kRecordHeaderBytes, record.header.metadata_bytes);
  if (crc32c(metadata) != record.header.metadata_crc) return std::optional<Record>();
  const std::uint64_t front = record.header.front_bytes();
  Result<std::vector<Transaction>> transactions = decode_transactions(
      metadata, record.header.transaction_count, bytes.slice(front, bytes.size() - front));
  if (!transactions) return transactions.status();
  if (!images_are_good(*transactions)) return std::optional<Record>();
  const bool has_direct =
      std::any_of(transactions->begin(), transactions->end(), [](const Transaction& transaction) {
        return std::any_of(transaction.ops().begin(), transaction.ops().end(),
                           [](const auto& op) { return op.direct; });
      });
  if (has_direct) {
    // A successor in its place proves that this record's data was flushed.
    Result<std::optional<RecordHeader>> successor =
        read_header(next_.position + record.header.record_bytes());
    if (!successor) return successor.status();
    const bool is_proven = *successor && (**successor).sequence == next_.sequence + 1 &&
                           (**successor).store_tag == record.header.store_tag &&
                           (**successor).generation >= record.header.generation &&
                           (**successor).flushed_sequence >= next_.sequence;
    if (!is_proven) {
      Result<bool> is_good = direct_data_is_good(*transactions);
      if (!is_good) return is_good.status();
      if (!*is_good) return std::optional<Record>();
    }
  }
  record.transactions = std::move(*transactions);
  return std::optional<Record>(std::move(record));
}

Status Replayer::apply(Record& record) {
  for (Transaction& transaction : record.transactions) {
    CAIRN_RETURN_IF_ERROR(mutator_.check(transaction));
    for (const Transaction::Op& op : transaction.ops()) {
      for (;;) {
        Missing missing;
        loader_.need(op, missing);
        if (missing.empty()) break;
        CAIRN_RETURN_IF_ERROR(loader_.load_now(std::move(missing)));
      }
      if (!mutator_.adopt(op))
        return {ErrorCode::corrupt, "WAL record " + std::to_string(record.header.sequence) +
                                        " names a block that is taken; rebuild this OSD: its "
                                        "peers have the data"};
      mutator_.apply(op);
    }
    state_.cache.evict();
  }
  return {};
}

Status Replayer::read_whole_ring(std::uint64_t& newest_generation) {
  constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
  Buffer piece = Buffer::allocate(std::min(kPieceBytes, ring_bytes_));
  for (std::uint64_t offset = 0; offset < ring_bytes_; offset += piece.size()) {
    const std::uint64_t length = std::min<std::uint64_t>(piece.size(), ring_bytes_ - offset);
    CAIRN_RETURN_IF_ERROR(read_ring(offset, piece.span().first(length)));
    for (std::uint64_t at = 0; at < length; at += kBlockBytes) {
      const auto header = decode_record_header(piece.slice(at, kBlockBytes).span());
      if (!header || !is_ours(*header)) continue;
      newest_generation = std::max(newest_generation, header->generation);
      CAIRN_RETURN_IF_ERROR(check_witness(*header));
    }
  }
  return {};
}

// Whether the record proves that the one at which the log ends was durable.
Status Replayer::check_witness(const RecordHeader& header) const {
  if (header.sequence <= next_.sequence || header.flushed_sequence < next_.sequence ||
      header.generation < generation_ || planted(PlantedBug::truncate_at_damage))
    return {};
  return {ErrorCode::corrupt,
          "WAL record " + std::to_string(next_.sequence) + " at disk offset " +
              std::to_string(state_.superblock.layout.wal_offset + next_.position % ring_bytes_) +
              " is damaged, but record " + std::to_string(header.sequence) +
              " proves that it was durable: acknowledged writes are missing; rebuild this "
              "OSD from its peers"};
}

Result<ReplayResult> Replayer::run() {
  ReplayResult result;
  for (;;) {
    Result<std::optional<Record>> record = read_record();
    if (!record) return record.status();
    if (!*record) break;
    CAIRN_RETURN_IF_ERROR(apply(**record));
    generation_ = (**record).header.generation;
    next_.position += (**record).header.record_bytes();
    ++next_.sequence;
    ++result.record_count;
  }
  CAIRN_RETURN_IF_ERROR(read_whole_ring(result.newest_generation));
  result.next = next_;
  return result;
}

}  // namespace

Status load_tables(StoreState& state, SystemState& system) {
  Result<kv::Values> value = state.kv->get_now({keys::system_state()});
  if (!value) return value.status();
  if (!value->front() || !decode_system_state(*value->front(), system))
    return damaged_region("state record");
  state.next_id = system.next_id;
  state.applied_sequence = system.applied_sequence;
  CAIRN_RETURN_IF_ERROR(load_pgs(state));
  CAIRN_RETURN_IF_ERROR(
      for_each_pair(*state.kv, 'b', [&](const std::string& key, const std::string& bits) -> Status {
        if (key.size() == 5 && state.allocator.load_chunk(keys::number32(key), bits)) return {};
        return damaged_region("allocation bitmap");
      }));
  CAIRN_RETURN_IF_ERROR(
      for_each_pair(*state.kv, 'x', [&](const std::string& key, const std::string&) -> Status {
        state.removed_collections.insert(keys::number64(key));
        return {};
      }));
  return for_each_pair(*state.kv, 'g', [&](const std::string& key, const std::string&) -> Status {
    state.garbage_omaps.insert(keys::number64(key));
    return {};
  });
}

Result<ReplayResult> replay(StoreState& state, const SystemState& system) {
  return Replayer(state, system).run();
}

}  // namespace cairn::object_store
