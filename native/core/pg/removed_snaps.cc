// Joining runs: see removed_snaps.hh.
#include "pg/removed_snaps.hh"

#include <algorithm>
#include <iterator>

#include "base/ids.hh"

namespace cairn::pg {

void RemovedSnaps::insert_run(std::uint64_t first, std::uint64_t last) {
  if (first > last || last == kHead) return;
  auto next = runs_.upper_bound(first);
  if (next != runs_.begin() && std::prev(next)->second >= first - (first == 0 ? 0 : 1)) --next;
  while (next != runs_.end() && next->first <= last + 1) {
    first = std::min(first, next->first);
    last = std::max(last, next->second);
    size_ -= next->second - next->first + 1;
    next = runs_.erase(next);
  }
  runs_.emplace(first, last);
  size_ += last - first + 1;
}

bool RemovedSnaps::contains(std::uint64_t id) const {
  const auto next = runs_.upper_bound(id);
  return next != runs_.begin() && std::prev(next)->second >= id;
}

}  // namespace cairn::pg
