// The model's rules, written without a look at the store's code.
#include "explore/model.hh"

#include <algorithm>
#include <cstring>
#include <set>

namespace cairn::explore {

namespace {

constexpr std::uint32_t kSnaps = 3;

std::uint64_t snap_of(std::uint64_t draw) { return draw % (kSnaps + 2) < 3 ? kHead : draw % 3; }

struct Draw {
  Model& model;
  Random& random;
  const Mix& mix;
  Transaction& to;
  PgId pg;
  std::string name;
  Version version;

  ObjectId object(std::uint64_t snap) const { return {pg.pool, name, snap}; }
  ModelObject& change(std::uint64_t snap) {
    ModelObject& changed = model.pgs[pg].objects[{name, snap}];
    changed.version = version;
    return changed;
  }
};

Buffer make_data(Draw& draw, ModelObject& object, std::uint32_t first, std::uint32_t count) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t content = draw.random.next();
    fill_block(content, data.span().subspan(i * kBlockBytes, kBlockBytes));
    object.blocks[first + i] = {BlockState::data, draw.version, content};
  }
  return data;
}

void add_write(Draw& draw) {
  const bool is_large = draw.random.chance(0.15);
  const std::uint32_t most = is_large ? 2 * draw.mix.large_blocks : 3;
  const auto first = static_cast<std::uint32_t>(draw.random.below(draw.mix.blocks));
  const auto count = 1 + static_cast<std::uint32_t>(draw.random.below(most));
  const std::uint64_t snap = snap_of(draw.random.next());
  ModelObject& object = draw.change(snap);
  draw.to.write(draw.pg, draw.object(snap), first * kBlockBytes,
                make_data(draw, object, first, count), draw.version);
}

void add_checked_write(Draw& draw) {
  const auto first = static_cast<std::uint32_t>(draw.random.below(draw.mix.blocks));
  const auto count = 1 + static_cast<std::uint32_t>(draw.random.below(2 * draw.mix.large_blocks));
  ModelObject& object = draw.change(kHead);
  std::vector<BlockInfo> blocks(count);
  Buffer data = make_data(draw, object, first, count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto state = static_cast<BlockState>(draw.random.below(3));
    const Version version{draw.version.epoch, draw.random.below(1000)};
    if (state == BlockState::absent)
      object.blocks.erase(first + i);
    else
      object.blocks[first + i] = {state, version, object.blocks[first + i].content};
    blocks[i].state = state;
    if (state != BlockState::absent) blocks[i].version = version;
    if (state == BlockState::data)
      blocks[i].crc =
          object_store::block_checksum(draw.pg.pool, draw.name, first + i, version,
                                       data.span().subspan(i * kBlockBytes, kBlockBytes));
  }
  draw.to.write_checked(draw.pg, draw.object(kHead), first * kBlockBytes, std::move(data), blocks);
  draw.to.set_object_version(draw.pg, draw.object(kHead), draw.version);
}

void add_range(Draw& draw) {
  const auto first = static_cast<std::uint32_t>(draw.random.below(draw.mix.blocks));
  const auto count = 1 + static_cast<std::uint32_t>(draw.random.below(draw.mix.blocks));
  ModelObject& object = draw.change(kHead);
  const bool punch = draw.random.chance(0.5);
  for (std::uint32_t block = first; block < first + count; ++block)
    if (punch)
      object.blocks.erase(block);
    else
      object.blocks[block] = {BlockState::zero, draw.version, 0};
  if (punch)
    draw.to.punch(draw.pg, draw.object(kHead), first * kBlockBytes, count * kBlockBytes,
                  draw.version);
  else
    draw.to.write_zeroes(draw.pg, draw.object(kHead), first * kBlockBytes, count * kBlockBytes,
                         draw.version);
}

void add_clone(Draw& draw) {
  const std::uint64_t from = snap_of(draw.random.next());
  const std::uint64_t to = from == kHead ? draw.random.below(kSnaps) : kHead;
  auto& objects = draw.model.pgs[draw.pg].objects;
  draw.to.clone(draw.pg, draw.object(from), draw.object(to), draw.version);
  const auto source = objects.find({draw.name, from});
  if (source == objects.end()) {
    objects.erase({draw.name, to});
    return;
  }
  ModelObject copy = source->second;
  copy.version = draw.version;
  copy.attr.clear();
  objects[{draw.name, to}] = std::move(copy);
}

void add_share(Draw& draw) {
  const std::uint64_t from = snap_of(draw.random.next());
  const std::uint64_t to = from == kHead ? draw.random.below(kSnaps) : kHead;
  const auto first = static_cast<std::uint32_t>(draw.random.below(draw.mix.blocks));
  const auto count = 1 + static_cast<std::uint32_t>(draw.random.below(draw.mix.blocks));
  draw.to.share(draw.pg, draw.object(from), draw.object(to), first * kBlockBytes,
                count * kBlockBytes, draw.version);
  auto& objects = draw.model.pgs[draw.pg].objects;
  const auto found = objects.find({draw.name, from});
  const ModelObject source = found == objects.end() ? ModelObject{} : found->second;
  ModelObject& target = draw.change(to);
  for (std::uint32_t block = first; block < first + count; ++block) {
    const auto shared = source.blocks.find(block);
    if (shared == source.blocks.end())
      target.blocks.erase(block);
    else
      target.blocks[block] = shared->second;
  }
}

void add_remove(Draw& draw) {
  const std::uint64_t snap = snap_of(draw.random.next());
  draw.to.remove(draw.pg, draw.object(snap));
  const auto pg = draw.model.pgs.find(draw.pg);
  if (pg != draw.model.pgs.end()) pg->second.objects.erase({draw.name, snap});
}

// All layers of a name, or one of them: then some of its blocks are shared between two PGs.
void add_move(Draw& draw) {
  // With one PG alone what was moved away would never be changed again.
  if (draw.mix.pgs < 2) return add_remove(draw);
  const auto distance = 1 + static_cast<std::uint32_t>(draw.random.below(draw.mix.pgs - 1));
  const PgId to{draw.pg.pool, (draw.pg.seed + distance) % draw.mix.pgs};
  std::vector<std::uint64_t> snaps{snap_of(draw.random.next())};
  if (draw.random.chance(0.5)) snaps = {0, 1, 2, kHead};
  for (const std::uint64_t snap : snaps) {
    draw.to.move(draw.pg, draw.object(snap), to);
    const auto source = draw.model.pgs.find(draw.pg);
    if (source == draw.model.pgs.end()) continue;
    auto moved = source->second.objects.extract({draw.name, snap});
    if (moved.empty()) continue;
    draw.model.pgs[to].objects.insert_or_assign({draw.name, snap}, std::move(moved.mapped()));
  }
}

// Every other block, so that a checkpoint has many pieces to write.
void add_scattered_writes(Draw& draw) {
  const std::uint32_t most = 2 * draw.mix.large_blocks;
  ModelObject& object = draw.change(kHead);
  for (std::uint32_t i = 0; i < most && 2 * i < draw.mix.blocks; ++i)
    draw.to.write(draw.pg, draw.object(kHead), 2 * i * kBlockBytes,
                  make_data(draw, object, 2 * i, 1), draw.version);
}

// As recovery brings an object: its former content goes in the transaction that brings the new one.
void add_rewrite(Draw& draw) {
  draw.to.remove(draw.pg, draw.object(kHead));
  draw.model.pgs[draw.pg].objects.erase({draw.name, kHead});
  const auto count = 1 + static_cast<std::uint32_t>(draw.random.below(2 * draw.mix.large_blocks));
  ModelObject& object = draw.change(kHead);
  draw.to.write(draw.pg, draw.object(kHead), 0, make_data(draw, object, 0, count), draw.version);
}

void add_omap(Draw& draw) {
  ModelObject& object = draw.change(kHead);
  const std::string key = "key" + std::to_string(draw.random.below(6));
  switch (draw.random.below(6)) {
    case 0:
      draw.to.omap_clear(draw.pg, draw.object(kHead), draw.version);
      object.omap.clear();
      return;
    case 1:
      draw.to.omap_remove(draw.pg, draw.object(kHead), key, draw.version);
      object.omap.erase(key);
      return;
    default:
      object.omap[key] = std::string(draw.random.below(60), static_cast<char>(draw.random.next()));
      draw.to.omap_set(draw.pg, draw.object(kHead), key, object.omap[key], draw.version);
  }
}

void add_attr(Draw& draw) {
  constexpr std::uint64_t kUsualBytes = 60;
  const std::uint64_t most = draw.random.chance(0.1) ? object_store::kMaxAttrBytes : kUsualBytes;
  const std::uint64_t snap = snap_of(draw.random.next());
  ModelObject& object = draw.change(snap);
  object.attr.assign(draw.random.below(most + 1), static_cast<char>(draw.random.next()));
  draw.to.set_attr(draw.pg, draw.object(snap), object.attr, draw.version);
}

void append_entry(Draw& draw) {
  ModelPg& pg = draw.model.pgs[draw.pg];
  std::string entry(draw.random.below(90), static_cast<char>(draw.random.next()));
  const ByteSpan bytes = as_bytes(entry);
  draw.to.log_append(draw.pg, pg.log_next, {bytes.begin(), bytes.end()});
  pg.log[pg.log_next++] = std::move(entry);
}

void add_log(Draw& draw) {
  ModelPg& pg = draw.model.pgs[draw.pg];
  const std::uint64_t draw_kind = draw.random.below(20);
  if (draw_kind == 0) {
    const std::uint64_t first = 1 + draw.random.below(300);
    draw.to.log_reset(draw.pg, first);
    pg.log.clear();
    pg.log_first = pg.log_next = first;
  } else if (draw_kind < 3) {
    const std::uint64_t kept = draw.random.below(5);
    const std::uint64_t to = pg.log_next - 1 < kept ? 0 : pg.log_next - 1 - kept;
    draw.to.log_rewind(draw.pg, to);
    pg.log.erase(pg.log.lower_bound(to + 1), pg.log.end());
    if (to + 1 < pg.log_next) pg.log_next = to + 1;
    if (pg.log_first > pg.log_next) pg.log_first = pg.log_next;
  } else if (draw_kind < 5) {
    const std::uint64_t up_to =
        pg.log_first - 1 + draw.random.below(pg.log_next - pg.log_first + 1);
    draw.to.log_trim(draw.pg, up_to);
    pg.log.erase(pg.log.begin(), pg.log.upper_bound(up_to));
    pg.log_first = std::max(pg.log_first, up_to + 1);
  } else {
    const std::uint64_t count = draw_kind == 19 ? 70 : 1 + draw.random.below(3);
    for (std::uint64_t i = 0; i < count; ++i) append_entry(draw);
  }
}

void add_meta(Draw& draw) {
  const std::string key = "meta" + std::to_string(draw.random.below(3));
  if (draw.random.chance(0.3)) {
    draw.to.pg_meta_remove(draw.pg, key);
    const auto pg = draw.model.pgs.find(draw.pg);
    if (pg != draw.model.pgs.end()) pg->second.meta.erase(key);
    return;
  }
  std::string& value = draw.model.pgs[draw.pg].meta[key];
  value = std::to_string(draw.random.next());
  draw.to.pg_meta_set(draw.pg, key, value);
}

void add_op(Draw& draw) {
  if (draw.mix.more_scattered > 0 && draw.random.chance(draw.mix.more_scattered))
    return add_scattered_writes(draw);
  const std::uint64_t kind = draw.random.below(100);
  if (kind < 18) return add_write(draw);
  if (kind < 20) return add_scattered_writes(draw);
  if (kind < 35) return add_rewrite(draw);
  if (kind < 40) return add_move(draw);
  if (kind < 46) return add_checked_write(draw);
  if (kind < 55) return add_range(draw);
  if (kind < 61) return add_clone(draw);
  if (kind < 67) return add_share(draw);
  if (kind < 75) return add_remove(draw);
  if (kind < 81) return add_omap(draw);
  if (kind < 85) return add_attr(draw);
  if (kind < 95) return add_log(draw);
  if (kind < 99) return add_meta(draw);
  draw.to.remove_pg(draw.pg);
  draw.model.pgs.erase(draw.pg);
}

}  // namespace

void fill_block(std::uint64_t content, MutableByteSpan block) {
  for (std::size_t i = 0; i < block.size(); i += 8)
    store_le(block.data() + i, content + i * 0x9e3779b97f4a7c15ULL);
}

std::uint64_t Model::data_blocks() const {
  // Each write draws its own content.
  std::set<std::uint64_t> contents;
  for (const auto& [id, pg] : pgs)
    for (const auto& [name, object] : pg.objects)
      for (const auto& [index, block] : object.blocks)
        if (block.state == BlockState::data) contents.insert(block.content);
  return contents.size();
}

Transaction next_transaction(Model& model, Random& random, const Mix& mix) {
  Transaction transaction;
  ++model.transaction;
  const Version version{static_cast<Epoch>(1 + model.transaction / 20), model.transaction};
  Draw draw{model, random, mix, transaction, {}, {}, version};
  const std::uint64_t ops = 1 + random.below(mix.max_ops);
  const bool is_full = model.data_blocks() > mix.most_data_blocks;
  for (std::uint64_t i = 0; i < ops; ++i) {
    draw.pg = {7, static_cast<std::uint32_t>(random.below(mix.pgs))};
    draw.name = "object" + std::to_string(random.below(mix.names));
    if (is_full)
      add_remove(draw);
    else
      add_op(draw);
  }
  transaction.store_meta_set("transaction", std::to_string(model.transaction));
  return transaction;
}

std::optional<Transaction> misplaced_copy(const Model& model, Random& random) {
  struct Place {
    PgId pg;
    ObjectId object;
    std::uint32_t index;
    ModelBlock block;
  };
  std::vector<Place> places;
  for (const auto& [id, pg] : model.pgs)
    for (const auto& [name, object] : pg.objects)
      for (const auto& [index, block] : object.blocks)
        if (block.state == BlockState::data)
          places.push_back({id, {id.pool, name.first, name.second}, index, block});
  if (places.empty()) return std::nullopt;
  const Place& place = places[random.below(places.size())];
  Buffer data = Buffer::allocate(kBlockBytes);
  fill_block(place.block.content, data.span());
  const std::uint32_t crc = object_store::block_checksum(
      place.pg.pool, place.object.name, place.index, place.block.version, data.span());
  Transaction transaction;
  transaction.write_checked(place.pg, place.object, (place.index + 1) * kBlockBytes, data,
                            {{BlockState::data, crc, place.block.version}});
  return transaction;
}

}  // namespace cairn::explore
