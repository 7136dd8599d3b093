// The values of shards, and the slots that hold them.
#include "object_store/shard.hh"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/assert.hh"
#include "base/sanitizer.hh"
#include "base/slab_pool.hh"
#include "object_store/keys.hh"
#include "object_store/varint.hh"

namespace cairn::object_store {

namespace {
constexpr std::int64_t kLastPhysical = std::numeric_limits<std::uint32_t>::max();
}

#if CAIRN_HAS_SANITIZER

void* Shard::operator new(std::size_t bytes) { return ::operator new(bytes); }
void Shard::operator delete(void* memory) { ::operator delete(memory); }
void Shard::release_slabs() {}

#else

namespace {
SlabPool& pool() {
  thread_local SlabPool instance(sizeof(Shard));
  return instance;
}
}  // namespace

void* Shard::operator new(std::size_t bytes) {
  CAIRN_ASSERT(bytes == sizeof(Shard));
  return pool().take();
}
void Shard::operator delete(void* memory) { pool().give(memory); }
void Shard::release_slabs() { pool().release(); }

#endif

bool has_block(const ShardBlocks& blocks) {
  return std::any_of(blocks.begin(), blocks.end(),
                     [](const BlockEntry& block) { return block.state != BlockState::absent; });
}

// u32 states (two bits a block), u16 shared blocks (a bit each), varint epoch and number that the
// versions are relative to; then for each block that is not absent: signed varint epoch, varint
// number; for data also u32 CRC, signed varint distance from the block behind the previous one.
ShardValue::ShardValue(const ShardBlocks& blocks) {
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
  if (states == 0) return;
  char* end = bytes_.data();
  end = write_fixed(end, states);
  end = write_fixed(end, static_cast<std::uint16_t>(shared));
  end = write_varint(end, base_epoch);
  end = write_varint(end, base_number);
  std::int64_t expected = 0;
  for (const BlockEntry& block : blocks) {
    if (block.state == BlockState::absent) continue;
    end = write_varint(end, base_epoch - block.epoch);
    end = write_varint(end, block.number - base_number);
    if (block.state != BlockState::data) continue;
    end = write_fixed(end, block.crc);
    end = write_signed_varint(end, std::int64_t{block.physical} - expected);
    expected = std::int64_t{block.physical} + 1;
  }
  length_ = static_cast<std::size_t>(end - bytes_.data());
  CAIRN_ASSERT(length_ <= bytes_.size());
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
  const ShardValue value(blocks);
  if (value.view().empty())
    batch.erase(keys::shard(object_id_, index_));
  else
    batch.put(keys::shard(object_id_, index_), value.view());
}

namespace {

using PackedLength = std::uint16_t;

PackedLength packed_length(const char* packed) {
  PackedLength length = 0;
  std::memcpy(&length, packed, sizeof length);
  return length;
}

}  // namespace

std::string_view ShardSlot::value() const {
  CAIRN_ASSERT(is_packed());
  const char* const bytes = packed();
  if (bytes == nullptr) return {};
  return {bytes + sizeof(PackedLength), packed_length(bytes)};
}

void ShardSlot::hold(std::unique_ptr<Shard> shard) {
  clear();
  bits_ = reinterpret_cast<std::uintptr_t>(shard.release());
  CAIRN_ASSERT(bits_ != 0 && !is_packed());
}

void ShardSlot::hold_value(std::string_view value) {
  CAIRN_ASSERT(value.size() <= std::numeric_limits<PackedLength>::max());
  char* bytes = nullptr;
  if (!value.empty()) {
    const auto length = static_cast<PackedLength>(value.size());
    bytes = std::allocator<char>().allocate(sizeof length + length);
    std::memcpy(bytes, &length, sizeof length);
    std::memcpy(bytes + sizeof length, value.data(), length);
  }
  clear();
  bits_ = reinterpret_cast<std::uintptr_t>(bytes) | kPacked;
}

std::unique_ptr<Shard> ShardSlot::release() {
  CAIRN_ASSERT(!is_packed());
  return std::unique_ptr<Shard>(reinterpret_cast<Shard*>(std::exchange(bits_, 0)));
}

void ShardSlot::clear() {
  if (!is_packed()) {
    release();
    return;
  }
  if (char* const bytes = packed(); bytes != nullptr)
    std::allocator<char>().deallocate(bytes, sizeof(PackedLength) + packed_length(bytes));
  bits_ = 0;
}

std::size_t ShardSlot::memory_bytes() const {
  constexpr std::size_t kAllocator = 16;
  if (!is_packed()) return bits_ == 0 ? 0 : sizeof(Shard) + kAllocator;
  return packed() == nullptr ? 0 : sizeof(PackedLength) + value().size() + kAllocator;
}

}  // namespace cairn::object_store
