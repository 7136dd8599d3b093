// Rounds of loading metadata.
#include "object_store/loader.hh"

#include <algorithm>

namespace cairn::object_store {

namespace {

// More shards than this are looked for together with all others of the object: one by one, each
// that is absent would cost as much as one that is there.
constexpr std::uint32_t kShardsOneByOne = 4;
constexpr std::uint32_t kAllBlocks = kMaxObjectBlocks;

}  // namespace

void Loader::need_references(Onode& onode, std::uint32_t first, std::uint32_t end,
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

void Loader::need_shards(Onode& onode, std::uint32_t first, std::uint32_t end,
                         Missing& missing) const {
  // A block behind the limit may lie in a shard with others before it.
  const std::uint32_t limit = (onode.header.block_limit + kShardBlocks - 1) / kShardBlocks;
  const std::uint32_t end_shard = std::min((end + kShardBlocks - 1) / kShardBlocks, limit);
  const std::uint32_t first_shard = first / kShardBlocks;
  std::uint32_t unknown = 0;
  for (std::uint32_t index = first_shard; index < end_shard; ++index)
    if (!onode.knows_shard(index)) ++unknown;
  const bool wants_all = first_shard == 0 && end_shard == limit;
  const bool wants_most = unknown > (wants_all ? 1 : kShardsOneByOne);
  const bool is_ahead = !wants_most && unknown > 0 && limit > 1 && !onode.loads_singly &&
                        !onode.is_read_ahead && state_.cache.has_room();
  if (wants_most || is_ahead) {
    const auto is_same = [&](const Missing::Whole& whole) { return whole.onode == &onode; };
    const auto same = std::find_if(missing.wholes.begin(), missing.wholes.end(), is_same);
    if (same == missing.wholes.end())
      missing.wholes.push_back({&onode, onode.header.id, is_ahead});
    else
      same->is_ahead = same->is_ahead && is_ahead;
    return;
  }
  for (std::uint32_t index = first_shard; index < end_shard && unknown > 0; ++index) {
    if (onode.knows_shard(index)) continue;
    missing.items.push_back({.kind = Missing::Kind::shard,
                             .name = {},
                             .onode = &onode,
                             .index = index,
                             .object_id = onode.header.id});
    missing.item_keys.push_back(keys::shard(onode.header.id, index));
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
  if (!onode->is_whole) need_shards(*onode, first, end, missing);
  if (references != References::none) need_references(*onode, first, end, references, missing);
  return onode;
}

// Beside the header of the layer that is to be made. Snapshots grow: the next one is known to have
// no layer then.
void Loader::need_layers(PgEntry& pg, Onode& head, std::uint64_t from, Missing& missing) {
  if (head.no_layer_from != kHead || from == kHead) return;
  const auto is_same = [&](const Missing::Layers& layers) { return layers.head == &head; };
  if (std::none_of(missing.layers.begin(), missing.layers.end(), is_same))
    missing.layers.push_back({&head, &pg, from});
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
      Onode* from = need_range(0, kAllBlocks, References::of_all_blocks);
      if (from != nullptr && from->exists && from->header.omap_id != 0 &&
          !state_.loaded_omaps.contains(from->header.omap_id))
        missing.omap_ids.push_back(from->header.omap_id);
      key.snap = op.number;
      if (op.object.snap == kHead && from != nullptr) {
        need_layers(*pg, *from, op.number + 1, missing);
        if (op.number >= from->no_layer_from && state_.cache.find(key) == nullptr)
          state_.cache.insert(key);
      }
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
      onode.recharge();
      return {};
    }
    case Missing::Kind::shard:
      if (item.onode->header.id != item.object_id) return {};
      return fill_shard(*item.onode, static_cast<std::uint32_t>(item.index), value, false);
    case Missing::Kind::references: {
      const auto block = static_cast<std::uint32_t>(item.index) * kReferenceChunkBlocks;
      if (state_.cache.find_references(block) != nullptr) return {};
      // What is bad stays unknown here too.
      ReferenceChunk counts(static_cast<std::uint32_t>(item.index));
      if (!counts.decode(value.value_or(""))) return bad("reference count");
      state_.cache.make_references(block).extra = counts.extra;
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

Status Loader::fill_shard(Onode& onode, std::uint32_t index,
                          const std::optional<std::string>& value, bool is_packed) {
  if (!onode.exists || onode.is_whole || onode.knows_shard(index)) return {};
  // What is bad stays unknown: the next one is not to take it for good.
  ShardBlocks blocks;
  const auto is_outside = [this](const BlockEntry& block) {
    return block.physical >= state_.allocator.block_count();
  };
  if ((value && !decode_shard(*value, blocks)) ||
      std::any_of(blocks.begin(), blocks.end(), is_outside))
    return {ErrorCode::corrupt,
            "the key-value region has a bad block map of object " + onode.name()};
  if (is_packed && value)
    onode.add_packed_shard(index, *value);
  else
    state_.cache.make_shard(onode, index).blocks = blocks;
  return {};
}

Status Loader::fill(Missing::Whole& whole, const std::vector<kv::KeyValue>& shards) {
  Onode& onode = *whole.onode;
  if (!onode.exists || onode.header.id != whole.object_id) return {};
  for (const auto& [key, value] : shards) {
    const std::optional<std::uint32_t> index = keys::shard_index(key);
    if (!index || *index >= kMaxObjectBlocks / kShardBlocks)
      return {ErrorCode::corrupt, "the key-value region has a bad key of a block map"};
    CAIRN_RETURN_IF_ERROR(fill_shard(onode, *index, value, whole.is_ahead));
  }
  onode.is_whole = true;
  return {};
}

// Those that the region lacks have been made since the start.
void Loader::fill(Missing::Layers& layers, const std::vector<kv::KeyValue>& headers) {
  if (!headers.empty()) return;
  layers.head->no_layer_from = std::max(layers.from, layers.pg->newest_layer + 1);
}

Status Loader::fill(Missing& missing, kv::Found found) {
  state_.counters.metadata_values += found.values.size();
  for (const auto& pairs : found.ranges) state_.counters.metadata_values += pairs.size();
  Status first_error;
  const auto note = [&first_error](Status status) {
    if (!status && first_error) first_error = std::move(status);
  };
  for (std::size_t i = 0; i < missing.items.size(); ++i)
    note(fill(missing.items[i], found.values[i]));
  for (std::size_t i = 0; i < missing.wholes.size(); ++i) {
    Missing::Whole& whole = missing.wholes[i];
    Status status = fill(whole, found.ranges[i]);
    if (!status && whole.is_ahead)
      give_up_ahead(whole, status);
    else
      note(std::move(status));
  }
  auto range = found.ranges.begin() + static_cast<std::ptrdiff_t>(missing.wholes.size());
  for (Missing::Layers& layers : missing.layers) fill(layers, *range++);
  for (const std::uint64_t omap_id : missing.omap_ids) keep_omap(omap_id, std::move(*range++));
  return first_error;
}

// The next round asks for what is wanted alone, and tells whether the error is in that.
void Loader::give_up_ahead(Missing::Whole& whole, const Status& error) {
  whole.onode->loads_singly = true;
  state_.log("warn", "the block map of object " + whole.onode->name() +
                         " cannot be read as a whole: " + error.to_string());
}

// The region has answered nothing.
Status Loader::fail(Missing& missing, Status error) {
  const bool was_ahead = std::any_of(missing.wholes.begin(), missing.wholes.end(),
                                     [](const Missing::Whole& whole) { return whole.is_ahead; });
  if (!was_ahead) return error;
  for (Missing::Whole& whole : missing.wholes)
    if (whole.is_ahead) give_up_ahead(whole, error);
  return {};
}

void Loader::pin(Missing& missing) {
  for (Missing::Item& item : missing.items)
    if (item.onode != nullptr) ++item.onode->pins;
  for (Missing::Whole& whole : missing.wholes) {
    ++whole.onode->pins;
    if (whole.is_ahead) whole.onode->is_read_ahead = true;
  }
  for (Missing::Layers& layers : missing.layers) ++layers.head->pins;
}

void Loader::unpin(Missing& missing) {
  for (Missing::Item& item : missing.items)
    if (item.onode != nullptr) --item.onode->pins;
  for (Missing::Whole& whole : missing.wholes) {
    --whole.onode->pins;
    if (whole.is_ahead) whole.onode->is_read_ahead = false;
  }
  for (Missing::Layers& layers : missing.layers) --layers.head->pins;
}

std::vector<kv::KeyRange> Loader::ranges_of(const Missing& missing) {
  std::vector<kv::KeyRange> ranges;
  for (const Missing::Whole& whole : missing.wholes)
    ranges.push_back(keys::all_of('s', whole.object_id));
  for (const Missing::Layers& layers : missing.layers) {
    const Onode& head = *layers.head;
    ranges.emplace_back(keys::header(head.collection(), head.name(), layers.from),
                        keys::header(head.collection(), head.name(), kHead));
  }
  for (const std::uint64_t omap_id : missing.omap_ids) ranges.push_back(keys::all_of('m', omap_id));
  return ranges;
}

void Loader::load(Missing missing, UniqueFunction<void(Status)> done) {
  pin(missing);
  ++state_.counters.metadata_loads;
  std::vector<std::string> item_keys = std::move(missing.item_keys);
  std::vector<kv::KeyRange> ranges = ranges_of(missing);
  state_.kv->find_settled(std::move(item_keys), std::move(ranges),
                          [this, missing = std::move(missing), done = std::move(done)](
                              Status status, kv::Found found) mutable {
                            status = status ? fill(missing, std::move(found))
                                            : fail(missing, std::move(status));
                            unpin(missing);
                            done(std::move(status));
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
  Result<kv::Found> found = state_.kv->find_now(missing.item_keys, ranges_of(missing));
  return found ? fill(missing, std::move(*found)) : fail(missing, found.status());
}

}  // namespace cairn::object_store
