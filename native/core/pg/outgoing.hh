// Outgoing: a family on its way to other members, layer by layer (docs/snapshots.md, "Recovery and
// scrub"), and what of a layer has to be sent. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/messages.hh"
#include "net/messenger.hh"
#include "object_store/object_store.hh"
#include "pg/layer_names.hh"

namespace cairn::pg {

// Where a layer differs from the one that the receiver makes it a copy of.
struct LayerDifference {
  std::vector<std::uint32_t> blocks;  // indices, ascending
  bool omap = false;
};
// from: nullptr: nothing.
LayerDifference difference(const object_store::ObjectInfo* from,
                           const object_store::ObjectInfo& to);

// A piece of data to be read at once: wanted blocks that lie close to each other.
struct ReadPiece {
  std::uint32_t first_block = 0;
  std::uint32_t block_count = 0;
  std::size_t end = 0;  // index in the list of wanted blocks, behind those of the piece
};
// The piece that begins with the wanted block at `begin`, which is data; at most so many blocks.
ReadPiece next_piece(const std::vector<std::uint32_t>& wanted, std::size_t begin,
                     std::uint32_t max_blocks);

struct Outgoing {
  std::string object;
  std::vector<OsdId> targets;      // push
  net::ConnectionId reply_to = 0;  // or the answer to a pull
  Epoch interval = 0;
  std::uint64_t attempt = 0;  // of the Recovery that pushes it

  std::vector<std::uint64_t> layers;  // newest first
  std::size_t next_layer = 0;         // behind the one that is being sent
  object_store::ObjectInfo head;      // kept for clones that are like it, as after a rollback
  object_store::ObjectInfo before;    // of the layer sent before
  object_store::ObjectInfo info;      // of the layer that is being sent
  std::uint64_t base = 0;             // of the next part, if it begins a clone
  bool clears_omap = false;           // of the next part
  std::vector<std::uint32_t> wanted;  // blocks of the layer that are sent
  std::size_t next_wanted = 0;
  std::size_t next_pair = 0;  // of the key-values
  net::Push part;
  std::vector<Buffer> part_data;
  std::size_t part_bytes = 0;

  std::uint64_t layer() const { return layers[next_layer - 1]; }
  // Chooses what the layer becomes a copy of, and what of it is sent.
  void begin_layer();
  // The next part, with its key-values, still without blocks.
  void begin_part();
  bool layer_done() const { return next_wanted == wanted.size() && next_pair == info.omap.size(); }
};

}  // namespace cairn::pg
