// Fuzzes the values (and keys) of the object store's key-value region. The first byte chooses:
//   0 object header   1 block map shard   2 reference counts   3 system state   4 PG log segment
//   5 PG record       6 allocation bitmap 7 keys               8 snap set (an object's attribute)
// Beside the sanitizers it checks: what is decoded encodes to a value that decodes to the same, and
// what a decoded value promises (entries that can be listed, counts that fit).
#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.hh"
#include "object_store/allocator.hh"
#include "object_store/checkpoint_set.hh"
#include "object_store/keys.hh"
#include "object_store/metadata.hh"
#include "object_store/pg_table.hh"
#include "pg/snapset.hh"

namespace {

using namespace cairn;
using namespace cairn::object_store;

void fuzz_header(std::string_view value) {
  HeaderValue header;
  if (!decode_header(value, header)) return;
  CAIRN_ASSERT(header.block_limit <= kMaxObjectBlocks && header.id != 0);
  HeaderValue again;
  CAIRN_ASSERT(decode_header(encode_header(header), again));
  CAIRN_ASSERT(encode_header(again) == encode_header(header));
}

void fuzz_shard(std::string_view value) {
  ShardBlocks blocks;
  if (!decode_shard(value, blocks)) return;
  ShardBlocks again;
  CAIRN_ASSERT(decode_shard(ShardValue(blocks).view(), again));
  CAIRN_ASSERT(again == blocks);
}

void fuzz_references(std::string_view value) {
  ReferenceChunk chunk(0);
  if (!chunk.decode(value)) return;
  kv::WriteBatch batch;
  chunk.encode(batch);
  CAIRN_ASSERT(batch.operation_count() == 1);
  const bool is_empty = std::all_of(chunk.extra.begin(), chunk.extra.end(),
                                    [](std::uint32_t count) { return count == 0; });
  CAIRN_ASSERT(batch.needs_room() == !is_empty);
}

void fuzz_system_state(std::string_view value) {
  SystemState state;
  if (decode_system_state(value, state)) CAIRN_ASSERT(encode_system_state(state) == value);
}

void fuzz_segment(std::string_view value) {
  LogSegment segment;
  if (!LogSegment::decode(value, segment)) return;
  CAIRN_ASSERT(segment.count <= kSegmentEntries);
  std::vector<LogEntryBytes> entries;
  segment.list(0, ~std::uint64_t{0}, entries);
  CAIRN_ASSERT(entries.size() == segment.count);
  LogSegment again;
  CAIRN_ASSERT(LogSegment::decode(segment.encode(), again));
  CAIRN_ASSERT(again.first == segment.first && again.bytes == segment.bytes);
  // Cutting at each place leaves that many entries.
  for (std::uint32_t kept = segment.count; kept-- > 0;) {
    again.cut(segment.first + kept);
    entries.clear();
    again.list(0, ~std::uint64_t{0}, entries);
    CAIRN_ASSERT(again.count == kept && entries.size() == kept);
  }
  CAIRN_ASSERT(again.bytes.empty());
}

void fuzz_pg(std::string_view value) {
  PgEntry pg({1, 2});
  if (!pg.decode(value)) return;
  CAIRN_ASSERT(pg.collection != 0 && pg.log_next >= pg.log_first);
  kv::WriteBatch batch;
  pg.encode(batch);
  CAIRN_ASSERT(batch.operation_count() == 1);
}

void fuzz_bitmap(std::string_view value) {
  constexpr std::uint32_t kBlocks = 70'000;  // 18 chunks, the last one not whole
  if (value.empty()) return;
  const auto chunk = static_cast<std::uint32_t>(static_cast<unsigned char>(value[0]) % 20);
  value.remove_prefix(1);
  CheckpointSet checkpoint_set;
  Allocator allocator(kBlocks, checkpoint_set);
  // The fuzzer's bytes are the start of a chunk; a shorter value is refused for its length.
  std::string bits(value);
  if (!bits.empty() && bits.back() != '\0') bits.resize(512);
  if (!allocator.load_chunk(chunk, bits)) return;
  std::uint32_t set = 0;
  for (const char byte : bits)
    set += static_cast<std::uint32_t>(std::popcount(static_cast<unsigned char>(byte)));
  CAIRN_ASSERT(allocator.referenced() == set);
  CAIRN_ASSERT(allocator.available() == kBlocks - set);
  if (allocator.available() == 0) return;
  const BlockRun run = allocator.allocate(64, 1);
  CAIRN_ASSERT(run.count >= 1 && run.first < kBlocks && run.count <= kBlocks - run.first);
  for (std::uint32_t block = run.first; block < run.first + run.count; ++block)
    CAIRN_ASSERT(!allocator.take(block));
}

void fuzz_keys(std::string_view key) {
  (void)keys::number32(key);
  (void)keys::number64(key);
  CAIRN_ASSERT(keys::user_key(key).size() <= key.size());
  if (const auto pg = keys::parse_pg(key)) CAIRN_ASSERT(keys::pg(*pg).substr(1) == key.substr(1));
  // A name comes back out of the key that it was put into, and keys keep the order of names.
  const std::string name(key.substr(0, key.size() / 2));
  const std::string other(key.substr(key.size() / 2));
  const auto parsed = keys::parse_header(keys::header(7, name, 9));
  CAIRN_ASSERT(parsed && parsed->first == name && parsed->second == 9);
  CAIRN_ASSERT((keys::header(7, name, 9) < keys::header(7, other, 0)) == (name < other) ||
               name == other);
  (void)keys::parse_header(key);
}

void fuzz_snap_set(std::string_view value) {
  const Result<pg::SnapSet> decoded = pg::decode_snap_set(value);
  if (!decoded) return;
  const pg::SnapSet& set = decoded.value();
  CAIRN_ASSERT(pg::decode_snap_set(pg::encode_snap_set(set)).value() == set);
  std::uint64_t below = 0;
  for (const pg::SnapSet::Clone& clone : set.clones) {
    CAIRN_ASSERT(clone.id > below && clone.id <= set.seq);
    for (const std::uint64_t snap : clone.snaps) {
      CAIRN_ASSERT(snap > below && set.resolve(snap) == clone.id);
    }
    below = clone.id;
  }
  // A trim of all that is served leaves nothing.
  pg::SnapSet trimmed = set;
  pg::RemovedSnaps all;
  for (const pg::SnapSet::Clone& clone : set.clones) {
    all.insert(clone.snaps.begin(), clone.snaps.end());
  }
  CAIRN_ASSERT(pg::trim(trimmed, false, all).clones.size() == set.clones.size());
  CAIRN_ASSERT(trimmed.clones.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  constexpr void (*kTargets[])(std::string_view) = {
      fuzz_header, fuzz_shard,  fuzz_references, fuzz_system_state, fuzz_segment,
      fuzz_pg,     fuzz_bitmap, fuzz_keys,       fuzz_snap_set};
  const std::string_view value(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  kTargets[bytes[0] % std::size(kTargets)](value);
  return 0;
}
