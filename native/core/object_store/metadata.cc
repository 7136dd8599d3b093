// The values of the key-value region that describe objects.
#include "object_store/metadata.hh"

#include <utility>

#include "base/assert.hh"
#include "object_store/varint.hh"

namespace cairn::object_store {

std::string encode_header(const HeaderValue& header) {
  std::string value;
  value.reserve(32);
  put_varint(value, header.id);
  put_varint(value, header.omap_id);
  put_varint(value, header.version.epoch);
  put_varint(value, header.version.number);
  put_varint(value, header.block_limit);
  // To the end of the value; a header without an attribute has no byte for it.
  value += header.attr;
  return value;
}

bool decode_header(std::string_view value, HeaderValue& header) {
  ValueReader reader(value);
  header.id = reader.varint();
  header.omap_id = reader.varint();
  header.version.epoch = static_cast<Epoch>(reader.varint());
  header.version.number = reader.varint();
  header.block_limit = static_cast<std::uint32_t>(reader.varint());
  if (!reader.ok()) return false;
  header.attr = reader.rest();
  return header.attr.size() <= kMaxAttrBytes && header.id != 0 &&
         header.block_limit <= kMaxObjectBlocks;
}

void Onode::encode(kv::WriteBatch& batch) {
  const std::string key = keys::header(collection(), name_, snap());
  if (exists)
    batch.put(key, encode_header(header));
  else
    batch.erase(key);
}

Shard& Onode::add_shard(std::uint32_t index) {
  if (slots_.size() <= index) slots_.resize(index + 1);
  ShardSlot& slot = slots_[index];
  CAIRN_ASSERT(!slot.is_known());
  slot.hold(std::make_unique<Shard>(header.id, index, &dirty_parts));
  ++in_use_;
  slot_bytes_ += slot.memory_bytes();
  recharge();
  return *slot.shard();
}

void Onode::add_packed_shard(std::uint32_t index, std::string_view value) {
  if (slots_.size() <= index) slots_.resize(index + 1);
  ShardSlot& slot = slots_[index];
  CAIRN_ASSERT(!slot.is_known());
  slot.hold_value(value);
  slot_bytes_ += slot.memory_bytes();
  recharge();
}

std::unique_ptr<Shard> Onode::release_shard(std::uint32_t index) {
  ShardSlot& slot = slots_[index];
  --in_use_;
  slot_bytes_ -= slot.memory_bytes();
  recharge();
  return slot.release();
}

void Onode::forget_shards() {
  std::vector<ShardSlot>().swap(slots_);
  in_use_ = 0;
  slot_bytes_ = 0;
  recharge();
}

std::size_t Onode::pack_shards() {
  // Those that a checkpoint has yet to write need not be looked at one by one.
  if (in_use_ + is_dirty() == dirty_parts) return 0;
  std::uint32_t packed = 0;
  for (ShardSlot& slot : slots_) {
    const Shard* const shard = slot.shard();
    if (shard == nullptr || shard->is_dirty()) continue;
    const ShardValue encoded(shard->blocks);
    const std::string_view value = encoded.view();
    slot_bytes_ -= slot.memory_bytes();
    // Of a whole object, what has no block need not be known.
    if (is_whole && value.empty())
      slot.clear();
    else
      slot.hold_value(value);
    slot_bytes_ += slot.memory_bytes();
    ++packed;
  }
  in_use_ -= packed;
  if (packed > 0) recharge();
  return packed;
}

std::size_t Onode::forget_packed_shards() {
  std::size_t forgotten = 0;
  for (ShardSlot& slot : slots_) {
    if (!slot.is_packed()) continue;
    slot_bytes_ -= slot.memory_bytes();
    slot.clear();
    ++forgotten;
  }
  if (forgotten == 0) return 0;
  is_whole = false;
  recharge();
  return forgotten;
}

void Onode::unpack(std::uint32_t index) {
  ShardSlot& slot = slots_[index];
  auto shard = std::make_unique<Shard>(header.id, index, &dirty_parts);
  const std::string_view value = slot.value();
  const bool is_good = value.empty() || decode_shard(value, shard->blocks);
  CAIRN_ASSERT(is_good);
  ++in_use_;
  slot_bytes_ -= slot.memory_bytes();
  slot.hold(std::move(shard));
  slot_bytes_ += slot.memory_bytes();
  recharge();
}

void Onode::rest() {
  CAIRN_ASSERT(resting_.empty() && dirty_parts == 0);
  pack_shards();
  for (std::uint32_t index = 0; index < slots_.size(); ++index) {
    if (!slots_[index].is_known()) continue;
    const std::string_view value = slots_[index].value();
    put_varint(resting_, index);
    put_varint(resting_, value.size());
    resting_ += value;
  }
  resting_.shrink_to_fit();
  forget_shards();
}

void Onode::wake() {
  const std::string resting = std::exchange(resting_, {});
  ValueReader reader(resting);
  while (!reader.at_end()) {
    const auto index = static_cast<std::uint32_t>(reader.varint());
    if (slots_.size() <= index) slots_.resize(index + 1);
    slots_[index].hold_value(reader.bytes(reader.varint()));
    slot_bytes_ += slots_[index].memory_bytes();
    CAIRN_ASSERT(reader.ok());
  }
  recharge();
}

void Onode::take_over(Onode& from) {
  CAIRN_ASSERT(!exists && slots_.empty());
  exists = std::exchange(from.exists, false);
  is_whole = std::exchange(from.is_whole, false);
  header = std::exchange(from.header, {});
  slots_ = std::exchange(from.slots_, {});
  in_use_ = std::exchange(from.in_use_, 0);
  slot_bytes_ = std::exchange(from.slot_bytes_, 0);
  for (const ShardSlot& slot : slots_)
    if (Shard* const shard = slot.shard()) shard->change_owner(&dirty_parts);
  from.recharge();
  recharge();
}

std::size_t Onode::memory_bytes() const {
  // 96: a slot of 32 bytes in the cache's table, of which at least three eighths are used, and the
  // allocator's own bytes.
  return sizeof *this + name_.capacity() + header.attr.capacity() + 96 + resting_.capacity() +
         slots_.capacity() * sizeof(slots_[0]) + slot_bytes_;
}

void Onode::recharge() {
  const std::size_t bytes = memory_bytes();
  if (account_ != nullptr) *account_ = *account_ - charged_bytes_ + bytes;
  charged_bytes_ = bytes;
}

void ReferenceChunk::encode(kv::WriteBatch& batch) {
  std::string value;
  for (std::uint32_t i = 0; i < kReferenceChunkBlocks; ++i) {
    if (extra[i] == 0) continue;
    value += static_cast<char>(i);
    put_varint(value, extra[i]);
  }
  if (value.empty())
    batch.erase(keys::reference_chunk(index_));
  else
    batch.put(keys::reference_chunk(index_), value);
}

bool ReferenceChunk::decode(std::string_view value) {
  ValueReader reader(value);
  while (reader.ok() && !reader.at_end()) {
    const auto index = reader.fixed<std::uint8_t>();
    if (index >= kReferenceChunkBlocks) return false;
    extra[index] = static_cast<std::uint32_t>(reader.varint());
  }
  return reader.ok();
}

std::string encode_system_state(const SystemState& state) {
  std::string value;
  put_fixed(value, state.applied_sequence);
  put_fixed(value, state.wal_position);
  put_fixed(value, state.next_id);
  return value;
}

bool decode_system_state(std::string_view value, SystemState& state) {
  ValueReader reader(value);
  state.applied_sequence = reader.fixed<std::uint64_t>();
  state.wal_position = reader.fixed<std::uint64_t>();
  state.next_id = reader.fixed<std::uint64_t>();
  return reader.at_end() && state.next_id != 0;
}

}  // namespace cairn::object_store
