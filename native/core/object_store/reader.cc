// Reads of object data.
#include "object_store/reader.hh"

#include <algorithm>

#include "object_store/transaction.hh"

namespace cairn::object_store {

struct Reader::ReadOperation {
  PgId pg;
  ObjectId object;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool with_blocks = false;
  ReadDone done;
  std::uint64_t started_ns = 0;
  std::uint32_t first_block = 0;
  std::vector<BlockEntry> entries;
  Buffer blocks;  // whole blocks
  ReadResult result;
  std::uint32_t pieces_left = 0;
  Status status;
};

void Reader::find(PgId pg, const ObjectId& object, std::uint32_t first, std::uint32_t end,
                  Found then) {
  const PgEntry* entry = state_.pgs.find(pg);
  if (entry == nullptr) return then(Status::ok(), nullptr);
  const ObjectKey key{entry->collection, object.name, object.snap};
  if (entry->is_new && state_.cache.find(key) == nullptr) return then(Status::ok(), nullptr);
  Missing missing;
  Onode* onode = loader_.need_blocks(key, first, end, References::none, missing);
  if (missing.empty()) return then(Status::ok(), onode);
  if (onode != nullptr) ++onode->pins;
  loader_.load(std::move(missing), [this, pg, object, first, end, onode, then = std::move(then),
                                    alive = std::weak_ptr(state_.lifetime)](Status status) mutable {
    if (alive.expired()) return;
    if (onode != nullptr) --onode->pins;
    if (!status) return then(std::move(status), nullptr);
    find(pg, object, first, end, std::move(then));
  });
}

void Reader::read(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
                  bool with_blocks, ReadDone done) {
  auto read = std::make_shared<ReadOperation>();
  read->pg = pg;
  read->object = object;
  read->offset = offset;
  read->length = length;
  read->with_blocks = with_blocks;
  read->done = std::move(done);
  read->started_ns = state_.executor.now_ns();
  if (offset > kMaxObjectBytes || length > kMaxObjectBytes - offset) {
    finish(read, {ErrorCode::out_of_range, "a read reaches behind the largest object"});
    return;
  }
  make_room();
  start(std::move(read));
}

void Reader::start(ReadPointer read) {
  read->first_block = static_cast<std::uint32_t>(read->offset / kBlockBytes);
  const auto end =
      static_cast<std::uint32_t>((read->offset + read->length + kBlockBytes - 1) / kBlockBytes);
  const ReadOperation& operation = *read;
  find(operation.pg, operation.object, operation.first_block, end,
       [this, read](Status status, Onode* onode) {
         if (!status) return finish(read, std::move(status));
         resolved(read, onode);
       });
}

// All that a read takes from the metadata is taken here, at one moment.
void Reader::resolved(const ReadPointer& read, Onode* onode) {
  const auto end =
      static_cast<std::uint32_t>((read->offset + read->length + kBlockBytes - 1) / kBlockBytes);
  read->entries.assign(end - read->first_block, {});
  read->result = {};
  read->result.exists = onode != nullptr && onode->exists;
  if (read->result.exists) {
    read->result.version = onode->header.version;
    read->result.attr = onode->header.attr;
    for (std::uint32_t block = read->first_block; block < end; ++block)
      if (const Shard* shard = onode->shard(block / kShardBlocks); shard != nullptr)
        read->entries[block - read->first_block] = shard->blocks[block % kShardBlocks];
  }
  read->blocks = Buffer::allocate(read->entries.size() * kBlockBytes);
  // One piece held back until all have been started.
  read->pieces_left = 1;
  for (std::uint32_t i = 0; i < read->entries.size();) {
    const BlockEntry& entry = read->entries[i];
    std::byte* to = read->blocks.data() + i * kBlockBytes;
    if (entry.state != BlockState::data) {
      std::memset(to, 0, kBlockBytes);
      ++i;
      continue;
    }
    if (const ByteSpan image = state_.overlay.find(entry.physical); !image.empty()) {
      std::memcpy(to, image.data(), kBlockBytes);
      ++i;
      continue;
    }
    std::uint32_t count = 1;
    while (i + count < read->entries.size() && read->entries[i + count].state == BlockState::data &&
           read->entries[i + count].physical == entry.physical + count &&
           state_.overlay.find(entry.physical + count).empty())
      ++count;
    read_piece(read, i, count);
    i += count;
  }
  piece_done(read, Status::ok());
}

void Reader::read_piece(const ReadPointer& read, std::uint32_t first, std::uint32_t count) {
  ++read->pieces_left;
  state_.counters.data_read_bytes += count * kBlockBytes;
  state_.disk.read(state_.disk_offset(read->entries[first].physical),
                   read->blocks.slice(first * kBlockBytes, count * kBlockBytes),
                   [this, read, alive = std::weak_ptr(state_.lifetime)](Status status) {
                     if (!alive.expired()) piece_done(read, std::move(status));
                   });
}

void Reader::piece_done(const ReadPointer& read, Status status) {
  if (!status && read->status) read->status = std::move(status);
  if (--read->pieces_left > 0) return;
  if (!read->status) return finish(read, read->status);
  verify(read);
}

void Reader::verify(const ReadPointer& read) {
  for (std::uint32_t i = 0; i < read->entries.size(); ++i) {
    const BlockEntry& entry = read->entries[i];
    if (entry.state != BlockState::data) continue;
    const ByteSpan bytes = read->blocks.span().subspan(i * kBlockBytes, kBlockBytes);
    if (block_checksum(read->object.pool, read->object.name, read->first_block + i, entry.version(),
                       bytes) != entry.crc)
      return mismatch(read, i);
  }
  if (read->with_blocks)
    for (const BlockEntry& entry : read->entries) read->result.blocks.push_back(entry.info());
  read->result.data = read->blocks.slice(read->offset % kBlockBytes, read->length);
  finish(read, Status::ok());
}

void Reader::mismatch(const ReadPointer& read, std::uint32_t block) {
  const std::uint32_t index = read->first_block + block;
  find(read->pg, read->object, index, index + 1, [=, this](Status status, Onode* onode) {
    if (!status) return finish(read, std::move(status));
    const Shard* shard =
        onode != nullptr && onode->exists ? onode->shard(index / kShardBlocks) : nullptr;
    const BlockEntry now = shard == nullptr ? BlockEntry{} : shard->blocks[index % kShardBlocks];
    const BlockEntry& then = read->entries[block];
    if (now.state != then.state || now.physical != then.physical || now.crc != then.crc ||
        now.version() != then.version())
      return start(read);
    ++state_.counters.checksum_errors;
    finish(read, {ErrorCode::checksum_mismatch,
                  describe(read->object) + " block " + std::to_string(index) +
                      " does not match its checksum (disk offset " +
                      std::to_string(state_.disk_offset(then.physical)) + ")"});
  });
}

void Reader::finish(const ReadPointer& read, Status status) {
  // Later, so that a read that needs no disk does not answer inside the call.
  state_.executor.post(
      [this, read, status = std::move(status), alive = std::weak_ptr(state_.lifetime)]() mutable {
        if (alive.expired()) return;
        state_.counters.read_ns.record(state_.executor.now_ns() - read->started_ns);
        read->done(std::move(status), std::move(read->result));
      });
}

}  // namespace cairn::object_store
