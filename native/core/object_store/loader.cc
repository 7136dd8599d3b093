// Rounds of loading metadata.
#include "object_store/loader.hh"

#include <algorithm>
#include <limits>

namespace cairn::object_store {

namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
constexpr std::uint32_t kAllBlocks = kMaxObjectBlocks;

}  // namespace

void Loader::need_references(const Onode& onode, std::uint32_t first, std::uint32_t end,
                             References references, Missing& missing) {
  for (std::uint32_t block = first; block < end; ++block) {
    const Shard* shard = onode.shard(block / kShardBlocks);
    if (shard == nullptr) {
      block |= kShardBlocks - 1;
      continue;
    }
    const BlockEntry& entry = shard->blocks[block % kShardBlocks];
    if (entry.state != BlockState::data) continue;
    if (!entry.shared && references != References::of_all_blocks) continue;
    if (state_.cache.find_references(entry.physical) != nullptr) continue;
    const std::uint32_t chunk = entry.physical / kReferenceChunkBlocks;
    std::string key = keys::reference_chunk(chunk);
    if (std::find(missing.item_keys.begin(), missing.item_keys.end(), key) !=
        missing.item_keys.end())
      continue;
    missing.items.push_back({.kind = Missing::Kind::references, .name = {}, .index = chunk});
    missing.item_keys.push_back(std::move(key));
  }
}

Onode* Loader::need_blocks(const ObjectKey& key, std::uint32_t first, std::uint32_t end,
                           References references, Missing& missing) {
  Onode* onode = state_.cache.find(key);
  if (onode == nullptr) {
    missing.items.push_back({.kind = Missing::Kind::header,
                             .collection = key.collection,
                             .name = std::string(key.name),
                             .snap = key.snap});
    missing.item_keys.push_back(keys::header(key.collection, key.name, key.snap));
    return nullptr;
  }
  if (!onode->exists) return onode;
  // A block behind the limit may lie in a shard with others before it.
  const std::uint32_t shards = (onode->header.block_limit + kShardBlocks - 1) / kShardBlocks;
  end = std::min(end, shards * kShardBlocks);
  for (std::uint32_t block = first; block < end;
       block = (block / kShardBlocks + 1) * kShardBlocks) {
    const std::uint32_t index = block / kShardBlocks;
    if (onode->shard(index) != nullptr) continue;
    missing.items.push_back(
        {.kind = Missing::Kind::shard, .name = {}, .onode = onode, .index = index});
    missing.item_keys.push_back(keys::shard(onode->header.id, index));
  }
  if (references != References::none) need_references(*onode, first, end, references, missing);
  return onode;
}

Onode* Loader::need_part(const PgEntry& pg, const ObjectKey& key, std::uint32_t first,
                         std::uint32_t end, References references, Missing& missing) {
  if (pg.is_new && state_.cache.find(key) == nullptr) return nullptr;
  return need_blocks(key, first, end, references, missing);
}

// All shards, though none changes: the PGs count data blocks, and a shard that is still on its way
// from the region would come to an object that is another one by then.
void Loader::need_move(const Transaction::Op& op, const PgEntry& source, Missing& missing) {
  const std::string_view name = op.object.name;
  const Onode* from = need_part(source, {source.collection, name, op.object.snap}, 0, kAllBlocks,
                                References::none, missing);
  if (from != nullptr && !from->exists) return;
  if (const PgEntry* target = state_.pgs.find(op.move_target()))
    need_part(*target, {target->collection, name, op.object.snap}, 0, kAllBlocks,
              References::of_shared_blocks, missing);
}

void Loader::need(const Transaction::Op& op, Missing& missing) {
  if (op.type == OpType::reap_object) {
    need_blocks({op.number, op.object.name, op.object.snap}, 0, kAllBlocks,
                References::of_shared_blocks, missing);
    return;
  }
  PgEntry* pg = state_.pgs.find(op.pg);
  if (pg == nullptr) return;
  if (op.type == OpType::log_rewind) {
    if (const auto segment = pg->segment_to_rewind(op.number)) {
      missing.items.push_back(
          {.kind = Missing::Kind::segment, .name = {}, .pg = pg, .index = *segment});
      missing.item_keys.push_back(keys::log_segment(pg->collection, *segment));
    }
    return;
  }
  if (op.type == OpType::move) return need_move(op, *pg, missing);
  if (op.type > OpType::set_object_version && op.type != OpType::set_attr &&
      op.type != OpType::share)
    return;
  ObjectKey key{pg->collection, op.object.name, op.object.snap};
  const auto need_range = [&](std::uint32_t first, std::uint32_t end, References references) {
    return need_part(*pg, key, first, end, references, missing);
  };
  switch (op.type) {
    case OpType::write:
    case OpType::write_checked:
    case OpType::write_zeroes:
    case OpType::punch:
      need_range(op.first_block, op.first_block + op.block_count, References::of_shared_blocks);
      break;
    case OpType::remove:
      need_range(0, kAllBlocks, References::of_shared_blocks);
      break;
    case OpType::clone: {
      const Onode* from = need_range(0, kAllBlocks, References::of_all_blocks);
      if (from != nullptr && from->exists && from->header.omap_id != 0 &&
          !state_.loaded_omaps.contains(from->header.omap_id))
        missing.omap_ids.push_back(from->header.omap_id);
      key.snap = op.number;
      need_range(0, kAllBlocks, References::of_shared_blocks);
      break;
    }
    case OpType::share:
      need_range(op.first_block, op.first_block + op.block_count, References::of_all_blocks);
      key.snap = op.number;
      need_range(op.first_block, op.first_block + op.block_count, References::of_shared_blocks);
      break;
    default:
      need_range(0, 0, References::none);
  }
}

Status Loader::fill(Missing::Item& item, const std::optional<std::string>& value) {
  const auto bad = [](const std::string& what) {
    return Status(ErrorCode::corrupt, "the key-value region has a bad " + what);
  };
  switch (item.kind) {
    case Missing::Kind::header: {
      const ObjectKey key{item.collection, item.name, item.snap};
      if (state_.cache.find(key) != nullptr) return {};
      HeaderValue header;
      if (value && !decode_header(*value, header)) return bad("header of object " + item.name);
      Onode& onode = state_.cache.insert(key);
      onode.exists = value.has_value();
      onode.header = header;
      return {};
    }
    case Missing::Kind::shard: {
      const auto index = static_cast<std::uint32_t>(item.index);
      if (!item.onode->exists || item.onode->shard(index) != nullptr) return {};
      Shard& shard = state_.cache.make_shard(*item.onode, index);
      if (value && !decode_shard(*value, shard.blocks))
        return bad("block map of object " + item.onode->name());
      for (const BlockEntry& block : shard.blocks)
        if (block.physical >= state_.allocator.block_count())
          return bad("block map of object " + item.onode->name());
      return {};
    }
    case Missing::Kind::references: {
      const auto block = static_cast<std::uint32_t>(item.index) * kReferenceChunkBlocks;
      if (state_.cache.find_references(block) != nullptr) return {};
      if (!state_.cache.make_references(block).decode(value.value_or("")))
        return bad("reference count");
      return {};
    }
    case Missing::Kind::segment: {
      if (item.pg->segments.contains(item.index)) return {};
      LogSegment segment;
      if (!value || !LogSegment::decode(*value, segment)) return bad("PG log segment");
      item.pg->segments.emplace(item.index, std::move(segment));
      return {};
    }
  }
  return {};
}

Status Loader::fill(Missing& missing, const kv::Values& values) {
  Status first_error;
  for (std::size_t i = 0; i < missing.items.size(); ++i) {
    Status status = fill(missing.items[i], values[i]);
    if (!status && first_error) first_error = std::move(status);
  }
  return first_error;
}

void Loader::pin(Missing& missing) {
  for (Missing::Item& item : missing.items)
    if (item.onode != nullptr) ++item.onode->pins;
}

void Loader::unpin(Missing& missing) {
  for (Missing::Item& item : missing.items)
    if (item.onode != nullptr) --item.onode->pins;
}

void Loader::load(Missing missing, UniqueFunction<void(Status)> done) {
  pin(missing);
  std::vector<std::string> item_keys = std::move(missing.item_keys);
  state_.kv->get_settled(std::move(item_keys),
                         [this, missing = std::move(missing), done = std::move(done)](
                             Status status, kv::Values values) mutable {
                           if (status) status = fill(missing, values);
                           unpin(missing);
                           if (!status || missing.omap_ids.empty()) return done(std::move(status));
                           load_omaps(std::move(missing.omap_ids), std::move(done));
                         });
}

void Loader::load_omaps(std::vector<std::uint64_t> omap_ids, UniqueFunction<void(Status)> done) {
  const std::uint64_t omap_id = omap_ids.back();
  omap_ids.pop_back();
  auto [begin, end] = keys::all_of('m', omap_id);
  state_.kv->scan_settled(std::move(begin), std::move(end), kNoLimit,
                          [this, omap_id, omap_ids = std::move(omap_ids), done = std::move(done)](
                              Status status, std::vector<kv::KeyValue> values) mutable {
                            if (!status) return done(std::move(status));
                            keep_omap(omap_id, std::move(values));
                            if (omap_ids.empty()) return done(Status::ok());
                            load_omaps(std::move(omap_ids), std::move(done));
                          });
}

void Loader::keep_omap(std::uint64_t omap_id, std::vector<kv::KeyValue> values) {
  CheckpointSet::PendingValues omap;
  for (auto& [key, value] : values) omap.insert_or_assign(std::move(key), std::move(value));
  const auto [begin, end] = keys::all_of('m', omap_id);
  state_.checkpoint_set.overlay(begin, end, omap);
  state_.loaded_omaps.insert_or_assign(omap_id, std::move(omap));
}

Status Loader::load_now(Missing missing) {
  Result<kv::Values> values = state_.kv->get_now(missing.item_keys);
  if (!values) return values.status();
  CAIRN_RETURN_IF_ERROR(fill(missing, *values));
  for (const std::uint64_t omap_id : missing.omap_ids) {
    const auto [begin, end] = keys::all_of('m', omap_id);
    Result<std::vector<kv::KeyValue>> omap = state_.kv->scan_now(begin, end, kNoLimit);
    if (!omap) return omap.status();
    keep_omap(omap_id, std::move(*omap));
  }
  return {};
}

}  // namespace cairn::object_store
