// What of a layer has to be sent: see outgoing.hh.
#include "pg/outgoing.hh"

#include <algorithm>
#include <utility>

namespace cairn::pg {

using object_store::BlockInfo;
using object_store::BlockState;
using object_store::ObjectInfo;

namespace {

constexpr std::size_t kPartOmapBytes = std::size_t{1} << 20;
// Blocks between two wanted ones that are read with them, as that costs less than one more read.
constexpr std::uint32_t kGapBlocks = 16;

bool is_same(const BlockInfo& a, const BlockInfo& b) {
  return a == b || (a.state == BlockState::absent && b.state == BlockState::absent);
}

BlockInfo block_of(const ObjectInfo& info, std::size_t index) {
  return index < info.blocks.size() ? info.blocks[index] : BlockInfo{};
}

}  // namespace

LayerDifference difference(const ObjectInfo* from, const ObjectInfo& to) {
  LayerDifference found;
  if (from == nullptr) {
    for (std::uint32_t i = 0; i < to.blocks.size(); ++i) {
      if (to.blocks[i].state != BlockState::absent) found.blocks.push_back(i);
    }
    found.omap = !to.omap.empty();
    return found;
  }
  const std::size_t count = std::max(from->blocks.size(), to.blocks.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!is_same(block_of(*from, i), block_of(to, i))) found.blocks.push_back(i);
  }
  found.omap = from->omap != to.omap;
  return found;
}

ReadPiece next_piece(const std::vector<std::uint32_t>& wanted, std::size_t begin,
                     std::uint32_t max_blocks) {
  ReadPiece piece{wanted[begin], 1, begin + 1};
  while (piece.end < wanted.size() && wanted[piece.end] - wanted[piece.end - 1] <= kGapBlocks + 1 &&
         wanted[piece.end] - piece.first_block < max_blocks) {
    piece.block_count = wanted[piece.end++] - piece.first_block + 1;
  }
  return piece;
}

void Outgoing::begin_layer() {
  next_wanted = next_pair = 0;
  LayerDifference chosen;
  if (layer() == kHead) {
    base = 0;
    chosen = difference(nullptr, info);
    if (layers.size() > 1) head = info;
  } else {
    chosen = difference(&before, info);
    base = layers[next_layer - 2];
    LayerDifference from_head;
    if (base != kHead) from_head = difference(&head, info);
    if (base != kHead && from_head.blocks.size() < chosen.blocks.size()) {
      chosen = std::move(from_head);
      base = kHead;
    }
  }
  wanted = std::move(chosen.blocks);
  // A copy of a layer has its key-values; they are few, so they are all sent where they differ.
  clears_omap = layer() != kHead && chosen.omap;
  if (layer() != kHead && !chosen.omap) next_pair = info.omap.size();
}

void Outgoing::begin_part() {
  part = {};
  part.interval = interval;
  part.object = object;
  part.exists = true;
  part.version = info.version;
  part.layer = layer();
  part.base = std::exchange(base, 0);
  part.clears_omap = std::exchange(clears_omap, false);
  part.first = part.layer == kHead && next_wanted == 0 && next_pair == 0;
  if (part.first) part.attr = info.attr;
  part_data.clear();
  part_bytes = 0;
  for (std::size_t bytes = 0; bytes < kPartOmapBytes && next_pair < info.omap.size();) {
    part.omap.push_back(info.omap[next_pair++]);
    bytes += part.omap.back().first.size() + part.omap.back().second.size();
  }
}

}  // namespace cairn::pg
