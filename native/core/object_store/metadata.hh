// What the store knows of an object, in memory and as values of the key-value region: the header
// (Onode), its block map in shards of 16 blocks (shard.hh), and the reference counts of shared
// blocks. In memory an Onode has about 400 bytes with a name of 40, and 8 for each shard.
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
#include "object_store/shard.hh"

namespace cairn::object_store {

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

  // The shard, null when it is not in memory; of a whole object that means that it has no block. A
  // packed one is unpacked. It stays as it is until the cache is asked to make room.
  Shard* shard(std::uint32_t index) {
    if (index >= slots_.size()) return nullptr;
    if (slots_[index].is_packed()) unpack(index);
    return slots_[index].shard();
  }
  // Whether shard() would find one.
  bool knows_shard(std::uint32_t index) const {
    return index < slots_.size() && slots_[index].is_known();
  }
  // All that are known have smaller indices.
  std::uint32_t shard_end() const { return static_cast<std::uint32_t>(slots_.size()); }
  // Made with absent blocks; there is none yet.
  Shard& add_shard(std::uint32_t index);
  // As its value, which decode_shard() takes; it is not known yet.
  void add_packed_shard(std::uint32_t index, std::string_view value);
  // Lets go of the one in use.
  std::unique_ptr<Shard> release_shard(std::uint32_t index);
  // Lets go of what is left: nothing is known of any shard.
  void forget_shards();
  // Packs those in use that no checkpoint has yet to write, and says how many.
  std::size_t pack_shards();
  // Lets go of those that are packed, and says how many: the region has them.
  std::size_t forget_packed_shards();
  // Becomes what the other one is, which is absent afterwards. Both are touched; this one is
  // absent.
  void take_over(Onode& from);
  std::size_t memory_bytes() const;
  // Counts what it takes now in place of what was counted for it. account: the cache's.
  void recharge();
  void charge_to(std::uint64_t* account) { account_ = account; }
  std::size_t charged_bytes() const { return charged_bytes_; }
  // All shards in one piece while nobody uses the object, which is clean then.
  void rest();
  void wake();

 private:
  void unpack(std::uint32_t index);

  ObjectKey key_;  // its name is name_
  std::vector<ShardSlot> slots_;

 public:
  bool exists = false;
  bool is_whole = false;          // all shards that have a block are in memory
  bool is_used = false;           // since the cache last looked at it
  bool is_resting = false;        // in the cache's other list
  bool is_read_ahead = false;     // all of its shards are on their way
  bool loads_singly = false;      // not all of them can be read
  std::uint32_t dirty_parts = 0;  // header and shards that a checkpoint has yet to write
  std::uint32_t pins = 0;         // operations that rely on its staying in memory
  HeaderValue header;
  // Of a head: no layer of its name has this id or a higher one. Forgotten with the entry.
  std::uint64_t no_layer_from = kHead;
  Onode* newer = nullptr;  // the cache's list
  Onode* older = nullptr;

 private:
  std::uint32_t in_use_ = 0;       // shards
  std::size_t slot_bytes_ = 0;     // what the slots hold
  std::size_t charged_bytes_ = 0;  // what has been counted for it
  std::uint64_t* account_ = nullptr;
  std::string name_;
  std::string resting_;  // of each shard: index, length and bytes of its value
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
