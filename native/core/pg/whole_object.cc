// Reading an object whole: see whole_object.hh.
#include "pg/whole_object.hh"

#include <memory>
#include <utility>

#include "pg/layer_names.hh"

namespace cairn::pg {

namespace {

struct Reading {
  object_store::ObjectStore& store;
  PgId pg;
  WholeObject object;
  std::vector<std::uint64_t> layers;  // newest first
  std::size_t next_layer = 0;
  Writer description;
  Writer data;
  std::size_t next_block = 0;  // of a layer that has to be read block by block
  std::size_t block_count = 0;
  WholeObjectDone done;

  ObjectId layer() const { return {pg.pool, object.name, layers[next_layer]}; }
};

void put_version(const Version& version, Writer& bytes) {
  bytes.put(version.epoch);
  bytes.put(version.number);
}

void put_description(std::uint64_t snap, const object_store::ObjectInfo& info, Writer& bytes) {
  bytes.put(snap);
  put_version(info.version, bytes);
  bytes.blob32(as_bytes(info.attr));
  bytes.put(static_cast<std::uint32_t>(info.omap.size()));
  for (const auto& [key, value] : info.omap) {
    bytes.text16(key);
    bytes.blob32(as_bytes(value));
  }
  bytes.put(static_cast<std::uint32_t>(info.blocks.size()));
  for (const object_store::BlockInfo& block : info.blocks) {
    bytes.put(static_cast<std::uint8_t>(block.state));
    put_version(block.version, bytes);
    bytes.put(block.crc);
  }
}

void read_next_layer(std::shared_ptr<Reading> reading);

void layer_done(std::shared_ptr<Reading> reading) {
  ++reading->next_layer;
  read_next_layer(std::move(reading));
}

// The store says of a piece only that a block of it is bad.
void read_single_blocks(std::shared_ptr<Reading> reading) {
  if (reading->next_block == reading->block_count) return layer_done(std::move(reading));
  Reading& now = *reading;
  const std::uint64_t offset = now.next_block++ * kBlockBytes;
  now.store.read(
      now.pg, now.layer(), offset, kBlockBytes, false,
      [reading](const Status& status, const object_store::ReadResult& result) {
        if (!status) ++reading->object.bad_blocks;
        reading->data.raw(status ? result.data.span() : Buffer::zeroed(kBlockBytes).span());
        read_single_blocks(reading);
      });
}

void read_data(std::shared_ptr<Reading> reading) {
  Reading& now = *reading;
  if (now.block_count == 0) return layer_done(std::move(reading));
  now.store.read(now.pg, now.layer(), 0, now.block_count * kBlockBytes, false,
                 [reading](const Status& status, const object_store::ReadResult& result) {
                   if (!status) {
                     reading->next_block = 0;
                     return read_single_blocks(reading);
                   }
                   reading->data.raw(result.data.span());
                   layer_done(reading);
                 });
}

void read_next_layer(std::shared_ptr<Reading> reading) {
  if (reading->next_layer == reading->layers.size()) {
    reading->object.description = reading->description.take();
    reading->object.data = reading->data.take();
    return reading->done(Status::ok(), std::move(reading->object));
  }
  reading->store.info(reading->pg, reading->layer(),
                      [reading](Status status, const object_store::ObjectInfo& info) {
                        if (!status) return reading->done(std::move(status), std::nullopt);
                        put_description(reading->layer().snap, info, reading->description);
                        reading->block_count = info.blocks.size();
                        read_data(reading);
                      });
}

}  // namespace

void read_next_object(object_store::ObjectStore& store, PgId pg, std::optional<std::string> after,
                      WholeObjectDone done) {
  auto reading =
      std::make_shared<Reading>(Reading{store, pg, {}, {}, 0, {}, {}, 0, 0, std::move(done)});
  std::optional<ObjectId> behind;
  if (after) behind = ObjectId{pg.pool, std::move(*after), kHead};
  store.list(pg, std::move(behind), 1,
             [reading](Status status, const std::vector<object_store::ListedObject>& found) {
               if (!status || found.empty()) return reading->done(std::move(status), std::nullopt);
               reading->object.name = found.front().id.name;
               list_layers(reading->store, reading->pg, reading->object.name,
                           [reading](Status list_status, std::vector<std::uint64_t> layers) {
                             if (!list_status) {
                               return reading->done(std::move(list_status), std::nullopt);
                             }
                             reading->layers = std::move(layers);
                             read_next_layer(reading);
                           });
             });
}

}  // namespace cairn::pg
