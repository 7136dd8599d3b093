// Encoding and decoding of WAL records.
#include "object_store/wal_record.hh"

#include <limits>

#include "base/crc32c.hh"
#include "object_store/metadata.hh"

namespace cairn::object_store {

namespace {

constexpr std::uint64_t kMagic = 0x0044524c41575243;  // "CRWALRD" and a zero
constexpr std::size_t kHeaderCrcAt = 8;
constexpr std::uint32_t kRecordVersion = 1;

// Which fields an op has in a record, in this order.
enum Field : std::uint32_t {
  kPg = 1,
  kObject = 2,  // u16 + name, u64 snap
  kVersion = 4,
  kRange = 8,
  kPlaces = 16,  // u8 direct, then u32 physical and u32 CRC for each block of the range
  kInfos = 32,   // u8 state, u32 epoch, u64 number for each block of the range
  kNumber = 64,
  kKey = 128,
  kValue = 256,
  kEntry = 512,
};

constexpr std::uint32_t fields_of(OpType type) {
  switch (type) {
    case OpType::write:
      return kPg | kObject | kVersion | kRange | kPlaces;
    case OpType::write_checked:
      return kPg | kObject | kRange | kPlaces | kInfos;
    case OpType::write_zeroes:
    case OpType::punch:
      return kPg | kObject | kVersion | kRange;
    case OpType::touch:
    case OpType::omap_clear:
    case OpType::set_object_version:
      return kPg | kObject | kVersion;
    case OpType::remove:
      return kPg | kObject;
    case OpType::clone:
      return kPg | kObject | kVersion | kNumber;
    case OpType::share:
      return kPg | kObject | kVersion | kRange | kNumber;
    case OpType::omap_set:
      return kPg | kObject | kVersion | kKey | kValue;
    case OpType::omap_remove:
      return kPg | kObject | kVersion | kKey;
    case OpType::log_append:
      return kPg | kNumber | kEntry;
    case OpType::log_trim:
    case OpType::log_rewind:
    case OpType::log_reset:
      return kPg | kNumber;
    case OpType::pg_meta_set:
      return kPg | kKey | kValue;
    case OpType::pg_meta_remove:
      return kPg | kKey;
    case OpType::remove_pg:
      return kPg;
    case OpType::store_meta_set:
      return kKey | kValue;
    case OpType::reap_object:
      return kPg | kObject | kNumber;
    case OpType::set_attr:
      return kPg | kObject | kVersion | kValue;
    case OpType::move:
      return kPg | kObject | kNumber;
  }
  return 0;
}

constexpr std::uint64_t kMaxSeed = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kPlaceBytes = 8;
constexpr std::size_t kInfoBytes = 13;
// type, PG, name length, snap, version, range, direct, number, lengths of key, value and entry
constexpr std::size_t kFixedBytes = 1 + 8 + 2 + 8 + 12 + 8 + 1 + 8 + 2 + 4 + 4;

std::size_t encoded_bound(const Transaction::Op& op) {
  std::size_t bytes =
      kFixedBytes + op.object.name.size() + op.key.size() + op.value.size() + op.entry.size();
  if (op.writes_data()) bytes += op.block_count * (kPlaceBytes + kInfoBytes);
  return bytes;
}

// Writes into memory that has been made large enough.
class Cursor {
 public:
  explicit Cursor(std::byte* to) : to_(to) {}
  template <typename T>
  void put(T value) {
    store_le(to_, value);
    to_ += sizeof value;
  }
  void raw(const void* from, std::size_t length) {
    if (length != 0) std::memcpy(to_, from, length);
    to_ += length;
  }
  std::byte* position() const { return to_; }

 private:
  std::byte* to_;
};

void encode_op(const Transaction::Op& op, Cursor& to) {
  const std::uint32_t fields = fields_of(op.type);
  to.put(static_cast<std::uint8_t>(op.type));
  if (fields & kPg) {
    to.put(op.pg.pool);
    to.put(op.pg.seed);
  }
  if (fields & kObject) {
    to.put(static_cast<std::uint16_t>(op.object.name.size()));
    to.raw(op.object.name.data(), op.object.name.size());
    to.put(op.object.snap);
  }
  if (fields & kVersion) {
    to.put(op.version.epoch);
    to.put(op.version.number);
  }
  if (fields & kRange) {
    to.put(op.first_block);
    to.put(op.block_count);
  }
  if (fields & kPlaces) {
    CAIRN_ASSERT(op.placed.size() == op.block_count);
    to.put(static_cast<std::uint8_t>(op.direct));
    for (const PlacedBlock& place : op.placed) {
      to.put(place.physical);
      to.put(place.crc);
    }
  }
  if (fields & kInfos)
    for (const BlockInfo& info : op.blocks) {
      to.put(static_cast<std::uint8_t>(info.state));
      to.put(info.version.epoch);
      to.put(info.version.number);
    }
  if (fields & kNumber) to.put(op.number);
  if (fields & kKey) {
    to.put(static_cast<std::uint16_t>(op.key.size()));
    to.raw(op.key.data(), op.key.size());
  }
  if (fields & kValue) {
    to.put(static_cast<std::uint32_t>(op.value.size()));
    to.raw(op.value.data(), op.value.size());
  }
  if (fields & kEntry) {
    to.put(static_cast<std::uint32_t>(op.entry.size()));
    to.raw(op.entry.data(), op.entry.size());
  }
}

bool decode_places(Reader& from, Transaction::Op& op) {
  const auto direct = from.get<std::uint8_t>();
  if (direct > 1 || from.remaining() < op.block_count * kPlaceBytes) return false;
  op.direct = direct == 1;
  op.placed.resize(op.block_count);
  for (PlacedBlock& place : op.placed) {
    place.physical = from.get<std::uint32_t>();
    place.crc = from.get<std::uint32_t>();
  }
  return true;
}

bool decode_infos(Reader& from, Transaction::Op& op) {
  if (from.remaining() < op.block_count * kInfoBytes) return false;
  op.blocks.resize(op.block_count);
  for (std::uint32_t i = 0; i < op.block_count; ++i) {
    const auto state = from.get<std::uint8_t>();
    if (state > static_cast<std::uint8_t>(BlockState::data)) return false;
    op.blocks[i].state = static_cast<BlockState>(state);
    op.blocks[i].version.epoch = from.get<Epoch>();
    op.blocks[i].version.number = from.get<std::uint64_t>();
    op.blocks[i].crc = op.placed[i].crc;
  }
  return true;
}

bool decode_op(Reader& from, Transaction::Op& op) {
  op.type = static_cast<OpType>(from.get<std::uint8_t>());
  const std::uint32_t fields = fields_of(op.type);
  if (fields == 0) return false;
  if (fields & kPg) {
    op.pg.pool = from.get<PoolId>();
    op.pg.seed = from.get<std::uint32_t>();
  }
  if (fields & kObject) {
    op.object.pool = op.pg.pool;
    op.object.name = from.text16();
    op.object.snap = from.get<std::uint64_t>();
    if (op.object.name.empty() || op.object.name.size() > kMaxObjectNameBytes) return false;
  }
  if (fields & kVersion) {
    op.version.epoch = from.get<Epoch>();
    op.version.number = from.get<std::uint64_t>();
  }
  if (fields & kRange) {
    op.first_block = from.get<std::uint32_t>();
    op.block_count = from.get<std::uint32_t>();
    if (op.first_block > kMaxObjectBlocks || op.block_count > kMaxObjectBlocks - op.first_block)
      return false;
  }
  if ((fields & kPlaces) && !decode_places(from, op)) return false;
  if ((fields & kInfos) && !decode_infos(from, op)) return false;
  if (fields & kNumber) op.number = from.get<std::uint64_t>();
  if (op.type == OpType::move && (op.number > kMaxSeed || op.number == op.pg.seed)) return false;
  if (fields & kKey) op.key = from.text16();
  if (fields & kValue) op.value = as_text(from.blob32());
  if (op.type == OpType::set_attr && op.value.size() > kMaxAttrBytes) return false;
  if (fields & kEntry) {
    const ByteSpan entry = from.blob32();
    op.entry.assign(entry.begin(), entry.end());
  }
  return from.ok();
}

}  // namespace

void encode_record_header(const RecordHeader& header, std::byte* to) {
  store_le(to, kMagic);
  store_le(to + kHeaderCrcAt, std::uint32_t{0});
  store_le(to + 12, kRecordVersion);
  store_le(to + 16, header.store_tag);
  store_le(to + 24, header.sequence);
  store_le(to + 32, header.generation);
  store_le(to + 40, header.flushed_sequence);
  store_le(to + 48, header.metadata_bytes);
  store_le(to + 52, header.metadata_crc);
  store_le(to + 56, header.data_blocks);
  store_le(to + 60, header.transaction_count);
  store_le(to + kHeaderCrcAt, crc32c({to, kRecordHeaderBytes}));
}

std::optional<RecordHeader> decode_record_header(ByteSpan from) {
  CAIRN_ASSERT(from.size() >= kRecordHeaderBytes);
  std::byte bytes[kRecordHeaderBytes];
  std::memcpy(bytes, from.data(), sizeof bytes);
  if (load_le<std::uint64_t>(bytes) != kMagic) return std::nullopt;
  const auto crc = load_le<std::uint32_t>(bytes + kHeaderCrcAt);
  store_le(bytes + kHeaderCrcAt, std::uint32_t{0});
  if (crc32c(bytes) != crc || load_le<std::uint32_t>(bytes + 12) != kRecordVersion)
    return std::nullopt;
  RecordHeader header;
  header.store_tag = load_le<std::uint64_t>(bytes + 16);
  header.sequence = load_le<std::uint64_t>(bytes + 24);
  header.generation = load_le<std::uint64_t>(bytes + 32);
  header.flushed_sequence = load_le<std::uint64_t>(bytes + 40);
  header.metadata_bytes = load_le<std::uint32_t>(bytes + 48);
  header.metadata_crc = load_le<std::uint32_t>(bytes + 52);
  header.data_blocks = load_le<std::uint32_t>(bytes + 56);
  header.transaction_count = load_le<std::uint32_t>(bytes + 60);
  return header;
}

std::size_t encoded_bound(const Transaction& transaction) {
  std::size_t bytes = sizeof(std::uint32_t);
  for (const Transaction::Op& op : transaction.ops()) bytes += encoded_bound(op);
  return bytes;
}

void encode_transaction(const Transaction& transaction, std::vector<std::byte>& to) {
  const std::size_t start = to.size();
  to.resize(start + encoded_bound(transaction));
  Cursor cursor(to.data() + start);
  cursor.put(static_cast<std::uint32_t>(transaction.ops().size()));
  for (const Transaction::Op& op : transaction.ops()) encode_op(op, cursor);
  to.resize(static_cast<std::size_t>(cursor.position() - to.data()));
}

Result<std::vector<Transaction>> decode_transactions(ByteSpan metadata, std::uint32_t count,
                                                     const Buffer& images) {
  const auto bad = [] {
    return Status(ErrorCode::corrupt, "a WAL record with a good checksum cannot be decoded");
  };
  Reader from(metadata);
  std::vector<Transaction> transactions;
  std::size_t image_offset = 0;
  for (std::uint32_t t = 0; t < count; ++t) {
    Transaction& transaction = transactions.emplace_back();
    const auto ops = from.get<std::uint32_t>();
    // A reader that has failed gives zeros: a large count would go on with empty transactions.
    if (!from.ok() || ops > from.remaining()) return bad();
    for (std::uint32_t i = 0; i < ops; ++i) {
      Transaction::Op& op = transaction.ops().emplace_back();
      if (!decode_op(from, op)) return bad();
      const std::size_t length = record_images(op) * kBlockBytes;
      if (length > images.size() - image_offset) return bad();
      op.data = images.slice(image_offset, length);
      image_offset += length;
    }
  }
  if (!from.at_end() || image_offset != images.size()) return bad();
  return transactions;
}

}  // namespace cairn::object_store
