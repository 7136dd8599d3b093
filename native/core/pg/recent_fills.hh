// RecentFills: which objects have had layers filled lately. A read of a snapshot looks at the head
// and then at the clone that it names; a filling between the two may have divided that clone, so
// that it is another snapshot's now. Such a read is carried out again.
//
// Memory: the last kMost fillings. What was filled before those counts as met: one more look.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace cairn::pg {

class RecentFills {
 public:
  static constexpr std::size_t kMost = 64;

  // number: of the filling's log entry.
  void add(std::uint64_t number, std::string object) {
    fills_.emplace_back(number, std::move(object));
    if (fills_.size() <= kMost) return;
    forgotten_ = fills_.front().first;
    fills_.pop_front();
  }
  // Whether layers of the object may have been filled behind this entry.
  bool may_have_filled(const std::string& object, std::uint64_t after_number) const {
    if (forgotten_ > after_number) return true;
    return std::any_of(fills_.begin(), fills_.end(), [&](const auto& fill) {
      return fill.first > after_number && fill.second == object;
    });
  }
  void clear() {
    fills_.clear();
    forgotten_ = 0;
  }

 private:
  std::deque<std::pair<std::uint64_t, std::string>> fills_;  // ascending
  std::uint64_t forgotten_ = 0;  // the newest of those that are not kept
};

}  // namespace cairn::pg
