// WholeObject: one copy of an object with all that its layers hold. Copies of different OSDs are
// laid beside each other by it, byte by byte, so that nothing has to be trusted to say that they
// are equal: not the checksums, nor the digests that a scrub compares (scrub_reader.hh).
//
// It takes everything into memory, up to 4 MiB a layer: for tests and for stores that are at rest.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "object_store/object_store.hh"

namespace cairn::pg {

struct WholeObject {
  std::string name;
  // Layers from the newest to the oldest, each: snap u64, version (epoch u32, number u64),
  // attribute (blob32), count u32 of pairs and pairs (text16 key, blob32 value), count u32 of
  // blocks and blocks (state u8, version, checksum u32).
  std::vector<std::byte> description;
  // All blocks of the layers in the same order; those that are not data, or no good, are zeros.
  std::vector<std::byte> data;
  std::uint32_t bad_blocks = 0;  // that could not be read, or failed their checksum
};

// none: there is no object behind `after`
using WholeObjectDone = UniqueFunction<void(Status, std::optional<WholeObject>)>;

// The next object in name order behind `after` (nullopt: the first one), also one of which only
// clones are left. Errors: those of ObjectStore::list and info.
void read_next_object(object_store::ObjectStore& store, PgId pg, std::optional<std::string> after,
                      WholeObjectDone done);

}  // namespace cairn::pg
