// Transaction: building and checking the change list.
#include "object_store/transaction.hh"

#include <iterator>

#include "base/crc32c.hh"
#include "base/planted_bug.hh"

namespace cairn::object_store {

namespace {

constexpr std::uint64_t kMaxKeyBytes = 4096;
constexpr std::uint64_t kMaxValueBytes = std::uint64_t{1} << 20;

// Fills the block range of an op; leaves a refusal for an unaligned or too long one.
void set_range(Transaction::Op& op, std::uint64_t offset, std::uint64_t length) {
  if (offset % kBlockBytes != 0 || length % kBlockBytes != 0) {
    op.refused = {ErrorCode::invalid_argument,
                  "offset and length of a change must be multiples of 4096 bytes"};
    return;
  }
  if (offset > kMaxObjectBytes || length > kMaxObjectBytes - offset) {
    op.refused = {ErrorCode::out_of_range, "a change reaches behind the largest object"};
    return;
  }
  op.first_block = static_cast<std::uint32_t>(offset / kBlockBytes);
  op.block_count = static_cast<std::uint32_t>(length / kBlockBytes);
}

bool names_object(OpType type) {
  return type <= OpType::set_object_version || type == OpType::set_attr || type == OpType::share ||
         type == OpType::move;
}

Status check_blocks(const Transaction::Op& op) {
  for (std::uint32_t i = 0; i < op.block_count; ++i) {
    const BlockInfo& info = op.blocks[i];
    if (info.state != BlockState::data) continue;
    const std::uint32_t index = op.first_block + i;
    const ByteSpan bytes = op.data.span().subspan(i * kBlockBytes, kBlockBytes);
    if (block_checksum(op.object.pool, op.object.name, index, info.version, bytes) != info.crc)
      return {ErrorCode::checksum_mismatch, "the copy sent for " + describe(op.object) + " block " +
                                                std::to_string(index) +
                                                " does not match its checksum"};
  }
  return {};
}

Status validate(const Transaction::Op& op) {
  if (!op.refused.is_ok()) return op.refused;
  if (names_object(op.type)) {
    if (op.object.name.empty() || op.object.name.size() > kMaxObjectNameBytes)
      return {ErrorCode::invalid_argument, "an object name has 1 to 255 bytes"};
    if (op.object.pool != op.pg.pool)
      return {ErrorCode::invalid_argument, "the object is not of the placement group's pool"};
  }
  if (op.key.size() > kMaxKeyBytes || op.value.size() > kMaxValueBytes ||
      op.entry.size() > kMaxValueBytes)
    return {ErrorCode::too_large, "a key has at most 4096 bytes, a value 1 MiB"};
  if (op.type == OpType::set_attr && op.value.size() > kMaxAttrBytes)
    return {ErrorCode::too_large, "an object's attribute has at most 16 KiB"};
  if (op.type == OpType::write_checked) return check_blocks(op);
  return {};
}

}  // namespace

std::uint32_t block_checksum(PoolId pool, std::string_view name, std::uint32_t block_index,
                             const Version& version, ByteSpan block) {
  std::byte seed[4 + kMaxObjectNameBytes + 4 + 4 + 8];
  CAIRN_ASSERT(name.size() <= kMaxObjectNameBytes);
  std::byte* to = seed;
  store_le(to, pool);
  to += 4;
  std::memcpy(to, name.data(), name.size());
  to += name.size();
  store_le(to, planted(PlantedBug::checksum_without_offset) ? 0 : block_index);
  store_le(to + 4, version.epoch);
  store_le(to + 8, version.number);
  to += 16;
  return crc32c(block, crc32c({seed, static_cast<std::size_t>(to - seed)}));
}

std::string describe(const ObjectId& object) {
  std::string text = "pool " + std::to_string(object.pool) + " object \"" + object.name + "\"";
  if (object.snap != kHead) text += " snapshot " + std::to_string(object.snap);
  return text;
}

Status validate(const Transaction& transaction) {
  for (const Transaction::Op& op : transaction.ops()) CAIRN_RETURN_IF_ERROR(validate(op));
  return {};
}

// A write and its log entry.
constexpr std::size_t kUsualOps = 2;

Transaction::Transaction() { ops_.reserve(kUsualOps); }
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction& Transaction::operator=(Transaction&&) noexcept = default;
Transaction::~Transaction() = default;

void Transaction::write(PgId pg, const ObjectId& object, std::uint64_t offset, Buffer data,
                        Version version) {
  Op& op = ops_.emplace_back();
  op.type = OpType::write;
  op.pg = pg;
  op.object = object;
  op.version = version;
  set_range(op, offset, data.size());
  data_bytes_ += data.size();
  op.data = std::move(data);
}

void Transaction::write_checked(PgId pg, const ObjectId& object, std::uint64_t offset, Buffer data,
                                const std::vector<BlockInfo>& blocks) {
  Op& op = ops_.emplace_back();
  op.type = OpType::write_checked;
  op.pg = pg;
  op.object = object;
  op.blocks = blocks;
  set_range(op, offset, data.size());
  if (blocks.size() * kBlockBytes != data.size())
    op.refused = {ErrorCode::invalid_argument, "write_checked needs one BlockInfo per block"};
  data_bytes_ += data.size();
  op.data = std::move(data);
}

void Transaction::write_zeroes(PgId pg, const ObjectId& object, std::uint64_t offset,
                               std::uint64_t length, Version version) {
  Op& op = ops_.emplace_back();
  op.type = OpType::write_zeroes;
  op.pg = pg;
  op.object = object;
  op.version = version;
  set_range(op, offset, length);
}

void Transaction::punch(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
                        Version version) {
  write_zeroes(pg, object, offset, length, version);
  ops_.back().type = OpType::punch;
}

void Transaction::touch(PgId pg, const ObjectId& object, Version version) {
  Op& op = ops_.emplace_back();
  op.type = OpType::touch;
  op.pg = pg;
  op.object = object;
  op.version = version;
}

void Transaction::remove(PgId pg, const ObjectId& object) {
  touch(pg, object, {});
  ops_.back().type = OpType::remove;
}

void Transaction::clone(PgId pg, const ObjectId& from, const ObjectId& to, Version version) {
  touch(pg, from, version);
  Op& op = ops_.back();
  op.type = OpType::clone;
  op.number = to.snap;
  if (from.pool != to.pool || from.name != to.name || from.snap == to.snap)
    op.refused = {ErrorCode::invalid_argument,
                  "a clone has the name of its source and another snapshot id, because the name "
                  "is part of the shared blocks' checksums"};
}

void Transaction::share(PgId pg, const ObjectId& from, const ObjectId& to, std::uint64_t offset,
                        std::uint64_t length, Version version) {
  clone(pg, from, to, version);
  ops_.back().type = OpType::share;
  if (ops_.back().refused) set_range(ops_.back(), offset, length);
}

void Transaction::omap_set(PgId pg, const ObjectId& object, std::string key, std::string value,
                           Version version) {
  touch(pg, object, version);
  Op& op = ops_.back();
  op.type = OpType::omap_set;
  op.key = std::move(key);
  op.value = std::move(value);
}

void Transaction::omap_remove(PgId pg, const ObjectId& object, std::string key, Version version) {
  touch(pg, object, version);
  ops_.back().type = OpType::omap_remove;
  ops_.back().key = std::move(key);
}

void Transaction::omap_clear(PgId pg, const ObjectId& object, Version version) {
  touch(pg, object, version);
  ops_.back().type = OpType::omap_clear;
}

void Transaction::set_object_version(PgId pg, const ObjectId& object, Version version) {
  touch(pg, object, version);
  ops_.back().type = OpType::set_object_version;
}

void Transaction::set_attr(PgId pg, const ObjectId& object, std::string attr, Version version) {
  touch(pg, object, version);
  ops_.back().type = OpType::set_attr;
  ops_.back().value = std::move(attr);
}

void Transaction::move(PgId from, const ObjectId& object, PgId to) {
  touch(from, object, {});
  Op& op = ops_.back();
  op.type = OpType::move;
  op.number = to.seed;
  if (from.pool != to.pool || from.seed == to.seed)
    op.refused = {ErrorCode::invalid_argument,
                  "an object moves to another placement group of its pool"};
}

void Transaction::log_append(PgId pg, std::uint64_t number, std::vector<std::byte> entry) {
  Op& op = ops_.emplace_back();
  op.type = OpType::log_append;
  op.pg = pg;
  op.number = number;
  op.entry = std::move(entry);
}

void Transaction::log_trim(PgId pg, std::uint64_t up_to_number) {
  log_append(pg, up_to_number, {});
  ops_.back().type = OpType::log_trim;
}

void Transaction::log_rewind(PgId pg, std::uint64_t to_number) {
  log_append(pg, to_number, {});
  ops_.back().type = OpType::log_rewind;
}

void Transaction::log_reset(PgId pg, std::uint64_t first_number) {
  log_append(pg, first_number, {});
  ops_.back().type = OpType::log_reset;
}

void Transaction::pg_meta_set(PgId pg, std::string key, std::string value) {
  Op& op = ops_.emplace_back();
  op.type = OpType::pg_meta_set;
  op.pg = pg;
  op.key = std::move(key);
  op.value = std::move(value);
}

void Transaction::pg_meta_remove(PgId pg, std::string key) {
  pg_meta_set(pg, std::move(key), {});
  ops_.back().type = OpType::pg_meta_remove;
}

void Transaction::remove_pg(PgId pg) {
  log_append(pg, 0, {});
  ops_.back().type = OpType::remove_pg;
}

void Transaction::store_meta_set(std::string key, std::string value) {
  pg_meta_set({}, std::move(key), std::move(value));
  ops_.back().type = OpType::store_meta_set;
}

void Transaction::append(Transaction other) {
  ops_.insert(ops_.end(), std::make_move_iterator(other.ops_.begin()),
              std::make_move_iterator(other.ops_.end()));
  data_bytes_ += other.data_bytes_;
  may_use_reserve_ = may_use_reserve_ || other.may_use_reserve_;
}

}  // namespace cairn::object_store
