// The layers of an object as the store has them: its head and the clones that older snapshots show
// (docs/snapshots.md). An object that was never snapshotted is a family of one.
#pragma once

#include <optional>
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

// The heads behind `after` in name order, at most limit: each object once, whatever its layers.
void list_heads(object_store::ObjectStore& store, PgId pg, std::optional<std::string> after,
                std::size_t limit, object_store::ListDone done);

}  // namespace cairn::pg
