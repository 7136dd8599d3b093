// RemovedSnaps: the ids of a pool's snapshots that count as not there, as runs: whatever was
// removed long ago coalesces, as the ids between two snapshots that exist were all removed. Pure.
//
// Memory: one entry for each run.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>

namespace cairn::pg {

class RemovedSnaps {
 public:
  RemovedSnaps() = default;
  RemovedSnaps(std::initializer_list<std::uint64_t> ids) { insert(ids.begin(), ids.end()); }

  void insert(std::uint64_t id) { insert_run(id, id); }
  template <typename Iterator>
  void insert(Iterator begin, Iterator end) {
    for (; begin != end; ++begin) insert(*begin);
  }
  // With the last one.
  void insert_run(std::uint64_t first, std::uint64_t last);
  bool contains(std::uint64_t id) const;
  bool empty() const { return runs_.empty(); }
  std::uint64_t size() const { return size_; }
  std::size_t runs() const { return runs_.size(); }

 private:
  std::map<std::uint64_t, std::uint64_t> runs_;  // first: last; no two of them overlap or touch
  std::uint64_t size_ = 0;                       // ids
};

}  // namespace cairn::pg
