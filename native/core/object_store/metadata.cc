// The values of the key-value region that describe objects.
#include "object_store/metadata.hh"

#include <algorithm>
#include <limits>
#include <utility>

#include "object_store/varint.hh"

namespace cairn::object_store {

namespace {
constexpr std::int64_t kLastPhysical = std::numeric_limits<std::uint32_t>::max();
}

bool has_block(const ShardBlocks& blocks) {
  return std::any_of(blocks.begin(), blocks.end(),
                     [](const BlockEntry& block) { return block.state != BlockState::absent; });
}

// u32 states (two bits a block), u16 shared blocks (a bit each), varint epoch and number that the
// versions are relative to; then for each block that is not absent: signed varint epoch, varint
// number; for data also u32 CRC, signed varint distance from the block behind the previous one.
std::string encode_shard(const ShardBlocks& blocks) {
  std::uint32_t states = 0;
  std::uint32_t shared = 0;
  std::uint64_t base_number = ~std::uint64_t{0};
  Epoch base_epoch = 0;
  for (std::uint32_t i = 0; i < kShardBlocks; ++i) {
    const BlockEntry& block = blocks[i];
    states |= static_cast<std::uint32_t>(block.state) << (2 * i);
    if (block.state == BlockState::absent) continue;
    if (block.shared) shared |= 1U << i;
    base_number = std::min(base_number, block.number);
    base_epoch = std::max(base_epoch, block.epoch);
  }
  std::string value;
  if (states == 0) return value;
  value.reserve(192);
  put_fixed(value, states);
  put_fixed(value, static_cast<std::uint16_t>(shared));
  put_varint(value, base_epoch);
  put_varint(value, base_number);
  std::int64_t expected = 0;
  for (const BlockEntry& block : blocks) {
    if (block.state == BlockState::absent) continue;
    put_varint(value, base_epoch - block.epoch);
    put_varint(value, block.number - base_number);
    if (block.state != BlockState::data) continue;
    put_fixed(value, block.crc);
    put_signed_varint(value, std::int64_t{block.physical} - expected);
    expected = std::int64_t{block.physical} + 1;
  }
  return value;
}

bool decode_shard(std::string_view value, ShardBlocks& blocks) {
  ValueReader reader(value);
  const auto states = reader.fixed<std::uint32_t>();
  const auto shared = reader.fixed<std::uint16_t>();
  const std::uint64_t base_epoch = reader.varint();
  const std::uint64_t base_number = reader.varint();
  std::int64_t expected = 0;
  for (std::uint32_t i = 0; i < kShardBlocks; ++i) {
    const std::uint32_t state = (states >> (2 * i)) & 3;
    blocks[i] = {};
    if (state > static_cast<std::uint32_t>(BlockState::data)) return false;
    if (state == 0) continue;
    blocks[i].state = static_cast<BlockState>(state);
    blocks[i].shared = (shared >> i & 1) != 0;
    blocks[i].epoch = static_cast<Epoch>(base_epoch - reader.varint());
    blocks[i].number = base_number + reader.varint();
    if (blocks[i].state != BlockState::data) continue;
    blocks[i].crc = reader.fixed<std::uint32_t>();
    const std::int64_t jump = reader.signed_varint();
    // Compared before it is added: the sum of what is in the value may not fit.
    if (jump < -expected || jump > kLastPhysical - expected) return false;
    blocks[i].physical = static_cast<std::uint32_t>(expected + jump);
    expected = std::int64_t{blocks[i].physical} + 1;
  }
  return states != 0 && reader.at_end();
}

void Shard::encode(kv::WriteBatch& batch) {
  const std::string value = encode_shard(blocks);
  if (value.empty())
    batch.erase(keys::shard(object_id_, index_));
  else
    batch.put(keys::shard(object_id_, index_), value);
}

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
  if (shards.size() <= index) shards.resize(index + 1);
  shards[index] = std::make_unique<Shard>(header.id, index, &dirty_parts);
  return *shards[index];
}

void Onode::pack() {
  CAIRN_ASSERT(packed_.empty() && dirty_parts == 0);
  for (std::uint32_t index = 0; index < shards.size(); ++index) {
    if (!shards[index]) continue;
    const std::string value = encode_shard(shards[index]->blocks);
    if (is_whole && value.empty()) continue;
    put_varint(packed_, index);
    put_varint(packed_, value.size());
    packed_ += value;
  }
  packed_.shrink_to_fit();
  std::vector<std::unique_ptr<Shard>>().swap(shards);
}

void Onode::unpack() {
  const std::string packed = std::exchange(packed_, {});
  ValueReader reader(packed);
  while (!reader.at_end()) {
    Shard& shard = add_shard(static_cast<std::uint32_t>(reader.varint()));
    const std::string_view value = reader.bytes(reader.varint());
    const bool is_good = value.empty() || decode_shard(value, shard.blocks);
    CAIRN_ASSERT(reader.ok() && is_good);
  }
}

void Onode::take_over(Onode& from) {
  CAIRN_ASSERT(!exists && shards.empty());
  exists = std::exchange(from.exists, false);
  is_whole = std::exchange(from.is_whole, false);
  header = std::exchange(from.header, {});
  shards = std::exchange(from.shards, {});
  for (const std::unique_ptr<Shard>& shard : shards)
    if (shard) shard->change_owner(&dirty_parts);
}

std::size_t Onode::memory_bytes() const {
  // 96: a slot of 32 bytes in the cache's table, of which at least three eighths are used, and the
  // allocator's own bytes.
  std::size_t bytes = sizeof *this + name_.capacity() + header.attr.capacity() + 96;
  bytes += packed_.capacity();
  bytes += shards.capacity() * sizeof(shards[0]);
  for (const auto& shard : shards)
    if (shard) bytes += sizeof(Shard) + 16;
  return bytes;
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
