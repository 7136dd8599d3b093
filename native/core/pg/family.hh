// The layers of an object as the store has them: its head and the clones that older snapshots show
// (docs/snapshots.md). An object that was never snapshotted is a family of one.
#pragma once

#include <string>
#include <vector>

#include "object_store/object_store.hh"

namespace cairn::pg {

// snaps: of the layers, from the newest to the oldest; the head's kHead is the first if it exists.
using LayersDone = UniqueFunction<void(Status, std::vector<std::uint64_t> snaps)>;

// Looks at the head alone when that says that there are no clones: by having no attribute.
void find_layers(object_store::ObjectStore& store, PgId pg, const std::string& name,
                 LayersDone done);
// Looks at all names that the store has, also when the head does not know of its clones.
void list_layers(object_store::ObjectStore& store, PgId pg, const std::string& name,
                 LayersDone done);

}  // namespace cairn::pg
