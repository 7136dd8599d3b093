// A shard: 16 blocks of an object's block map, in use (Shard) or as its value (in a ShardSlot).
//
// In use it takes about 450 bytes, 28 for each block; as its value a third to a half of that. So
// what no checkpoint waits for is packed when the metadata cache needs room, and the first who asks
// for it unpacks it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "object_store/checkpoint_set.hh"
#include "object_store/object_store.hh"

namespace cairn::object_store {

constexpr std::uint32_t kShardBlocks = 16;
constexpr std::uint32_t kMaxObjectBlocks =
    static_cast<std::uint32_t>(kMaxObjectBytes / kBlockBytes);

struct BlockEntry {
  std::uint64_t number = 0;  // of the version
  Epoch epoch = 0;
  std::uint32_t crc = 0;
  std::uint32_t physical = 0;
  BlockState state = BlockState::absent;
  // The reference counts must be asked before the block is written in place or freed. May be set
  // for a block whose other owners have gone.
  bool shared = false;

  Version version() const { return {epoch, number}; }
  BlockInfo info() const { return {state, crc, version()}; }
  bool operator==(const BlockEntry&) const = default;
};

using ShardBlocks = std::array<BlockEntry, kShardBlocks>;

// Whether any block is not absent.
bool has_block(const ShardBlocks& blocks);
// The value of a shard; empty when all blocks are absent. Made on the stack: a checkpoint makes
// thousands at once.
class ShardValue {
 public:
  explicit ShardValue(const ShardBlocks& blocks);
  std::string_view view() const { return {bytes_.data(), length_}; }

 private:
  // States, shared blocks, base epoch and number; of a block epoch, number, CRC and distance.
  static constexpr std::size_t kMaxBytes = 4 + 2 + 5 + 10 + kShardBlocks * (5 + 10 + 4 + 5);
  std::array<char, kMaxBytes> bytes_;
  std::size_t length_ = 0;
};
// False for bytes that no ShardValue has.
bool decode_shard(std::string_view value, ShardBlocks& blocks);

class Shard final : public CheckpointEntry {
 public:
  Shard(std::uint64_t object_id, std::uint32_t index, std::uint32_t* dirty_count)
      : object_id_(object_id), index_(index) {
    dirty_count_ = dirty_count;
  }
  // In slabs of the thread's own: see slab_pool.hh.
  static void* operator new(std::size_t bytes);
  static void operator delete(void* memory);
  // Slabs that nothing lies in go back to malloc: for a pause.
  static void release_slabs();
  void encode(kv::WriteBatch& batch) override;
  // The object lets go of it; it stays in the CheckpointSet until it has been erased.
  void disown() {
    if (is_dirty()) --*dirty_count_;
    dirty_count_ = nullptr;
  }
  // Another object has it from now on, under the same id; dirty_count: of that object.
  void change_owner(std::uint32_t* dirty_count) {
    if (is_dirty()) {
      --*dirty_count_;
      ++*dirty_count;
    }
    dirty_count_ = dirty_count;
  }
  ShardBlocks blocks;

 private:
  std::uint64_t object_id_;
  std::uint32_t index_;
};

// The place of one shard in memory: nothing is known of it, or it is in use, or its value is here.
class ShardSlot {
 public:
  ShardSlot() = default;
  ShardSlot(ShardSlot&& other) noexcept : bits_(std::exchange(other.bits_, 0)) {}
  ShardSlot& operator=(ShardSlot&& other) noexcept {
    std::swap(bits_, other.bits_);
    return *this;
  }
  ~ShardSlot() { clear(); }

  bool is_known() const { return bits_ != 0; }
  bool is_packed() const { return (bits_ & kPacked) != 0; }
  // The one in use; null otherwise.
  Shard* shard() const { return is_packed() ? nullptr : reinterpret_cast<Shard*>(bits_); }
  // The value of a packed one; empty when all of its blocks are absent.
  std::string_view value() const;
  void hold(std::unique_ptr<Shard> shard);
  void hold_value(std::string_view value);
  // The one in use; nothing is known here afterwards.
  std::unique_ptr<Shard> release();
  void clear();
  // Beside the slot itself, with the allocator's own.
  std::size_t memory_bytes() const;

 private:
  // A pointer to a Shard or, with the lowest bit set, to the length (u16) and bytes of a value;
  // no bytes: null and that bit.
  static constexpr std::uintptr_t kPacked = 1;
  char* packed() const { return reinterpret_cast<char*>(bits_ & ~kPacked); }
  std::uintptr_t bits_ = 0;
};

}  // namespace cairn::object_store
