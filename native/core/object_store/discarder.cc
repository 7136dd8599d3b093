// The pieces and the rests.
#include "object_store/discarder.hh"

#include <algorithm>

namespace cairn::object_store {

namespace {

// Shorter holes are not worth a system call.
constexpr std::uint32_t kMinBlocks = 16;
// 4 MiB: one or two milliseconds of a virtual disk that discards 2 GB/s.
constexpr std::uint32_t kMaxBlocks = 1024;
// The disk has four fifths of its time for others, also when discards take it long.
constexpr std::uint64_t kRestsPerDiscard = 4;
constexpr std::uint64_t kMinRestNs = 1'000'000;

}  // namespace

void Discarder::add(const std::vector<BlockRun>& released) {
  for (const BlockRun& run : released) {
    if (run.count < kMinBlocks)
      state_.allocator.make_available(run);
    else
      waiting_.push_back(run);
  }
  if (!is_busy_) next();
}

bool Discarder::give_up() {
  if (waiting_.empty()) return false;
  for (const BlockRun& run : waiting_) state_.allocator.make_available(run);
  waiting_.clear();
  return true;
}

void Discarder::next() {
  is_busy_ = !waiting_.empty();
  if (!is_busy_) return;
  BlockRun& run = waiting_.front();
  const BlockRun piece{run.first, std::min(run.count, kMaxBlocks)};
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
}

void Discarder::answered(const BlockRun& piece, std::uint64_t took_ns) {
  state_.allocator.make_available(piece);
  const std::uint64_t rest_ns = std::max(kMinRestNs, kRestsPerDiscard * took_ns);
  state_.executor.run_after(rest_ns, [this, alive = std::weak_ptr(state_.lifetime)] {
    if (!alive.expired()) next();
  });
  on_room_();
}

}  // namespace cairn::object_store
