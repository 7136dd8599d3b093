// ScrubReader: what one OSD has of a PG's objects, as the answers to a scrub's questions.
//
// An object is compared with all its layers (docs/snapshots.md): a digest is over all of them, and
// a bad block is one of any layer.
//
// It reads the own store only, one piece at a time, so that it takes little of the disk from
// clients; verify() is held to a rate besides. It compares nothing: the primary does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/unique_function.hh"
#include "net/scrub_messages.hh"
#include "object_store/object_store.hh"

namespace cairn::pg {

class ScrubReader {
 public:
  using ObjectDone = UniqueFunction<void(net::ScrubObject)>;
  // end: as in net::ScrubReply
  using ListDone =
      UniqueFunction<void(Status, std::string end, std::vector<net::ScrubObject> objects)>;

  ScrubReader(io::Executor& executor, object_store::ObjectStore& store, PgId pg)
      : executor_(executor), store_(store), pg_(pg) {}

  // Objects behind `after` up to `end` (empty: the last one), at most kMaxScrubObjects.
  void list(const std::string& after, const std::string& end, ListDone done);
  // One object, without reading its data.
  void describe(const std::string& name, ObjectDone done);
  // One object; all of its data is read, what layers share once, and every block that is no good is
  // named.
  void verify(const std::string& name, std::uint64_t bytes_per_second, ObjectDone done);

 private:
  struct Listing;
  struct Look;
  static void group(const std::vector<object_store::ListedObject>& found, Listing& listing);
  void describe_next(std::shared_ptr<Listing> listing);
  void find_and_look(std::shared_ptr<Look> look);
  void look_at_next_layer(std::shared_ptr<Look> look);
  static void take_layer(Look& look, object_store::ObjectInfo info);
  void read_piece(std::shared_ptr<Look> look);
  void read_block(std::shared_ptr<Look> look);
  void piece_done(std::shared_ptr<Look> look, std::uint64_t length_bytes);

  io::Executor& executor_;
  object_store::ObjectStore& store_;
  PgId pg_;
};

}  // namespace cairn::pg
