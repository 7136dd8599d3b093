// Reader: reads of data, block maps, object lists and omaps, against the newest submitted state.
//
// A read looks up its blocks, copies what the overlay has and reads the rest from the data area in
// as few pieces as it lies there. Every data block is then checked against its checksum. On a
// mismatch the block map is looked at again: if it has changed meanwhile (the block was written in
// place, or freed and used again, while the disk was reading), the read starts over; else it is
// damage and the read fails with checksum_mismatch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "object_store/loader.hh"
#include "object_store/store_state.hh"

namespace cairn::object_store {

class Reader {
 public:
  Reader(StoreState& state, Loader& loader) : state_(state), loader_(loader) {}

  void read(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
            bool with_blocks, ReadDone done);
  void info(PgId pg, const ObjectId& object, InfoDone done);
  void list(PgId pg, std::optional<ObjectId> after, std::size_t limit, ListDone done);
  void omap_get(PgId pg, const ObjectId& object, std::vector<std::string> keys, std::string prefix,
                std::string after_key, std::size_t limit, OmapDone done);

 private:
  struct ReadOperation;
  using ReadPointer = std::shared_ptr<ReadOperation>;
  using PageDone = UniqueFunction<void(Status, std::vector<kv::KeyValue>)>;

  // Before a read, when it relies on nothing yet: else what reads bring would stay until the next
  // write.
  void make_room() {
    if (!state_.is_loading) state_.cache.evict();
  }
  // Calls then(status, object or null) once the blocks [first, end) of the object are in memory.
  using Found = UniqueFunction<void(Status, Onode*)>;
  void find(PgId pg, const ObjectId& object, std::uint32_t first, std::uint32_t end, Found then);

  void start(ReadPointer read);
  void resolved(const ReadPointer& read, Onode* onode);
  void read_piece(const ReadPointer& read, std::uint32_t first, std::uint32_t count);
  void piece_done(const ReadPointer& read, Status status);
  void verify(const ReadPointer& read);
  void mismatch(const ReadPointer& read, std::uint32_t block);
  void finish(const ReadPointer& read, Status status);

  void get_omap(std::uint64_t omap_id, std::vector<std::string> keys, PageDone done);
  // The pairs of [begin, end), at most limit, with what is pending over what the region has.
  // of_headers: what is pending of those waits in the cache, not among the named values.
  void scan(std::string begin, std::string end, std::size_t limit, bool of_headers, PageDone done);
  void scan_more(std::string begin, std::string end, std::size_t limit, bool of_headers,
                 std::vector<kv::KeyValue> found, PageDone done);
  CheckpointSet::PendingValues pending_headers(const std::string& begin, const std::string& end);

  StoreState& state_;
  Loader& loader_;
};

}  // namespace cairn::object_store
