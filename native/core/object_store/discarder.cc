// The pieces and the rests.
#include "object_store/discarder.hh"

#include <algorithm>

#include "base/planted_bug.hh"

namespace cairn::object_store {

namespace {

// Shorter holes are not worth a system call (in tests: than a piece).
constexpr std::uint32_t kMinBlocks = 16;
// 1 GiB/s: half of what a virtual disk was seen to discard, and about as much as one OSD can
// overwrite, so that what waits does not grow for long.
constexpr std::uint64_t kRestNsPerBlock = 1'000'000'000 / ((std::uint64_t{1} << 30) / kBlockBytes);
// 2 MiB of memory.
constexpr std::size_t kMaxRuns = std::size_t{1} << 18;

}  // namespace

void Discarder::add(const std::vector<BlockRun>& released) {
  const std::uint32_t least = std::min(kMinBlocks, state_.options.discard_piece_blocks);
  for (const BlockRun& run : released) {
    if (run.count < least || waiting_.size() >= kMaxRuns)
      state_.allocator.make_available(run);
    else
      waiting_.push_back(run);
  }
  if (!is_busy_) next();
}

bool Discarder::give_up(std::uint32_t blocks) {
  if (waiting_.empty()) return false;
  while (blocks > 0 && !waiting_.empty()) {
    BlockRun& last = waiting_.back();
    const std::uint32_t count = std::min(blocks, last.count);
    last.count -= count;
    state_.allocator.make_available({last.first + last.count, count});
    if (last.count == 0) waiting_.pop_back();
    blocks -= count;
  }
  return true;
}

void Discarder::next() {
  is_busy_ = !waiting_.empty() && state_.health.is_ok();
  if (!is_busy_) return;
  BlockRun& run = waiting_.front();
  const std::uint32_t most = state_.options.discard_piece_blocks - told_blocks_;
  const BlockRun piece{run.first, std::min(run.count, most)};
  run.first += piece.count;
  run.count -= piece.count;
  if (run.count == 0) waiting_.pop_front();
  state_.counters.discarded_blocks += piece.count;
  state_.disk.discard(state_.disk_offset(piece.first), piece.count * kBlockBytes,
                      [this, piece, started_ns = state_.executor.now_ns(),
                       alive = std::weak_ptr(state_.lifetime)](Status) {
                        if (alive.expired()) return;
                        answered(piece, state_.executor.now_ns() - started_ns);
                      });
  if (planted(PlantedBug::reuse_before_discard)) state_.allocator.make_available(piece);
}

void Discarder::answered(const BlockRun& piece, std::uint64_t took_ns) {
  if (!planted(PlantedBug::reuse_before_discard)) state_.allocator.make_available(piece);
  told_blocks_ += piece.count;
  took_ns_ += took_ns;
  if (told_blocks_ < state_.options.discard_piece_blocks && !waiting_.empty()) {
    next();
  } else {
    const std::uint64_t rest_ns = std::max(took_ns_, told_blocks_ * kRestNsPerBlock);
    told_blocks_ = 0;
    took_ns_ = 0;
    state_.executor.run_after(rest_ns, [this, alive = std::weak_ptr(state_.lifetime)] {
      if (!alive.expired()) next();
    });
  }
  on_room_();
}

}  // namespace cairn::object_store
