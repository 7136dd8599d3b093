// Reads of what is known about objects: block maps, lists, omaps.
#include <algorithm>
#include <limits>

#include "object_store/reader.hh"

namespace cairn::object_store {

namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
// Pairs asked of the region beyond the limit, so that pending erasures seldom cost a second page.
constexpr std::size_t kExtraPairs = 16;

std::string just_behind(std::string key) { return key += '\0'; }

// The first key behind all that start with the prefix; a kind's letter is never 255.
std::string behind_prefix(std::string prefix) {
  while (prefix.back() == '\xff') prefix.pop_back();
  ++prefix.back();
  return prefix;
}

ObjectInfo info_of(Onode& onode) {
  ObjectInfo info;
  info.exists = true;
  info.version = onode.header.version;
  info.attr = onode.header.attr;
  for (std::uint32_t block = 0; block < onode.header.block_limit; ++block) {
    const Shard* shard = onode.shard(block / kShardBlocks);
    info.blocks.push_back(shard == nullptr ? BlockInfo{}
                                           : shard->blocks[block % kShardBlocks].info());
  }
  while (!info.blocks.empty() && info.blocks.back().state == BlockState::absent)
    info.blocks.pop_back();
  info.block_count = static_cast<std::uint32_t>(info.blocks.size());
  return info;
}

}  // namespace

void Reader::info(PgId pg, const ObjectId& object, InfoDone done) {
  make_room();
  find(pg, object, 0, kMaxObjectBlocks,
       [this, done = std::move(done)](Status status, Onode* onode) mutable {
         if (!status || onode == nullptr || !onode->exists) {
           state_.executor.post([status = std::move(status), done = std::move(done)]() mutable {
             done(std::move(status), {});
           });
           return;
         }
         ObjectInfo info = info_of(*onode);
         auto [begin, end] = keys::all_of('m', onode->header.omap_id);
         scan(std::move(begin), std::move(end), onode->header.omap_id == 0 ? 0 : kNoLimit, false,
              [info = std::move(info), done = std::move(done)](
                  Status scanned, std::vector<kv::KeyValue> omap) mutable {
                for (auto& [key, value] : omap)
                  info.omap.emplace_back(keys::user_key(key), std::move(value));
                done(std::move(scanned), std::move(info));
              });
       });
}

void Reader::list(PgId pg, std::optional<ObjectId> after, std::size_t limit, ListDone done) {
  const PgEntry* entry = state_.pgs.find(pg);
  const keys::Collection collection = entry == nullptr ? 0 : entry->collection;
  auto [begin, end] = keys::all_of('o', collection);
  if (after) begin = just_behind(keys::header(collection, after->name, after->snap));
  scan(std::move(begin), std::move(end), collection == 0 ? 0 : limit, true,
       [pool = pg.pool, done = std::move(done)](Status status,
                                                std::vector<kv::KeyValue> pairs) mutable {
         std::vector<ListedObject> objects;
         for (auto& [key, value] : pairs) {
           HeaderValue header;
           auto name = keys::parse_header(key);
           if (!name || !decode_header(value, header)) {
             status = {ErrorCode::corrupt, "the key-value region has a bad object header"};
             objects.clear();
             break;
           }
           objects.push_back({ObjectId{pool, std::move(name->first), name->second}, header.version,
                              std::move(header.attr)});
         }
         done(std::move(status), std::move(objects));
       });
}

void Reader::omap_get(PgId pg, const ObjectId& object, std::vector<std::string> keys,
                      std::string prefix, std::string after_key, std::size_t limit, OmapDone done) {
  make_room();
  find(pg, object, 0, 0,
       [this, keys = std::move(keys), prefix = std::move(prefix), after_key = std::move(after_key),
        limit, done = std::move(done)](Status status, Onode* onode) mutable {
         const bool exists = onode != nullptr && onode->exists;
         const std::uint64_t omap_id = exists ? onode->header.omap_id : 0;
         PageDone answer = [exists, found = std::move(status), done = std::move(done)](
                               Status scanned, std::vector<kv::KeyValue> pairs) mutable {
           std::vector<std::pair<std::string, std::string>> values;
           for (auto& [key, value] : pairs)
             values.emplace_back(keys::user_key(key), std::move(value));
           done(found ? std::move(scanned) : std::move(found), exists, std::move(values));
         };
         if (omap_id == 0) return scan({}, {}, 0, false, std::move(answer));
         if (!keys.empty()) return get_omap(omap_id, std::move(keys), std::move(answer));
         auto [begin, end] = keys::all_of('m', omap_id);
         if (!prefix.empty()) {
           begin += prefix;
           end = behind_prefix(begin);
         }
         if (!after_key.empty())
           begin = std::max(begin, just_behind(keys::omap(omap_id, after_key)));
         scan(std::move(begin), std::move(end), limit, false, std::move(answer));
       });
}

void Reader::get_omap(std::uint64_t omap_id, std::vector<std::string> keys, PageDone done) {
  std::sort(keys.begin(), keys.end());
  for (std::string& key : keys) key = keys::omap(omap_id, key);
  std::vector<std::string> asked = keys;
  state_.kv->get_settled(std::move(asked), [this, keys = std::move(keys), done = std::move(done),
                                            alive = std::weak_ptr(state_.lifetime)](
                                               Status status, kv::Values found) mutable {
    if (alive.expired()) return;
    std::vector<kv::KeyValue> pairs;
    for (std::size_t i = 0; status && i < keys.size(); ++i) {
      const std::optional<std::string>* pending = state_.checkpoint_set.find(keys[i]);
      const std::optional<std::string>& value = pending == nullptr ? found[i] : *pending;
      if (value) pairs.emplace_back(std::move(keys[i]), *value);
    }
    done(std::move(status), std::move(pairs));
  });
}

CheckpointSet::PendingValues Reader::pending_headers(const std::string& begin,
                                                     const std::string& end) {
  CheckpointSet::PendingValues pending;
  const std::uint64_t collection = keys::number64(begin);
  state_.checkpoint_set.for_each_dirty_of(collection, [&](CheckpointEntry& entry) {
    const auto& onode = static_cast<const Onode&>(entry);
    std::string key = keys::header(collection, onode.name(), onode.snap());
    if (key < begin || key >= end) return;
    std::optional<std::string> value;
    if (onode.exists) value = encode_header(onode.header);
    pending.insert_or_assign(std::move(key), std::move(value));
  });
  return pending;
}

void Reader::scan(std::string begin, std::string end, std::size_t limit, bool of_headers,
                  PageDone done) {
  if (limit == 0) {
    state_.executor.post([done = std::move(done)]() mutable { done(Status::ok(), {}); });
    return;
  }
  scan_more(std::move(begin), std::move(end), limit, of_headers, {}, std::move(done));
}

void Reader::scan_more(std::string begin, std::string end, std::size_t limit, bool of_headers,
                       std::vector<kv::KeyValue> found, PageDone done) {
  const std::size_t asked = limit == kNoLimit ? kNoLimit : limit - found.size() + kExtraPairs;
  std::string from = begin;
  std::string to = end;
  state_.kv->scan_settled(
      std::move(from), std::move(to), asked,
      [this, begin = std::move(begin), end = std::move(end), limit, asked, of_headers,
       found = std::move(found), done = std::move(done), alive = std::weak_ptr(state_.lifetime)](
          Status status, std::vector<kv::KeyValue> page) mutable {
        if (alive.expired()) return;
        if (!status) return done(std::move(status), {});
        // What is pending counts up to where the region's page reaches.
        const bool is_last = page.size() < asked;
        const std::string page_end = is_last ? end : just_behind(page.back().first);
        CheckpointSet::PendingValues merged;
        for (auto& [key, value] : page) merged.insert_or_assign(std::move(key), std::move(value));
        if (of_headers)
          for (auto& [key, value] : pending_headers(begin, page_end))
            merged.insert_or_assign(key, std::move(value));
        else
          state_.checkpoint_set.overlay(begin, page_end, merged);
        for (auto& [key, value] : merged)
          if (value && found.size() < limit) found.emplace_back(key, std::move(*value));
        if (is_last || found.size() >= limit) return done(Status::ok(), std::move(found));
        scan_more(page_end, std::move(end), limit, of_headers, std::move(found), std::move(done));
      });
}

}  // namespace cairn::object_store
