// The rests, the pieces and the pauses.
#include "object_store/discarder.hh"

#include <algorithm>

#include "base/planted_bug.hh"

namespace cairn::object_store {

namespace {

// Shorter holes are not worth a system call (in tests: than a piece).
constexpr std::uint32_t kMinBlocks = 16;
// 1 GiB/s: half of what a virtual disk was seen to discard, and about as much as one OSD can
// overwrite, so that what waits does not grow for long.
constexpr std::uint64_t kPauseNsPerBlock = 1'000'000'000 / ((std::uint64_t{1} << 30) / kBlockBytes);
// 4 MiB of memory.
constexpr std::size_t kMaxRuns = std::size_t{1} << 18;
// The bound of one reuse().
constexpr std::size_t kRunsLookedAt = 64;

}  // namespace

void Discarder::add(const std::vector<BlockRun>& released) {
  const std::uint32_t least = std::min(kMinBlocks, state_.options.discard_piece_blocks);
  const std::uint64_t until_ns = state_.executor.now_ns() + state_.options.discard_rest_ns;
  for (const BlockRun& run : released) {
    if (run.count < least || resting_.size() + waiting_.size() >= kMaxRuns)
      state_.allocator.make_available(run);
    else
      resting_.push_back({run, until_ns});
  }
  arm();
}

void Discarder::arm() {
  if (has_timer_ || resting_.empty()) return;
  has_timer_ = true;
  const std::uint64_t now_ns = state_.executor.now_ns();
  const std::uint64_t until_ns = resting_.front().until_ns;
  state_.executor.run_after(until_ns > now_ns ? until_ns - now_ns : 0,
                            [this, alive = std::weak_ptr(state_.lifetime)] {
                              if (alive.expired()) return;
                              has_timer_ = false;
                              end_rests();
                            });
}

void Discarder::end_rests() {
  const std::uint64_t now_ns = state_.executor.now_ns();
  while (!resting_.empty() && resting_.front().until_ns <= now_ns) {
    waiting_.push_back(resting_.front().run);
    resting_.pop_front();
  }
  arm();
  if (!is_busy_) next();
}

std::optional<std::uint32_t> Discarder::reuse(std::uint32_t blocks) {
  const auto end =
      resting_.begin() + static_cast<std::ptrdiff_t>(std::min(resting_.size(), kRunsLookedAt));
  const auto fitting = std::find_if(resting_.begin(), end, [blocks](const Resting& resting) {
    return resting.run.count >= blocks;
  });
  if (fitting == end) return {};
  BlockRun& run = fitting->run;
  const std::uint32_t first = run.first;
  state_.allocator.make_available({first, blocks});
  state_.counters.reused_blocks += blocks;
  run.first += blocks;
  run.count -= blocks;
  if (run.count == 0) resting_.erase(fitting);
  return first;
}

bool Discarder::give_up(std::uint32_t blocks) {
  if (waiting_.empty() && resting_.empty()) return false;
  while (blocks > 0 && !waiting_.empty()) {
    blocks -= give_up_of(waiting_.back(), blocks);
    if (waiting_.back().count == 0) waiting_.pop_back();
  }
  while (blocks > 0 && !resting_.empty()) {
    blocks -= give_up_of(resting_.back().run, blocks);
    if (resting_.back().run.count == 0) resting_.pop_back();
  }
  return true;
}

// The end of a run, at most so many blocks.
std::uint32_t Discarder::give_up_of(BlockRun& run, std::uint32_t blocks) {
  const std::uint32_t count = std::min(blocks, run.count);
  run.count -= count;
  state_.allocator.make_available({run.first + run.count, count});
  return count;
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
    const std::uint64_t pause_ns = std::max(took_ns_, told_blocks_ * kPauseNsPerBlock);
    told_blocks_ = 0;
    took_ns_ = 0;
    state_.executor.run_after(pause_ns, [this, alive = std::weak_ptr(state_.lifetime)] {
      if (!alive.expired()) next();
    });
  }
  on_room_();
}

}  // namespace cairn::object_store
