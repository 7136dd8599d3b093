// Finding the layers of an object: see family.hh.
#include "pg/family.hh"

#include <algorithm>
#include <memory>
#include <utility>

namespace cairn::pg {

namespace {

constexpr std::size_t kPageLayers = 64;

struct Search {
  object_store::ObjectStore& store;
  PgId pg;
  std::string name;
  std::vector<std::uint64_t> snaps;  // oldest first, as the store lists them
  LayersDone done;
};

// Layers behind `after`; the head is the last one of a name.
void list_next(std::shared_ptr<Search> search, std::uint64_t after) {
  search->store.list(
      search->pg, ObjectId{search->pg.pool, search->name, after}, kPageLayers,
      [search](Status status, const std::vector<object_store::ListedObject>& found) {
        if (!status) return search->done(std::move(status), {});
        for (const object_store::ListedObject& layer : found) {
          if (layer.id.name == search->name) search->snaps.push_back(layer.id.snap);
        }
        if (found.size() == kPageLayers && found.back().id.name == search->name) {
          return list_next(search, found.back().id.snap);
        }
        std::reverse(search->snaps.begin(), search->snaps.end());
        search->done(Status::ok(), std::move(search->snaps));
      });
}

}  // namespace

void list_layers(object_store::ObjectStore& store, PgId pg, const std::string& name,
                 LayersDone done) {
  // No clone has the id 0.
  list_next(std::make_shared<Search>(Search{store, pg, name, {}, std::move(done)}), 0);
}

void find_layers(object_store::ObjectStore& store, PgId pg, const std::string& name,
                 LayersDone done) {
  store.read(pg, ObjectId{pg.pool, name, kHead}, 0, 0, false,
             [&store, pg, name, done = std::move(done)](
                 Status status, const object_store::ReadResult& head) mutable {
               if (!status || !head.exists) return done(std::move(status), {});
               if (head.attr.empty()) return done(Status::ok(), {kHead});
               list_layers(store, pg, name, std::move(done));
             });
}

}  // namespace cairn::pg
