// A family on its way to other members: the head first, then its clones from the newest to the
// oldest, each as what differs from a layer that the receiver has by then.
#include <algorithm>
#include <utility>

#include "base/planted_bug.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

namespace {
constexpr std::size_t kPartBytes = std::size_t{1} << 20;
}  // namespace

bool Pg::wanted_still(const Outgoing& outgoing) const {
  if (!current(outgoing.interval)) return false;
  if (outgoing.reply_to != 0) return true;  // a closed connection drops what it no longer wants
  const auto found = recovering_.find(outgoing.object);
  return found != recovering_.end() && found->second.attempt == outgoing.attempt;
}

void Pg::send_object(std::shared_ptr<Outgoing> outgoing) {
  find_layers(host_.store(), id_, outgoing->object,
              [this, outgoing](Status status, std::vector<std::uint64_t> layers) {
                if (!wanted_still(*outgoing)) return;
                if (!status) return source_failed(*outgoing, status);
                outgoing->layers = std::move(layers);
                if (planted(PlantedBug::recover_head_alone) && outgoing->layers.size() > 1) {
                  outgoing->layers.resize(1);
                }
                if (!outgoing->layers.empty()) return send_next_layer(outgoing);
                outgoing->part.interval = outgoing->interval;
                outgoing->part.object = outgoing->object;
                outgoing->part.first = outgoing->part.last = true;
                deliver_part(*outgoing);
              });
}

void Pg::send_next_layer(std::shared_ptr<Outgoing> outgoing) {
  const ObjectId layer{id_.pool, outgoing->object, outgoing->layers[outgoing->next_layer++]};
  outgoing->before = std::move(outgoing->info);
  host_.store().info(id_, layer, [this, outgoing](Status status, object_store::ObjectInfo info) {
    if (!wanted_still(*outgoing)) return;
    if (!status) return source_failed(*outgoing, status);
    outgoing->info = std::move(info);
    outgoing->begin_layer();
    send_next_part(outgoing);
  });
}

void Pg::send_next_part(std::shared_ptr<Outgoing> outgoing) {
  outgoing->begin_part();
  fill_part(std::move(outgoing));
}

// Adds blocks until the part is full or the layer is at its end.
void Pg::fill_part(std::shared_ptr<Outgoing> outgoing) {
  const auto& blocks = outgoing->info.blocks;
  while (outgoing->next_wanted < outgoing->wanted.size() && outgoing->part_bytes < kPartBytes) {
    const std::uint32_t index = outgoing->wanted[outgoing->next_wanted];
    const auto block = index < blocks.size() ? blocks[index] : object_store::BlockInfo{};
    if (block.state == object_store::BlockState::data) return read_piece(std::move(outgoing));
    outgoing->part.blocks.push_back(
        {index, static_cast<std::uint8_t>(block.state), 0, block.version});
    ++outgoing->next_wanted;
  }
  const bool layer_done = outgoing->layer_done();
  outgoing->part.last = layer_done && outgoing->next_layer == outgoing->layers.size();
  const bool last = outgoing->part.last;
  deliver_part(*outgoing);
  if (last) return;
  if (layer_done) return send_next_layer(std::move(outgoing));
  send_next_part(std::move(outgoing));
}

void Pg::read_piece(std::shared_ptr<Outgoing> outgoing) {
  const auto room = static_cast<std::uint32_t>((kPartBytes - outgoing->part_bytes) / kBlockBytes);
  const ReadPiece piece =
      next_piece(outgoing->wanted, outgoing->next_wanted, std::max<std::uint32_t>(room, 1));
  const ObjectId layer{id_.pool, outgoing->object, outgoing->layer()};
  host_.store().read(
      id_, layer, piece.first_block * kBlockBytes, piece.block_count * kBlockBytes, true,
      [this, outgoing, piece](Status status, object_store::ReadResult result) mutable {
        if (!wanted_still(*outgoing)) return;
        if (!status) return source_failed(*outgoing, status);
        add_piece(*outgoing, piece, result);
        fill_part(std::move(outgoing));
      });
}

void Pg::add_piece(Outgoing& outgoing, const ReadPiece& piece,
                   const object_store::ReadResult& read) const {
  for (; outgoing.next_wanted < piece.end; ++outgoing.next_wanted) {
    const std::uint32_t index = outgoing.wanted[outgoing.next_wanted];
    const std::size_t at = index - piece.first_block;
    const object_store::BlockInfo& block = read.blocks[at];
    outgoing.part.blocks.push_back(
        {index, static_cast<std::uint8_t>(block.state), block.crc, block.version});
    if (block.state != object_store::BlockState::data) continue;
    outgoing.part_data.push_back(read.data.slice(at * kBlockBytes, kBlockBytes));
    outgoing.part_bytes += kBlockBytes;
  }
}

void Pg::deliver_part(Outgoing& outgoing) {
  net::Push part = std::move(outgoing.part);
  part.pg = id_;
  Buffer data = Buffer::allocate(outgoing.part_bytes);
  std::size_t filled = 0;
  for (const Buffer& block : outgoing.part_data) {
    std::copy_n(block.data(), block.size(), data.data() + filled);
    filled += block.size();
  }
  outgoing.part_data.clear();
  counters_.recovered_bytes += data.size();
  if (outgoing.reply_to != 0) {
    part.is_pull_reply = true;
    return host_.send_on(outgoing.reply_to, net::encode(part, std::move(data)));
  }
  const net::Frame frame = net::encode(part, std::move(data));
  for (const OsdId target : outgoing.targets) host_.send_to_osd(target, frame);
}

}  // namespace cairn::pg
