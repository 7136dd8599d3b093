// Reading the own copies for a scrub: see scrub_reader.hh.
#include "pg/scrub_reader.hh"

#include <algorithm>
#include <set>
#include <utility>

#include "base/crc32c.hh"
#include "base/probe.hh"
#include "pg/layer_names.hh"
#include "pg/outgoing.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(scrub_list_truncated);
CAIRN_DEFINE_PROBE(scrub_bad_block_found);

namespace {

constexpr std::uint32_t kPieceBlocks = 64;

// Adds a layer to the digests of its family.
void add_layer(std::uint64_t snap, const object_store::ObjectInfo& info, net::ScrubObject& object) {
  Writer blocks;
  if (snap != kHead) {
    blocks.put(snap);
    blocks.put(info.version.epoch);
    blocks.put(info.version.number);
  }
  for (const object_store::BlockInfo& block : info.blocks) {
    blocks.put(static_cast<std::uint8_t>(block.state));
    blocks.put(block.crc);
    blocks.put(block.version.epoch);
    blocks.put(block.version.number);
  }
  object.blocks_digest = crc32c(blocks.span(), object.blocks_digest);
  Writer pairs;
  if (!info.attr.empty()) pairs.text16(info.attr);
  for (const auto& [key, value] : info.omap) {
    pairs.text16(key);
    pairs.blob32(as_bytes(value));
  }
  object.omap_digest = crc32c(pairs.span(), object.omap_digest);
}

bool is_damage(const Status& status) {
  return status.code() == ErrorCode::checksum_mismatch || status.code() == ErrorCode::io_error;
}

}  // namespace

// An object with the layers that were found of it, newest first.
struct ScrubReader::Listing {
  struct Family {
    std::string name;
    std::vector<std::uint64_t> layers;
  };
  std::vector<Family> families;
  std::string end;
  std::vector<net::ScrubObject> objects;
  ListDone done;
};

// An object whose layers are looked at one after the other.
struct ScrubReader::Look {
  net::ScrubObject object;
  std::vector<std::uint64_t> layers;  // newest first
  std::size_t next_layer = 0;
  object_store::ObjectInfo info;  // of the layer that is looked at
  bool reads = false;             // the data, too
  std::uint64_t bytes_per_second = 0;
  std::vector<bool> has_data;    // by block: it is read, and was not read with the layer before
  std::uint32_t next_block = 0;  // of the next piece, or of the next single block
  std::uint32_t single_until = 0;
  std::set<std::uint32_t> bad_blocks;  // of any layer
  ObjectDone done;

  std::uint64_t layer() const { return layers[next_layer - 1]; }
};

void ScrubReader::list(const std::string& after, const std::string& end, ListDone done) {
  auto listing = std::make_shared<Listing>();
  listing->end = end;
  listing->done = std::move(done);
  std::optional<ObjectId> behind;
  if (!after.empty()) behind = ObjectId{pg_.pool, after, kHead};
  constexpr std::size_t most = net::kMaxScrubObjects + 1;
  store_.list(pg_, std::move(behind), most,
              [this, listing](Status status, std::vector<object_store::ListedObject> found) {
                if (!status) return listing->done(std::move(status), {}, {});
                const bool is_truncated = found.size() == most;
                // The last one may have layers that were not listed any more.
                if (is_truncated && found.front().id.name != found.back().id.name) {
                  const std::string last = found.back().id.name;
                  std::erase_if(found,
                                [&last](const auto& layer) { return layer.id.name == last; });
                }
                group(found, *listing);
                if (is_truncated && (listing->end.empty() || found.back().id.name < listing->end)) {
                  scrub_list_truncated.hit();
                  listing->end = found.back().id.name;
                }
                describe_next(listing);
              });
}

void ScrubReader::group(const std::vector<object_store::ListedObject>& found, Listing& listing) {
  for (const object_store::ListedObject& layer : found) {
    const std::string& name = layer.id.name;
    if (!listing.end.empty() && name > listing.end) break;
    if (listing.families.empty() || listing.families.back().name != name) {
      listing.families.push_back({name, {}});
    }
    auto& layers = listing.families.back().layers;
    layers.insert(layers.begin(), layer.id.snap);
  }
}

void ScrubReader::describe_next(std::shared_ptr<Listing> listing) {
  if (listing->objects.size() == listing->families.size()) {
    return listing->done(Status::ok(), std::move(listing->end), std::move(listing->objects));
  }
  const Listing::Family& family = listing->families[listing->objects.size()];
  auto next = [this, listing](net::ScrubObject object) {
    listing->objects.push_back(std::move(object));
    describe_next(listing);
  };
  // One name alone, and more layers than a list takes: they are looked for anew.
  if (family.layers.size() > net::kMaxScrubObjects) return describe(family.name, std::move(next));
  auto look = std::make_shared<Look>();
  look->object.name = family.name;
  look->layers = family.layers;
  look->done = std::move(next);
  look_at_next_layer(std::move(look));
}

void ScrubReader::describe(const std::string& name, ObjectDone done) {
  auto look = std::make_shared<Look>();
  look->object.name = name;
  look->done = std::move(done);
  find_and_look(std::move(look));
}

void ScrubReader::verify(const std::string& name, std::uint64_t bytes_per_second, ObjectDone done) {
  auto look = std::make_shared<Look>();
  look->object.name = name;
  look->reads = true;
  look->bytes_per_second = bytes_per_second;
  look->done = std::move(done);
  find_and_look(std::move(look));
}

void ScrubReader::find_and_look(std::shared_ptr<Look> look) {
  list_layers(store_, pg_, look->object.name,
              [this, look](const Status& status, std::vector<std::uint64_t> layers) {
                look->object.code = status.code();
                look->layers = std::move(layers);
                look_at_next_layer(look);
              });
}

void ScrubReader::look_at_next_layer(std::shared_ptr<Look> look) {
  if (look->next_layer == look->layers.size() || look->object.code != ErrorCode::ok) {
    look->object.bad_blocks.assign(look->bad_blocks.begin(), look->bad_blocks.end());
    return look->done(std::move(look->object));
  }
  const ObjectId layer{pg_.pool, look->object.name, look->layers[look->next_layer++]};
  store_.info(pg_, layer, [this, look](Status status, object_store::ObjectInfo info) {
    look->object.code = status.code();
    if (status) take_layer(*look, std::move(info));
    look->next_block = 0;
    read_piece(look);
  });
}

void ScrubReader::take_layer(Look& look, object_store::ObjectInfo info) {
  look.object.exists = true;
  if (look.layer() == kHead) look.object.version = info.version;
  add_layer(look.layer(), info, look.object);
  look.has_data.assign(info.blocks.size(), false);
  const bool is_first = look.next_layer == 1;
  for (const std::uint32_t index : difference(is_first ? nullptr : &look.info, info).blocks) {
    if (index >= info.blocks.size()) break;
    if (info.blocks[index].state != object_store::BlockState::data) continue;
    ++look.object.data_blocks;
    look.has_data[index] = look.reads;
  }
  look.info = std::move(info);
}

void ScrubReader::read_piece(std::shared_ptr<Look> look) {
  const std::vector<bool>& has_data = look->has_data;
  std::uint32_t& first = look->next_block;
  while (first < has_data.size() && !has_data[first]) ++first;
  if (first == has_data.size() || look->object.code != ErrorCode::ok) {
    return look_at_next_layer(std::move(look));
  }
  const auto end = static_cast<std::uint32_t>(
      std::min<std::size_t>(has_data.size(), std::size_t{first} + kPieceBlocks));
  const std::uint64_t length = (end - first) * kBlockBytes;
  store_.read(pg_, ObjectId{pg_.pool, look->object.name, look->layer()}, first * kBlockBytes,
              length, false,
              [this, look, end, length](Status status, const object_store::ReadResult&) {
                if (status) {
                  look->next_block = end;
                } else if (is_damage(status)) {
                  look->single_until = end;
                  return read_block(look);
                } else {
                  look->object.code = status.code();
                }
                piece_done(look, length);
              });
}

// The store names the first bad block only, so each block of a bad piece is read by itself.
void ScrubReader::read_block(std::shared_ptr<Look> look) {
  const std::uint32_t index = look->next_block;
  if (index == look->single_until) {
    return piece_done(look, kPieceBlocks * kBlockBytes);
  }
  store_.read(pg_, ObjectId{pg_.pool, look->object.name, look->layer()}, index * kBlockBytes,
              kBlockBytes, false,
              [this, look, index](Status status, const object_store::ReadResult&) {
                if (is_damage(status)) {
                  scrub_bad_block_found.hit();
                  look->bad_blocks.insert(index);
                } else if (!status) {
                  look->object.code = status.code();
                }
                ++look->next_block;
                read_block(look);
              });
}

void ScrubReader::piece_done(std::shared_ptr<Look> look, std::uint64_t length_bytes) {
  if (look->bytes_per_second == 0) return read_piece(look);
  const std::uint64_t pause_ns = length_bytes * 1'000'000'000 / look->bytes_per_second;
  executor_.run_after(pause_ns, [this, look] { read_piece(look); });
}

}  // namespace cairn::pg
