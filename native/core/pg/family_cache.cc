// The list of the cache and its account.
#include "pg/family_cache.hh"

#include <utility>

namespace cairn::pg {

namespace {

// An entry with its nodes of list and table; the name is there twice.
constexpr std::size_t kEntryBytes = 200;

std::size_t bytes_of(const std::string& object, const Family& family) {
  std::size_t bytes = kEntryBytes + 2 * object.size();
  for (const SnapSet::Clone& clone : family.set.clones) {
    bytes += sizeof clone + clone.snaps.size() * sizeof(std::uint64_t);
  }
  return bytes;
}

}  // namespace

const Family* FamilyCache::find(const std::string& object) {
  const auto found = by_object_.find(object);
  if (found == by_object_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &found->second->family;
}

void FamilyCache::put(const std::string& object, Family family) {
  forget(object);
  const std::size_t bytes = bytes_of(object, family);
  entries_.push_front({object, std::move(family), bytes});
  by_object_[object] = entries_.begin();
  used_bytes_ += bytes;
  while (used_bytes_ > kMaxBytes && entries_.size() > 1)
    forget(std::string(entries_.back().object));
}

void FamilyCache::head_written(const std::string& object) {
  if (entries_.empty()) return;
  const auto found = by_object_.find(object);
  if (found != by_object_.end()) found->second->family.head = true;
}

void FamilyCache::forget(const std::string& object) {
  auto node = by_object_.extract(object);
  if (!node) return;
  used_bytes_ -= node.mapped()->bytes;
  entries_.erase(node.mapped());
}

void FamilyCache::clear() {
  entries_.clear();
  by_object_.clear();
  used_bytes_ = 0;
}

}  // namespace cairn::pg
