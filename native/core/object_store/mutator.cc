// The ops of transactions, one by one.
#include "object_store/mutator.hh"

#include <algorithm>

namespace cairn::object_store {

namespace {

bool changes_data(OpType type) { return type == OpType::write || type == OpType::write_checked; }

// All its shards are in memory.
std::int64_t data_blocks_of(Onode& onode) {
  std::int64_t count = 0;
  for (std::uint32_t index = 0; index < onode.shard_end(); ++index)
    if (const Shard* const shard = onode.shard(index))
      for (const BlockEntry& block : shard->blocks) count += block.state == BlockState::data;
  return count;
}

}  // namespace

Status Mutator::check(const Transaction& transaction) {
  // The numbers that the logs of the transaction's PGs come to; most touch one PG.
  std::vector<std::pair<PgId, std::uint64_t>> next_numbers;
  const auto next_of = [&](const PgId& id) -> std::uint64_t& {
    for (auto& [pg, next] : next_numbers)
      if (pg == id) return next;
    const PgEntry* pg = state_.pgs.find(id);
    return next_numbers.emplace_back(id, pg == nullptr ? 1 : pg->log_next).second;
  };
  for (const Transaction::Op& op : transaction.ops()) {
    if (op.type < OpType::log_append || op.type > OpType::remove_pg) continue;
    if (op.type == OpType::log_append) {
      std::uint64_t& next = next_of(op.pg);
      if (op.number != next)
        return {ErrorCode::invalid_argument, "PG log entry " + std::to_string(op.number) +
                                                 " does not follow: the next one is " +
                                                 std::to_string(next)};
      ++next;
    } else if (op.type == OpType::log_rewind) {
      std::uint64_t& next = next_of(op.pg);
      next = std::min(next, op.number + 1);
    } else if (op.type == OpType::log_reset) {
      next_of(op.pg) = op.number;
    } else if (op.type == OpType::remove_pg) {
      next_of(op.pg) = 1;
    }
  }
  return {};
}

std::uint32_t Mutator::blocks_needed(const Transaction& transaction) {
  // Blocks that become shared, or another object's, can be written by the same transaction: then
  // all count.
  const auto& ops = transaction.ops();
  const bool counts_all =
      std::any_of(ops.begin(), ops.end(), [](const auto& op) { return op.rearranges_blocks(); });
  std::uint32_t needed = 0;
  for (const Transaction::Op& op : ops) {
    if (!changes_data(op.type)) continue;
    Onode* onode = counts_all || op.direct ? nullptr : find(op);
    for (std::uint32_t i = 0; i < op.block_count; ++i)
      if (op.block_state(i) == BlockState::data &&
          !stays_in_place(known_block(onode, op.first_block + i)))
        ++needed;
  }
  return needed;
}

const BlockEntry* Mutator::known_block(Onode* onode, std::uint32_t block) const {
  if (onode == nullptr || !onode->exists) return nullptr;
  const Shard* shard = onode->shard(block / kShardBlocks);
  return shard == nullptr ? nullptr : &shard->blocks[block % kShardBlocks];
}

bool Mutator::stays_in_place(const BlockEntry* old) const {
  if (old == nullptr || old->state != BlockState::data) return false;
  if (!old->shared) return true;
  const ReferenceChunk* chunk = state_.cache.find_references(old->physical);
  CAIRN_ASSERT(chunk != nullptr);
  return chunk->extra[old->physical % kReferenceChunkBlocks] == 0;
}

// None: a fresh block.
std::optional<std::uint32_t> Mutator::place_of_overwrite(const BlockEntry* old, bool may_move) {
  if (!stays_in_place(old)) return {};
  const std::optional<std::uint32_t> moved =
      may_move ? redirector_.redirect(old->physical) : std::nullopt;
  return moved.value_or(old->physical);
}

// The block before it was overwritten a moment ago, and is written in its place as this one can be.
bool Mutator::goes_on_in_order(Onode* onode, std::uint32_t first_block) const {
  if (first_block == 0) return false;
  const std::optional<std::uint32_t> before = data_place(onode, first_block - 1);
  return before && state_.overlay.is_waiting(*before);
}

std::optional<std::uint32_t> Mutator::place_behind(const Transaction::Op& op) {
  if (op.first_block == 0) return {};
  const std::optional<std::uint32_t> before = data_place(find(op), op.first_block - 1);
  return before ? std::optional(*before + 1) : std::nullopt;
}

void Mutator::place(Transaction::Op& op, bool may_move, std::optional<std::uint32_t> hint) {
  if (!op.writes_data()) return;
  Onode* onode = find(op);
  may_move = may_move && !goes_on_in_order(onode, op.first_block);
  op.placed.resize(op.block_count);
  std::uint32_t fresh = 0;
  for (std::uint32_t i = 0; i < op.block_count; ++i) {
    if (op.block_state(i) != BlockState::data) continue;
    const BlockEntry* old = known_block(onode, op.first_block + i);
    const std::optional<std::uint32_t> known =
        op.direct ? std::nullopt : place_of_overwrite(old, may_move);
    op.placed[i].physical = known.value_or(~std::uint32_t{0});
    if (!known) ++fresh;
    op.placed[i].crc =
        op.type == OpType::write_checked
            ? op.blocks[i].crc
            : block_checksum(op.object.pool, op.object.name, op.first_block + i, op.version,
                             op.data.span().subspan(i * kBlockBytes, kBlockBytes));
  }
  if (fresh == 0) return;
  if (!hint) hint = place_behind(op);
  BlockRun run;
  for (std::uint32_t i = 0; i < op.block_count; ++i) {
    if (op.block_state(i) != BlockState::data || op.placed[i].physical != ~std::uint32_t{0})
      continue;
    if (run.count == 0) run = state_.allocator.allocate(fresh, hint);
    op.placed[i].physical = run.first++;
    hint = run.first;
    --run.count;
    --fresh;
  }
}

bool Mutator::adopt(const Transaction::Op& op) {
  if (!op.writes_data()) return true;
  Onode* onode = find(op);
  for (std::uint32_t i = 0; i < op.block_count; ++i) {
    if (op.block_state(i) != BlockState::data) continue;
    const BlockEntry* old = known_block(onode, op.first_block + i);
    if (!op.direct && stays_in_place(old) && old->physical == op.placed[i].physical) continue;
    if (!state_.allocator.take(op.placed[i].physical)) return false;
  }
  return true;
}

PgEntry& Mutator::make_pg(const PgId& id) {
  PgEntry& pg = state_.pgs.entry(id);
  if (pg.exists) return pg;
  state_.checkpoint_set.touch(pg);
  pg.exists = true;
  pg.is_new = true;
  pg.collection = state_.next_id++;
  pg.object_count = 0;
  pg.data_blocks = 0;
  pg.log_first = 1;
  pg.log_next = 1;
  return pg;
}

Onode& Mutator::lookup(const PgEntry& pg, std::string_view name, std::uint64_t snap) {
  const ObjectKey key{pg.collection, name, snap};
  Onode* onode = state_.cache.find(key);
  if (onode != nullptr) return *onode;
  CAIRN_ASSERT(pg.is_new);
  return state_.cache.insert(key);
}

Onode* Mutator::find(const Transaction::Op& op) {
  const PgEntry* pg = state_.pgs.find(op.pg);
  return pg == nullptr ? nullptr : &lookup(*pg, op.object.name, op.object.snap);
}

// What is known of the layers that there are not (Onode::no_layer_from) stays true.
void Mutator::note_layer(PgEntry& pg, const Onode& layer) {
  pg.newest_layer = std::max(pg.newest_layer, layer.snap());
  Onode* head = state_.cache.find({layer.collection(), layer.name(), kHead});
  if (head == nullptr || head->no_layer_from == kHead) return;
  head->no_layer_from = std::max(head->no_layer_from, layer.snap() + 1);
}

void Mutator::create(PgEntry& pg, Onode& onode) {
  if (onode.snap() != kHead) note_layer(pg, onode);
  state_.checkpoint_set.touch(pg);
  ++pg.object_count;
  onode.exists = true;
  onode.is_whole = true;  // nothing has ever been stored under its new id
  onode.header = {};
  onode.header.id = state_.next_id++;
}

// Every change of an object goes through here: its header is dirty afterwards.
Onode& Mutator::find_or_create(const Transaction::Op& op) {
  PgEntry& pg = make_pg(op.pg);
  Onode& onode = lookup(pg, op.object.name, op.object.snap);
  state_.checkpoint_set.touch(onode);
  if (!onode.exists) create(pg, onode);
  return onode;
}

void Mutator::drop(const BlockEntry& entry) {
  if (entry.state != BlockState::data) return;
  if (entry.shared) {
    ReferenceChunk* chunk = state_.cache.find_references(entry.physical);
    CAIRN_ASSERT(chunk != nullptr);
    std::uint32_t& extra = chunk->extra[entry.physical % kReferenceChunkBlocks];
    if (extra > 0) {
      state_.checkpoint_set.touch(*chunk);
      --extra;
      return;
    }
  }
  state_.allocator.release(entry.physical);
  state_.overlay.forget(entry.physical);
}

void Mutator::count_data(PgEntry& pg, std::int64_t blocks) {
  if (blocks == 0 || !pg.data_blocks) return;
  state_.checkpoint_set.touch(pg);
  *pg.data_blocks += static_cast<std::uint64_t>(blocks);
}

void Mutator::set_block(PgEntry& pg, Onode& onode, std::uint32_t block, const BlockEntry& entry) {
  Shard& shard = state_.cache.make_shard(onode, block / kShardBlocks);
  state_.checkpoint_set.touch(shard);
  BlockEntry& old = shard.blocks[block % kShardBlocks];
  count_data(pg, (entry.state == BlockState::data) - (old.state == BlockState::data));
  if (entry.state != BlockState::data || old.state != BlockState::data ||
      entry.physical != old.physical)
    drop(old);
  old = entry;
  if (entry.state != BlockState::absent)
    onode.header.block_limit = std::max(onode.header.block_limit, block + 1);
}

void Mutator::apply_data(const Transaction::Op& op) {
  Onode& onode = find_or_create(op);
  PgEntry& pg = make_pg(op.pg);
  for (std::uint32_t i = 0; i < op.block_count; ++i) {
    BlockEntry entry;
    entry.state = op.block_state(i);
    if (entry.state != BlockState::absent) {
      const Version version = op.block_version(i);
      entry.epoch = version.epoch;
      entry.number = version.number;
    }
    if (entry.state == BlockState::data) {
      entry.physical = op.placed[i].physical;
      entry.crc = op.placed[i].crc;
    }
    set_block(pg, onode, op.first_block + i, entry);
    if (entry.state != BlockState::data || op.data.empty() || op.direct) continue;
    state_.overlay.put(entry.physical, op.data.slice(i * kBlockBytes, kBlockBytes));
  }
  if (op.direct && !op.data.empty())
    op.for_each_run([this](std::uint32_t physical, Buffer images) {
      state_.overlay.put_direct(physical, std::move(images));
    });
  if (op.type == OpType::write) onode.header.version = op.version;
}

void Mutator::apply_range(const Transaction::Op& op) {
  Onode& onode = find_or_create(op);
  onode.header.version = op.version;
  BlockEntry entry;
  if (op.type == OpType::write_zeroes) {
    entry.state = BlockState::zero;
    entry.epoch = op.version.epoch;
    entry.number = op.version.number;
  }
  std::uint32_t end = op.first_block + op.block_count;
  if (op.type == OpType::punch) end = std::min(end, onode.header.block_limit);
  PgEntry& pg = make_pg(op.pg);
  for (std::uint32_t block = op.first_block; block < end; ++block)
    set_block(pg, onode, block, entry);
}

void Mutator::discard_omap(Onode& onode) {
  const std::uint64_t omap_id = std::exchange(onode.header.omap_id, 0);
  if (omap_id == 0) return;
  state_.checkpoint_set.put(keys::omap_garbage(omap_id), "");
  state_.garbage_omaps.insert(omap_id);
}

void Mutator::remove(PgEntry* pg, Onode& onode) {
  if (!onode.exists) return;
  state_.checkpoint_set.touch(onode);
  const std::int64_t data_blocks = data_blocks_of(onode);
  for (std::uint32_t index = 0; index < onode.shard_end(); ++index) {
    Shard* const shard = onode.shard(index);
    if (shard == nullptr) continue;
    state_.checkpoint_set.touch(*shard);
    for (BlockEntry& block : shard->blocks) {
      drop(block);
      block = {};
    }
    shard->disown();
    state_.checkpoint_set.adopt(onode.release_shard(index));
  }
  onode.forget_shards();
  discard_omap(onode);
  onode.exists = false;
  onode.header = {};
  onode.recharge();
  if (pg == nullptr) return;
  state_.checkpoint_set.touch(*pg);
  --pg->object_count;
  count_data(*pg, -data_blocks);
}

void Mutator::add_reference(BlockEntry& block) {
  ReferenceChunk* chunk = state_.cache.find_references(block.physical);
  CAIRN_ASSERT(chunk != nullptr);
  state_.checkpoint_set.touch(*chunk);
  ++chunk->extra[block.physical % kReferenceChunkBlocks];
  block.shared = true;
}

void Mutator::apply_clone(const Transaction::Op& op) {
  PgEntry& pg = make_pg(op.pg);
  Onode& from = lookup(pg, op.object.name, op.object.snap);
  Onode& to = lookup(pg, op.object.name, op.number);
  remove(&pg, to);
  if (!from.exists) return;
  state_.checkpoint_set.touch(to);
  create(pg, to);
  to.header.version = op.version;
  to.header.block_limit = from.header.block_limit;
  for (std::uint32_t index = 0; index < from.shard_end(); ++index) {
    Shard* source = from.shard(index);
    if (source == nullptr || !has_block(source->blocks)) continue;
    state_.checkpoint_set.touch(*source);
    for (BlockEntry& block : source->blocks) {
      if (block.state != BlockState::data) continue;
      count_data(pg, 1);
      add_reference(block);
    }
    Shard& target = state_.cache.make_shard(to, index);
    state_.checkpoint_set.touch(target);
    target.blocks = source->blocks;
  }
  if (from.header.omap_id == 0) return;
  to.header.omap_id = state_.next_id++;
  // An omap that began in this transaction is in no region yet, and was not loaded.
  CheckpointSet::PendingValues omap = std::move(state_.loaded_omaps[from.header.omap_id]);
  state_.loaded_omaps.erase(from.header.omap_id);
  const auto [begin, end] = keys::all_of('m', from.header.omap_id);
  state_.checkpoint_set.overlay(begin, end, omap);
  for (const auto& [key, value] : omap)
    if (value)
      state_.checkpoint_set.put(keys::omap(to.header.omap_id, keys::user_key(key)), *value);
}

void Mutator::apply_share(const Transaction::Op& op) {
  PgEntry& pg = make_pg(op.pg);
  Onode& from = lookup(pg, op.object.name, op.object.snap);
  Onode& to = lookup(pg, op.object.name, op.number);
  state_.checkpoint_set.touch(to);
  if (!to.exists) create(pg, to);
  to.header.version = op.version;
  for (std::uint32_t block = op.first_block; block < op.first_block + op.block_count; ++block) {
    Shard* source = from.exists ? from.shard(block / kShardBlocks) : nullptr;
    BlockEntry* entry = source == nullptr ? nullptr : &source->blocks[block % kShardBlocks];
    const BlockEntry* old = known_block(&to, block);
    if (entry == nullptr || entry->state == BlockState::absent) {
      if (old != nullptr) set_block(pg, to, block, {});
      continue;
    }
    if (entry->state == BlockState::data) {
      const bool has_it = old != nullptr && old->state == BlockState::data;
      if (has_it && old->physical == entry->physical) continue;
      state_.checkpoint_set.touch(*source);
      add_reference(*entry);
    }
    set_block(pg, to, block, *entry);
  }
}

// The shards lie under the object's id and the blocks' checksums have no PG in them: only the
// header gets another key.
void Mutator::apply_move(const Transaction::Op& op) {
  Onode* from = find(op);
  if (from == nullptr || !from->exists) return;
  PgEntry& source = make_pg(op.pg);
  PgEntry& target = make_pg(op.move_target());
  Onode& to = lookup(target, op.object.name, op.object.snap);
  remove(&target, to);
  state_.checkpoint_set.touch(*from);
  state_.checkpoint_set.touch(to);
  state_.checkpoint_set.touch(source);
  state_.checkpoint_set.touch(target);
  to.take_over(*from);
  if (to.snap() != kHead) note_layer(target, to);
  --source.object_count;
  ++target.object_count;
  const std::int64_t data_blocks = data_blocks_of(to);
  count_data(source, -data_blocks);
  count_data(target, data_blocks);
}

void Mutator::apply_omap(const Transaction::Op& op) {
  Onode& onode = find_or_create(op);
  onode.header.version = op.version;
  switch (op.type) {
    case OpType::omap_set:
      if (onode.header.omap_id == 0) onode.header.omap_id = state_.next_id++;
      state_.checkpoint_set.put(keys::omap(onode.header.omap_id, op.key), op.value);
      break;
    case OpType::omap_remove:
      if (onode.header.omap_id != 0)
        state_.checkpoint_set.erase(keys::omap(onode.header.omap_id, op.key));
      break;
    case OpType::omap_clear:
      discard_omap(onode);
      break;
    case OpType::set_attr:
      onode.header.attr = op.value;
      onode.recharge();
      break;
    default:
      break;  // touch, set_object_version
  }
}

void Mutator::apply_log(const Transaction::Op& op) {
  PgEntry& pg = make_pg(op.pg);
  state_.checkpoint_set.touch(pg);
  switch (op.type) {
    case OpType::log_append:
      return pg.append(op.number, op.entry);
    case OpType::log_trim:
      return pg.trim(op.number);
    case OpType::log_rewind:
      return pg.rewind(op.number);
    default:
      return pg.reset(op.number);
  }
}

void Mutator::apply_remove_pg(const Transaction::Op& op) {
  PgEntry* pg = state_.pgs.find(op.pg);
  if (pg == nullptr) return;
  state_.checkpoint_set.touch(*pg);
  state_.checkpoint_set.put(keys::removed_pg(pg->collection), "");
  state_.removed_collections.insert(pg->collection);
  pg->forget();
}

void Mutator::apply(const Transaction::Op& op) {
  switch (op.type) {
    case OpType::write:
    case OpType::write_checked:
      return apply_data(op);
    case OpType::write_zeroes:
    case OpType::punch:
      return apply_range(op);
    case OpType::clone:
      return apply_clone(op);
    case OpType::share:
      return apply_share(op);
    case OpType::move:
      return apply_move(op);
    case OpType::touch:
    case OpType::omap_set:
    case OpType::omap_remove:
    case OpType::omap_clear:
    case OpType::set_object_version:
    case OpType::set_attr:
      return apply_omap(op);
    case OpType::remove:
      if (Onode* onode = find(op)) remove(state_.pgs.find(op.pg), *onode);
      return;
    case OpType::reap_object:
      if (Onode* onode = state_.cache.find({op.number, op.object.name, op.object.snap}))
        remove(nullptr, *onode);
      return;
    case OpType::log_append:
    case OpType::log_trim:
    case OpType::log_rewind:
    case OpType::log_reset:
      return apply_log(op);
    case OpType::pg_meta_set:
      return state_.checkpoint_set.put(keys::pg_meta(make_pg(op.pg).collection, op.key), op.value);
    case OpType::pg_meta_remove:
      if (const PgEntry* pg = state_.pgs.find(op.pg))
        state_.checkpoint_set.erase(keys::pg_meta(pg->collection, op.key));
      return;
    case OpType::remove_pg:
      return apply_remove_pg(op);
    case OpType::store_meta_set:
      return state_.checkpoint_set.put(keys::store_meta(op.key), op.value);
  }
}

}  // namespace cairn::object_store
