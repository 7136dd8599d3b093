// Reading the layer of an object that a snapshot shows. The head's attribute says which one that
// is, and comes with every read of the head, as of the same moment: so a read of the head tells
// whether it was the right one. A clone never changes.
#include <algorithm>
#include <utility>

#include "pg/pg_running.hh"

namespace cairn::pg {

using object_store::BlockInfo;
using object_store::BlockState;
using object_store::ObjectInfo;
using object_store::ReadResult;

namespace {

std::uint64_t blocks_touched(std::uint64_t offset, std::uint64_t length) {
  return (offset + length + kBlockBytes - 1) / kBlockBytes - offset / kBlockBytes;
}

// The clone is gone although the head's snap set had it: only a trim does that.
Status check_clone(Status status, bool exists) {
  if (!status || exists) return status;
  return {ErrorCode::not_found, "the snapshot has been removed"};
}

}  // namespace

// What the snapshot shows of an object that did not exist.
void Pg::LayerRead::answer_absent() {
  ReadResult result;
  result.data = Buffer::zeroed(length);
  if (with_blocks) result.blocks.assign(blocks_touched(offset, length), {});
  done(Status::ok(), std::move(result));
}

Pg::LayerRead Pg::layer_read(const Running& running, std::uint64_t offset, std::uint64_t length) {
  LayerRead read;
  read.object = running.op.request.object;
  read.snap = running.op.request.snap;
  read.offset = offset;
  read.length = length;
  return read;
}

// Where nothing is known of the family the head is as good a guess as any: most objects are not
// written between two snapshots.
void Pg::read_layer(LayerRead read) {
  const Family* known = read.snap == kHead ? nullptr : families_.find(read.object);
  if (known == nullptr) return read_head(std::move(read));
  const std::optional<std::uint64_t> layer = known->resolve(read.snap);
  read_known_layer(std::move(read), layer);
}

void Pg::read_known_layer(LayerRead read, std::optional<std::uint64_t> layer) {
  if (!layer) return read.answer_absent();
  if (*layer == kHead) return read_head(std::move(read));
  const ObjectId clone = layer_id(read.object, *layer);
  const std::uint64_t offset = read.offset;
  const std::uint64_t length = read.length;
  const bool with_blocks = read.with_blocks;
  host_.store().read(id_, clone, offset, length, with_blocks,
                     [done = std::move(read.done)](Status status, ReadResult result) mutable {
                       status = check_clone(std::move(status), result.exists);
                       done(std::move(status), std::move(result));
                     });
}

void Pg::read_head(LayerRead read) {
  const ObjectId head = object_id(read.object);
  const std::uint64_t offset = read.offset;
  const std::uint64_t length = read.length;
  const bool with_blocks = read.with_blocks;
  host_.store().read(id_, head, offset, length, with_blocks,
                     [this, read = std::move(read)](Status status, ReadResult result) mutable {
                       // Never in a snapshot, as most: the head as it is.
                       if (!status || result.attr.empty())
                         return read.done(std::move(status), std::move(result));
                       auto family = Family::from_store(result.exists, result.version, result.attr);
                       if (!family) return read.done(family.status(), {});
                       result.exists = family->head;
                       if (family->set.resolve(read.snap) == kHead) {
                         return read.done(std::move(status), std::move(result));
                       }
                       const std::optional<std::uint64_t> layer = family->resolve(read.snap);
                       read_known_layer(std::move(read), layer);
                     });
}

// The block map of a layer; head: what info() of the head object has given.
void Pg::info_of_layer(const std::string& object, std::optional<std::uint64_t> layer,
                       const ObjectInfo& head, object_store::InfoDone done) {
  if (!layer) return done(Status::ok(), {});
  if (*layer == kHead) return done(Status::ok(), head);
  host_.store().info(id_, layer_id(object, *layer),
                     [done = std::move(done)](Status status, ObjectInfo info) mutable {
                       status = check_clone(std::move(status), info.exists);
                       done(std::move(status), std::move(info));
                     });
}

void Pg::compare_layers(const std::string& object, std::uint64_t from, std::uint64_t to,
                        UniqueFunction<void(Status, LayerPair)> done) {
  host_.store().info(
      id_, object_id(object),
      [this, object, from, to, done = std::move(done)](Status status, ObjectInfo head) mutable {
        if (!status) return done(std::move(status), {});
        auto family = Family::from_store(head.exists, head.version, head.attr);
        if (!family) return done(family.status(), {});
        const std::optional<std::uint64_t> new_layer = family->resolve(to);
        const std::optional<std::uint64_t> old_layer =
            from == 0 ? std::nullopt : family->resolve(from);
        auto pair = std::make_shared<LayerPair>();
        pair->exists = new_layer.has_value();
        if (new_layer == old_layer) return done(Status::ok(), std::move(*pair));
        auto blocks = std::make_shared<ObjectInfo>(std::move(head));
        info_of_layer(object, new_layer, *blocks,
                      [this, object, old_layer, pair, blocks, done = std::move(done)](
                          Status newer, ObjectInfo info) mutable {
                        if (!newer) return done(std::move(newer), {});
                        pair->to = std::move(info.blocks);
                        info_of_layer(object, old_layer, *blocks,
                                      [pair, done = std::move(done)](Status older,
                                                                     ObjectInfo from_info) mutable {
                                        pair->from = std::move(from_info.blocks);
                                        done(std::move(older), std::move(*pair));
                                      });
                      });
      });
}

std::vector<net::ExtentRun> Pg::LayerPair::differences() const {
  std::vector<net::ExtentRun> runs;
  const std::size_t count = std::max(from.size(), to.size());
  for (std::size_t i = 0; i < count; ++i) {
    const BlockInfo before = i < from.size() ? from[i] : BlockInfo{};
    const BlockInfo after = i < to.size() ? to[i] : BlockInfo{};
    if (before.state == after.state &&
        (after.state == BlockState::absent || before.version == after.version)) {
      continue;
    }
    const std::uint64_t offset = i * kBlockBytes;
    const auto state = static_cast<std::uint8_t>(after.state);
    if (!runs.empty() && runs.back().state == state &&
        runs.back().offset + runs.back().length == offset) {
      runs.back().length += kBlockBytes;
    } else {
      runs.push_back({offset, kBlockBytes, state});
    }
  }
  return runs;
}

}  // namespace cairn::pg
