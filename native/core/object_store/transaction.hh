// The change list behind Transaction: one Op per call, in the order of the calls. An Op is also
// what a WAL record is decoded to, so that replay runs the same code as the live path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/buffer.hh"
#include "object_store/object_store.hh"

namespace cairn::object_store {

// The numbers are on disk (docs/format/object-store.md).
enum class OpType : std::uint8_t {
  write = 1,
  write_checked = 2,
  write_zeroes = 3,
  punch = 4,
  touch = 5,
  remove = 6,
  clone = 7,
  omap_set = 8,
  omap_remove = 9,
  omap_clear = 10,
  set_object_version = 11,
  log_append = 12,
  log_trim = 13,
  log_rewind = 14,
  log_reset = 15,
  pg_meta_set = 16,
  pg_meta_remove = 17,
  remove_pg = 18,
  store_meta_set = 19,
  reap_object = 20,  // internal: an object of a removed PG; number is its collection
  set_attr = 21,
  share = 22,
  move = 23,
};

// Where a data block goes, and its seeded checksum: fixed when the transaction is committed.
struct PlacedBlock {
  std::uint32_t physical = 0;  // index in the data area
  std::uint32_t crc = 0;
  bool operator==(const PlacedBlock&) const = default;
};

struct Transaction::Op {
  OpType type = OpType::touch;
  bool direct = false;  // write, write_checked: data goes to fresh blocks beside the WAL
  PgId pg;
  ObjectId object;
  Version version;
  std::uint32_t first_block = 0;  // of the range of write..., punch, share
  std::uint32_t block_count = 0;
  // Of a log entry; clone, share: the target's snap; move: the target's seed; reap: collection.
  std::uint64_t number = 0;
  Buffer data;                      // empty in a decoded direct write
  std::vector<BlockInfo> blocks;    // write_checked
  std::vector<PlacedBlock> placed;  // write, write_checked: one per block, made at commit
  std::string key;                  // clone: the target's name
  std::string value;                // set_attr: the attribute
  std::vector<std::byte> entry;     // log_append
  Status refused;                   // what is wrong with the arguments, if anything

  bool writes_data() const { return type == OpType::write || type == OpType::write_checked; }
  // What the ops behind it find is not what was there before the transaction.
  bool rearranges_blocks() const {
    return type == OpType::clone || type == OpType::share || type == OpType::move;
  }
  PgId move_target() const { return {pg.pool, static_cast<std::uint32_t>(number)}; }
  // State that the block [0, block_count) gets by a write or write_checked.
  // Its blocks that are data.
  std::uint32_t data_block_count() const {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < block_count; ++i)
      if (block_state(i) == BlockState::data) ++count;
    return count;
  }
  BlockState block_state(std::uint32_t block) const {
    return type == OpType::write_checked ? blocks[block].state : BlockState::data;
  }
  Version block_version(std::uint32_t block) const {
    return type == OpType::write_checked ? blocks[block].version : version;
  }
  // visit(place of the first block, their data), for the data blocks in runs that lie behind each
  // other on the disk. Of a write that has been placed.
  template <typename Visit>
  void for_each_run(Visit visit) const {
    for (std::uint32_t from = 0; from < block_count;) {
      if (block_state(from) != BlockState::data) {
        ++from;
        continue;
      }
      const std::uint32_t physical = placed[from].physical;
      std::uint32_t end = from + 1;
      while (end < block_count && block_state(end) == BlockState::data &&
             placed[end].physical == physical + (end - from))
        ++end;
      visit(physical, data.slice(from * kBlockBytes, (end - from) * kBlockBytes));
      from = end;
    }
  }
};

// ok, or why the transaction can never be applied: invalid_argument (alignment, name length, pool
// of object and PG, clone to another name, move to the same PG or another pool), out_of_range
// (beyond kMaxObjectBytes), checksum_mismatch (write_checked; names object and block).
Status validate(const Transaction& transaction);

// "pool 3 object "name" snapshot 7", for error texts.
std::string describe(const ObjectId& object);

}  // namespace cairn::object_store
