// The search for free runs.
#include "object_store/redirector.hh"

#include <algorithm>

namespace cairn::object_store {

namespace {

// The store reaches over at most so many times the blocks of its data (and a little more), so that
// a sparse file does not grow to its whole length under overwrites. With three times, under
// overwrites at random, a request of a checkpoint has about twenty blocks in the long run; with
// twice, six, and only if runs of four count.
constexpr std::uint64_t kSpread = 3;
constexpr std::uint64_t kSpreadBlocks = (std::uint64_t{64} << 20) / kBlockBytes;
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
  const std::uint32_t end = limit();
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

// Where a search ends.
std::uint32_t Redirector::limit() const {
  const Allocator& allocator = state_.allocator;
  const std::uint64_t spread = allocator.referenced() * kSpread + kSpreadBlocks;
  const std::uint64_t reach = std::max<std::uint64_t>(spread, allocator.reach());
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(reach, allocator.block_count()));
}

void Redirector::look_again() {
  found_nothing_ = false;
  searched_ = 0;
  pause_ = 0;
  Result<io::DiskSpace> space = state_.disk.space();
  has_room_ = space && space->available_bytes >= space->total_bytes / kSpareShare;
}

}  // namespace cairn::object_store
