// The background's steps, one at a time.
#include "object_store/reclaimer.hh"

#include "object_store/transaction.hh"

namespace cairn::object_store {

namespace {

constexpr std::size_t kObjectsPerTransaction = 16;
constexpr std::size_t kKeysPerBatch = 256;

}  // namespace

void Reclaimer::run() {
  if (is_busy_ || is_stopped_) return;
  if (state_.garbage_omaps.empty() && state_.removed_collections.empty()) return;
  is_busy_ = true;
  reclaim_omap();
}

// After an error the rest waits for the next checkpoint, or for the next start.
bool Reclaimer::goes_on(const Status& status) {
  if (status && !is_stopped_) return true;
  is_busy_ = false;
  return false;
}

void Reclaimer::reclaim_omap() {
  auto [begin, end] = keys::all_of('g');
  state_.kv->scan(std::move(begin), std::move(end), 1,
                  [this, alive = std::weak_ptr(state_.lifetime)](Status status,
                                                                 std::vector<kv::KeyValue> notes) {
                    if (alive.expired() || !goes_on(status)) return;
                    if (notes.empty()) return reclaim_pg();
                    const std::uint64_t omap_id = keys::number64(notes.front().first);
                    erase_range(keys::all_of('m', omap_id), notes.front().first, [this, omap_id] {
                      state_.garbage_omaps.erase(omap_id);
                      reclaim_omap();
                    });
                  });
}

void Reclaimer::erase_range(keys::Range range, std::string note, UniqueFunction<void()> then) {
  std::string begin = range.first;
  std::string end = range.second;
  state_.kv->scan(std::move(begin), std::move(end), kKeysPerBatch,
                  [this, range = std::move(range), note = std::move(note), then = std::move(then),
                   alive = std::weak_ptr(state_.lifetime)](
                      Status status, std::vector<kv::KeyValue> pairs) mutable {
                    if (alive.expired() || !goes_on(status)) return;
                    kv::WriteBatch batch;
                    for (const auto& [key, value] : pairs) batch.erase(key);
                    const bool is_last = pairs.size() < kKeysPerBatch;
                    if (is_last && !note.empty()) batch.erase(note);
                    state_.kv->apply(
                        std::move(batch), false,
                        [this, is_last, range = std::move(range), note = std::move(note),
                         then = std::move(then), alive = std::move(alive)](Status applied) mutable {
                          if (alive.expired() || !goes_on(applied)) return;
                          if (is_last) return then();
                          erase_range(std::move(range), std::move(note), std::move(then));
                        });
                  });
}

void Reclaimer::reclaim_pg() {
  auto [begin, end] = keys::all_of('x');
  state_.kv->scan(std::move(begin), std::move(end), 1,
                  [this, alive = std::weak_ptr(state_.lifetime)](Status status,
                                                                 std::vector<kv::KeyValue> notes) {
                    if (alive.expired() || !goes_on(status)) return;
                    if (notes.empty()) {
                      is_busy_ = false;
                      return;
                    }
                    const keys::Collection collection = keys::number64(notes.front().first);
                    sweep(collection, keys::all_of('o', collection).first, false);
                  });
}

// The headers stay in the region until the next checkpoint: only a sweep that finds none ends it.
void Reclaimer::sweep(keys::Collection collection, std::string from, bool found_any) {
  std::string end = keys::all_of('o', collection).second;
  state_.kv->scan(
      std::move(from), std::move(end), kObjectsPerTransaction,
      [this, collection, found_any, alive = std::weak_ptr(state_.lifetime)](
          Status status, std::vector<kv::KeyValue> headers) {
        if (alive.expired() || !goes_on(status)) return;
        if (headers.empty()) {
          if (!found_any) return erase_leftovers(collection);
          is_busy_ = false;
          return;
        }
        Transaction transaction;
        for (const auto& [key, value] : headers) {
          auto name = keys::parse_header(key);
          if (!name) continue;
          transaction.remove({}, ObjectId{0, std::move(name->first), name->second});
          transaction.ops().back().type = OpType::reap_object;
          transaction.ops().back().number = collection;
        }
        submit_(std::move(transaction),
                [this, collection, next = headers.back().first + '\0', alive](Status removed) {
                  if (alive.expired() || !goes_on(removed)) return;
                  sweep(collection, next, true);
                });
      });
}

void Reclaimer::erase_leftovers(keys::Collection collection) {
  erase_range(keys::all_of('l', collection), "", [this, collection] {
    erase_range(keys::all_of('p', collection), keys::removed_pg(collection), [this, collection] {
      state_.removed_collections.erase(collection);
      reclaim_pg();
    });
  });
}

}  // namespace cairn::object_store
