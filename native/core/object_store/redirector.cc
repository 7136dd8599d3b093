// The search for free runs.
#include "object_store/redirector.hh"

#include <algorithm>

namespace cairn::object_store {

namespace {

// The bounds of one search (tens of microseconds): runs that are too short, and 16 GiB of the data
// area, 512 KiB of bitmap. After one in vain, so many blocks stay in place without a search.
constexpr std::uint32_t kRunsPerSearch = 2048;
constexpr std::uint32_t kBlocksPerSearch = 1U << 22;
constexpr std::uint32_t kBlocksBetweenSearches = 256;
constexpr std::uint32_t kMostRunBlocks = 1024;
// With less than this part of the file system free, nothing moves.
constexpr std::uint64_t kSpareShare = 10;

}  // namespace

std::optional<std::uint32_t> Redirector::redirect(std::uint32_t physical) {
  if (!has_room_ || state_.overlay.is_waiting(physical)) return {};
  if (run_.count > 0 && !state_.allocator.is_available(run_.first)) run_.count = 0;
  if (run_.count == 0 && !find_run()) return {};
  const std::uint32_t place = run_.first++;
  --run_.count;
  const bool is_taken = state_.allocator.take(place);
  CAIRN_ASSERT(is_taken);
  ++state_.counters.redirected_blocks;
  return place;
}

bool Redirector::find_run() {
  if (found_nothing_) return false;
  if (pause_ > 0) {
    --pause_;
    return false;
  }
  const std::uint32_t end = state_.allocator.spread();
  if (next_ >= end) next_ = 0;
  const std::uint32_t from = next_;
  run_ = state_.allocator.find_run({.from = from,
                                    .end = std::min(end - from, kBlocksPerSearch) + from,
                                    .least = state_.options.redirect_run_blocks,
                                    .most = kMostRunBlocks,
                                    .looks = kRunsPerSearch},
                                   next_);
  if (run_.count > 0) {
    searched_ = 0;
    return true;
  }
  searched_ += next_ - from;
  found_nothing_ = searched_ >= end;
  pause_ = next_ >= end ? 0 : kBlocksBetweenSearches;
  return false;
}

void Redirector::look_again() {
  found_nothing_ = false;
  searched_ = 0;
  pause_ = 0;
  Result<io::DiskSpace> space = state_.disk.space();
  has_room_ = space && space->available_bytes >= space->total_bytes / kSpareShare;
}

}  // namespace cairn::object_store
