// Reading the own copies for a scrub: see scrub_reader.hh.
#include "pg/scrub_reader.hh"

#include <algorithm>
#include <utility>

#include "base/crc32c.hh"
#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(scrub_list_truncated);
CAIRN_DEFINE_PROBE(scrub_bad_block_found);

namespace {

constexpr std::uint32_t kPieceBlocks = 64;

net::ScrubObject summary_of(std::string name, const object_store::ObjectInfo& info) {
  net::ScrubObject object;
  object.name = std::move(name);
  object.exists = info.exists;
  object.version = info.version;
  Writer blocks;
  for (const object_store::BlockInfo& block : info.blocks) {
    blocks.put(static_cast<std::uint8_t>(block.state));
    blocks.put(block.crc);
    blocks.put(block.version.epoch);
    blocks.put(block.version.number);
    if (block.state == object_store::BlockState::data) ++object.data_blocks;
  }
  object.blocks_digest = crc32c(blocks.span());
  Writer pairs;
  for (const auto& [key, value] : info.omap) {
    pairs.text16(key);
    pairs.blob32(as_bytes(value));
  }
  object.omap_digest = crc32c(pairs.span());
  return object;
}

bool is_damage(const Status& status) {
  return status.code() == ErrorCode::checksum_mismatch || status.code() == ErrorCode::io_error;
}

}  // namespace

struct ScrubReader::Listing {
  std::vector<std::string> names;
  std::string end;
  std::vector<net::ScrubObject> objects;
  ListDone done;
};

struct ScrubReader::Verification {
  net::ScrubObject object;
  std::vector<bool> has_data;  // by block
  std::uint64_t bytes_per_second = 0;
  std::uint32_t next_block = 0;  // of the next piece, or of the next single block
  std::uint32_t single_until = 0;
  ObjectDone done;
};

void ScrubReader::list(const std::string& after, const std::string& end, ListDone done) {
  auto listing = std::make_shared<Listing>();
  listing->end = end;
  listing->done = std::move(done);
  std::optional<ObjectId> behind;
  if (!after.empty()) behind = ObjectId{pg_.pool, after, kHead};
  store_.list(pg_, std::move(behind), net::kMaxScrubObjects + 1,
              [this, listing](Status status, std::vector<object_store::ListedObject> found) {
                if (!status) return listing->done(std::move(status), {}, {});
                for (const auto& [object, version, attr] : found) {
                  if (!listing->end.empty() && object.name > listing->end) break;
                  if (listing->names.size() == net::kMaxScrubObjects) {
                    scrub_list_truncated.hit();
                    listing->end = listing->names.back();
                    break;
                  }
                  listing->names.push_back(object.name);
                }
                describe_next(listing);
              });
}

void ScrubReader::describe_next(std::shared_ptr<Listing> listing) {
  if (listing->objects.size() == listing->names.size()) {
    return listing->done(Status::ok(), std::move(listing->end), std::move(listing->objects));
  }
  const std::string& name = listing->names[listing->objects.size()];
  describe(name, [this, listing](net::ScrubObject object) {
    listing->objects.push_back(std::move(object));
    describe_next(listing);
  });
}

void ScrubReader::describe(const std::string& name, ObjectDone done) {
  store_.info(pg_, ObjectId{pg_.pool, name, kHead},
              [name, done = std::move(done)](Status status, object_store::ObjectInfo info) mutable {
                net::ScrubObject object = summary_of(name, info);
                object.code = status.code();
                done(std::move(object));
              });
}

void ScrubReader::verify(const std::string& name, std::uint64_t bytes_per_second, ObjectDone done) {
  auto verification = std::make_shared<Verification>();
  verification->bytes_per_second = bytes_per_second;
  verification->done = std::move(done);
  store_.info(pg_, ObjectId{pg_.pool, name, kHead},
              [this, name, verification](Status status, object_store::ObjectInfo info) {
                verification->object = summary_of(name, info);
                verification->object.code = status.code();
                for (const object_store::BlockInfo& block : info.blocks) {
                  verification->has_data.push_back(block.state == object_store::BlockState::data);
                }
                read_piece(verification);
              });
}

void ScrubReader::read_piece(std::shared_ptr<Verification> verification) {
  const std::vector<bool>& has_data = verification->has_data;
  std::uint32_t& first = verification->next_block;
  while (first < has_data.size() && !has_data[first]) ++first;
  if (first == has_data.size() || verification->object.code != ErrorCode::ok) {
    return verification->done(std::move(verification->object));
  }
  const auto end = static_cast<std::uint32_t>(
      std::min<std::size_t>(has_data.size(), std::size_t{first} + kPieceBlocks));
  const std::uint64_t length = (end - first) * kBlockBytes;
  store_.read(pg_, ObjectId{pg_.pool, verification->object.name, kHead}, first * kBlockBytes,
              length, false,
              [this, verification, end, length](Status status, const object_store::ReadResult&) {
                if (status) {
                  verification->next_block = end;
                } else if (is_damage(status)) {
                  verification->single_until = end;
                  return read_block(verification);
                } else {
                  verification->object.code = status.code();
                }
                piece_done(verification, length);
              });
}

// The store names the first bad block only, so each block of a bad piece is read by itself.
void ScrubReader::read_block(std::shared_ptr<Verification> verification) {
  const std::uint32_t index = verification->next_block;
  if (index == verification->single_until) {
    return piece_done(verification, kPieceBlocks * kBlockBytes);
  }
  store_.read(pg_, ObjectId{pg_.pool, verification->object.name, kHead}, index * kBlockBytes,
              kBlockBytes, false,
              [this, verification, index](Status status, const object_store::ReadResult&) {
                if (is_damage(status)) {
                  scrub_bad_block_found.hit();
                  verification->object.bad_blocks.push_back(index);
                } else if (!status) {
                  verification->object.code = status.code();
                }
                ++verification->next_block;
                read_block(verification);
              });
}

void ScrubReader::piece_done(std::shared_ptr<Verification> verification,
                             std::uint64_t length_bytes) {
  if (verification->bytes_per_second == 0) return read_piece(verification);
  const std::uint64_t pause_ns = length_bytes * 1'000'000'000 / verification->bytes_per_second;
  executor_.run_after(pause_ns, [this, verification] { read_piece(verification); });
}

}  // namespace cairn::pg
