// Finding the layers of an object: see layer_names.hh.
#include "pg/layer_names.hh"

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
  search->store.list(search->pg, ObjectId{search->pg.pool, search->name, after}, kPageLayers,
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

struct HeadSearch {
  object_store::ObjectStore& store;
  PgId pg;
  std::size_t limit = 0;
  std::vector<object_store::ListedObject> heads;
  object_store::ListDone done;
};

void list_more_heads(std::shared_ptr<HeadSearch> search, std::optional<ObjectId> after) {
  const std::size_t page = search->limit - search->heads.size() + kPageLayers;
  search->store.list(search->pg, std::move(after), page,
                     [search, page](Status status, std::vector<object_store::ListedObject> found) {
                       if (!status) return search->done(std::move(status), {});
                       const bool is_last = found.size() < page;
                       std::optional<ObjectId> behind;
                       if (!is_last) behind = found.back().id;
                       for (object_store::ListedObject& layer : found) {
                         if (layer.id.snap != kHead || search->heads.size() == search->limit)
                           continue;
                         search->heads.push_back(std::move(layer));
                       }
                       if (!is_last && search->heads.size() < search->limit) {
                         return list_more_heads(search, std::move(behind));
                       }
                       search->done(Status::ok(), std::move(search->heads));
                     });
}

}  // namespace

void list_heads(object_store::ObjectStore& store, PgId pg, std::optional<std::string> after,
                std::size_t limit, object_store::ListDone done) {
  std::optional<ObjectId> behind;
  if (after) behind = ObjectId{pg.pool, std::move(*after), kHead};
  list_more_heads(std::make_shared<HeadSearch>(HeadSearch{store, pg, limit, {}, std::move(done)}),
                  std::move(behind));
}

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
