// What the store knows of an object, in memory and as values of the key-value region: the header
// (Onode), its block map in shards of 16 blocks, and the reference counts of shared blocks.
//
// Sizes in memory: an Onode about 400 bytes with a name of 40; a shard about 550 bytes, that is 34
// for each 4 KiB block that is known. As values, and packed: a shard about 10 bytes a block.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "object_store/checkpoint_set.hh"
#include "object_store/keys.hh"
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
// The value of a shard; empty when all blocks are absent.
std::string encode_shard(const ShardBlocks& blocks);
// False for bytes that encode_shard does not write.
bool decode_shard(std::string_view value, ShardBlocks& blocks);

class Shard final : public CheckpointEntry {
 public:
  Shard(std::uint64_t object_id, std::uint32_t index, std::uint32_t* dirty_count)
      : object_id_(object_id), index_(index) {
    dirty_count_ = dirty_count;
  }
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

struct HeaderValue {
  std::uint64_t id = 0;       // of the shards' keys; never used again
  std::uint64_t omap_id = 0;  // of the omap's keys; 0: no omap
  Version version;
  std::uint32_t block_limit = 0;  // all blocks from here on are absent
  std::string attr;               // at most kMaxAttrBytes
};
std::string encode_header(const HeaderValue& header);
bool decode_header(std::string_view value, HeaderValue& header);

struct ObjectKey {
  keys::Collection collection = 0;
  std::string_view name;
  std::uint64_t snap = kHead;
  bool operator==(const ObjectKey&) const = default;
};

// The header of an object, or the knowledge that there is no such object. What each write needs
// stands first, in few lines of memory.
class Onode final : public CheckpointEntry {
 public:
  Onode(keys::Collection collection, std::string name, std::uint64_t snap)
      : key_{collection, {}, snap}, name_(std::move(name)) {
    key_.name = name_;
    dirty_count_ = &dirty_parts;
  }
  void encode(kv::WriteBatch& batch) override;
  // Headers alone have one: their collection.
  std::uint64_t group() const override { return key_.collection; }

  const ObjectKey& key() const { return key_; }
  keys::Collection collection() const { return key_.collection; }
  const std::string& name() const { return name_; }
  std::uint64_t snap() const { return key_.snap; }

  // The shard, none when it is not in memory; of a whole object that means that it has no block.
  Shard* shard(std::uint32_t index) const {
    return index < shards.size() ? shards[index].get() : nullptr;
  }
  // Made with absent blocks; there is none yet.
  Shard& add_shard(std::uint32_t index);
  // Becomes what the other one is, which is absent afterwards. Both are touched; this one is
  // absent.
  void take_over(Onode& from);
  std::size_t memory_bytes() const;
  // The shards as values while nobody uses the object, which is clean then.
  void pack();
  void unpack();

 private:
  ObjectKey key_;  // its name is name_

 public:
  bool exists = false;
  bool is_whole = false;          // all shards that have a block are in memory
  bool is_used = false;           // since the cache last looked at it
  bool is_resting = false;        // in the cache's other list
  std::uint32_t dirty_parts = 0;  // header and shards that a checkpoint has yet to write
  std::uint32_t pins = 0;         // operations that rely on its staying in memory
  std::vector<std::unique_ptr<Shard>> shards;
  HeaderValue header;
  // Of a head: no layer of its name has this id or a higher one. Forgotten with the entry.
  std::uint64_t no_layer_from = kHead;
  Onode* newer = nullptr;  // the cache's list
  Onode* older = nullptr;
  std::size_t charged_bytes = 0;  // what the cache has counted for it

 private:
  std::string name_;
  std::string packed_;  // of each shard: index, length and bytes of its value
};

// Further references to blocks, beyond the first one.
constexpr std::uint32_t kReferenceChunkBlocks = 32;
class ReferenceChunk final : public CheckpointEntry {
 public:
  explicit ReferenceChunk(std::uint32_t index) : index_(index) {}
  void encode(kv::WriteBatch& batch) override;
  bool decode(std::string_view value);
  std::array<std::uint32_t, kReferenceChunkBlocks> extra{};

 private:
  std::uint32_t index_;
};

// The one value that says up to where the region holds the WAL's records.
struct SystemState {
  std::uint64_t applied_sequence = 0;
  std::uint64_t wal_position = 0;  // of the record behind it; counts on, modulo the WAL's length
  std::uint64_t next_id = 1;       // of objects, omaps and collections
};
std::string encode_system_state(const SystemState& state);
bool decode_system_state(std::string_view value, SystemState& state);

}  // namespace cairn::object_store
