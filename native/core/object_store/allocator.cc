// Bitmaps of the data area.
#include "object_store/allocator.hh"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.hh"
#include "base/planted_bug.hh"
#include "object_store/keys.hh"

namespace cairn::object_store {

namespace {

// 4096 blocks, 16 MiB of data: a value of 512 bytes.
constexpr std::uint32_t kChunkWords = 64;
constexpr std::uint32_t kChunkBlocks = kChunkWords * 64;
// A short run is taken when no better one is among so many runs.
constexpr int kRunsLookedAt = 64;
// One search passes over 16 GiB at most, 512 KiB of bitmap: tens of microseconds. One of over 1 GiB
// in the part of spread() that was in vain is not tried again for some allocations, or until blocks
// have become available.
constexpr std::uint32_t kBlocksPerSearch = 1U << 22;
constexpr std::uint32_t kLongSearchBlocks = 1U << 18;
constexpr std::uint32_t kAllocationsBetweenSearches = 256;
constexpr std::uint64_t kSpread = 3;
constexpr std::uint64_t kSpreadBlocks = (std::uint64_t{64} << 20) / kBlockBytes;

std::uint64_t bit(std::uint32_t block) { return std::uint64_t{1} << (block % 64); }

}  // namespace

Allocator::Allocator(std::uint32_t block_count, CheckpointSet& checkpoint_set)
    : block_count_(block_count), checkpoint_set_(checkpoint_set) {
  const std::uint32_t chunks = (block_count + kChunkBlocks - 1) / kChunkBlocks;
  referenced_.resize(std::size_t{chunks} * kChunkWords);
  busy_.resize(referenced_.size());
  for (std::uint32_t i = 0; i < chunks; ++i) chunks_.push_back(std::make_unique<Chunk>(*this, i));
  // What lies behind the end is never available.
  for (std::uint64_t i = block_count; i < busy_.size() * 64; ++i)
    busy_[i / 64] |= bit(static_cast<std::uint32_t>(i));
}

void Allocator::Chunk::encode(kv::WriteBatch& batch) {
  const std::uint64_t* words = &owner_.referenced_[std::size_t{index_} * kChunkWords];
  if (std::all_of(words, words + kChunkWords, [](std::uint64_t word) { return word == 0; }))
    batch.erase(keys::bitmap_chunk(index_));
  else
    batch.put(keys::bitmap_chunk(index_),
              {reinterpret_cast<const char*>(words), kChunkWords * sizeof *words});
}

bool Allocator::load_chunk(std::uint32_t chunk, std::string_view value) {
  if (chunk >= chunks_.size() || value.size() != kChunkWords * sizeof(std::uint64_t)) return false;
  for (std::uint32_t i = 0; i < kChunkWords; ++i) {
    const std::size_t at = std::size_t{chunk} * kChunkWords + i;
    std::uint64_t word;
    std::memcpy(&word, value.data() + i * sizeof word, sizeof word);
    if ((word & busy_[at]) != 0) return false;  // behind the end, or loaded twice
    referenced_[at] = word;
    busy_[at] |= word;
    referenced_count_ += static_cast<std::uint32_t>(std::popcount(word));
    busy_count_ += static_cast<std::uint32_t>(std::popcount(word));
  }
  return true;
}

std::uint32_t Allocator::find_available(std::uint32_t from, std::uint32_t end) const {
  while (from < end) {
    const std::uint64_t available = ~busy_[from / 64] >> (from % 64);
    if (available != 0) return from + static_cast<std::uint32_t>(std::countr_zero(available));
    from = (from / 64 + 1) * 64;
  }
  return end;
}

std::uint32_t Allocator::run_length(std::uint32_t from, std::uint32_t limit) const {
  std::uint32_t length = 0;
  while (length < limit && from + length < block_count_) {
    const std::uint32_t at = from + length;
    const std::uint64_t taken = busy_[at / 64] >> (at % 64);
    const auto zeros = static_cast<std::uint32_t>(std::countr_zero(taken));
    const std::uint32_t in_word = 64 - at % 64;
    length += std::min(zeros, in_word);
    if (zeros < in_word) break;
  }
  return std::min({length, limit, block_count_ - from});
}

BlockRun Allocator::allocate(std::uint32_t want, std::optional<std::uint32_t> hint) {
  CAIRN_ASSERT(want > 0 && available() > 0);
  if (hint && has_run({*hint, want})) {
    set_taken({*hint, want});
    return {*hint, want};
  }
  const std::uint32_t near_end = spread();
  BlockRun best;
  if (near_pause_ == 0) {
    const std::uint64_t looked_before = looked_at_;
    best = best_run({0, near_end, near_next_, kBlocksPerSearch}, want);
    // It is full, or has a few short runs: not again with each allocation.
    if (best.count < want && looked_at_ - looked_before >= kLongSearchBlocks)
      near_pause_ = kAllocationsBetweenSearches;
  } else {
    --near_pause_;
  }
  if (best.count < want) {
    const BlockRun far = best_run({near_end, block_count_, far_next_, kBlocksPerSearch}, want);
    if (far.count > best.count) best = far;
  }
  // Little is free: as far as it takes.
  if (best.count == 0) best = best_run({0, block_count_, any_next_, block_count_}, want);
  CAIRN_ASSERT(best.count > 0);
  set_taken(best);
  return best;
}

BlockRun Allocator::best_run(const Part& part, std::uint32_t want) {
  BlockRun best;
  const std::uint32_t from =
      part.next > part.begin && part.next < part.end ? part.next : part.begin;
  std::uint32_t at = from;
  std::uint64_t left = part.most;
  bool wrapped = false;
  for (int looked = 0; looked < kRunsLookedAt && left > 0;) {
    const std::uint32_t round_end = wrapped ? from : part.end;
    const auto end =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(round_end, std::uint64_t{at} + left));
    // It may find one behind the end, in the same word.
    const std::uint32_t found = std::min(find_available(at, end), end);
    left -= std::min<std::uint64_t>(left, found - at);
    at = found;
    if (at >= end) {
      if (end < round_end || wrapped) break;
      wrapped = true;
      at = part.begin;
      continue;
    }
    const std::uint32_t length = run_length(at, want);
    if (length > best.count) best = {at, length};
    left -= std::min<std::uint64_t>(left, length);
    at = std::min(at + length, round_end);  // the run may go on behind it
    if (best.count == want) break;
    ++looked;
  }
  part.next = at;
  looked_at_ += part.most - left;
  return best;
}

std::uint32_t Allocator::spread() const {
  const std::uint64_t blocks = std::uint64_t{referenced_count_} * kSpread + kSpreadBlocks;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, block_count_));
}

void Allocator::set_taken(const BlockRun& run) {
  for (std::uint32_t block = run.first; block < run.first + run.count; ++block) {
    checkpoint_set_.touch(*chunks_[block / kChunkBlocks]);
    referenced_[block / 64] |= bit(block);
    busy_[block / 64] |= bit(block);
  }
  referenced_count_ += run.count;
  busy_count_ += run.count;
}

bool Allocator::is_available(std::uint32_t block) const {
  return block < block_count_ && (busy_[block / 64] & bit(block)) == 0;
}

bool Allocator::has_run(const BlockRun& run) const {
  return run.first < block_count_ && run_length(run.first, run.count) == run.count;
}

bool Allocator::take(std::uint32_t block) {
  if (!is_available(block)) return false;
  set_taken({block, 1});
  return true;
}

BlockRun Allocator::find_run(const RunSearch& search, std::uint32_t& went_to) const {
  const std::uint32_t end = std::min(search.end, block_count_);
  std::uint32_t at = search.from;
  for (std::uint32_t looked = 0; looked < search.looks; ++looked) {
    at = find_available(at, end);
    if (at >= end) break;
    const std::uint32_t length = run_length(at, std::min(search.most, end - at));
    went_to = at + length;
    if (length >= search.least) return {at, length};
    at += length;
  }
  went_to = std::min(at, end);
  return {};
}

void Allocator::release(std::uint32_t block) {
  CAIRN_ASSERT(block < block_count_ && (referenced_[block / 64] & bit(block)) != 0);
  checkpoint_set_.touch(*chunks_[block / kChunkBlocks]);
  referenced_[block / 64] &= ~bit(block);
  --referenced_count_;
  if (planted(PlantedBug::reuse_block_early)) {
    busy_[block / 64] &= ~bit(block);
    --busy_count_;
    return;
  }
  ++released_count_;
  if (!released_.empty() && released_.back().first + released_.back().count == block)
    ++released_.back().count;
  else
    released_.push_back({block, 1});
}

void Allocator::freeze() {
  CAIRN_ASSERT(frozen_released_.empty());
  frozen_released_.swap(released_);
  released_count_ = 0;
}

std::vector<BlockRun> Allocator::take_released() {
  std::sort(frozen_released_.begin(), frozen_released_.end(),
            [](const BlockRun& a, const BlockRun& b) { return a.first < b.first; });
  std::vector<BlockRun> runs;
  for (const BlockRun& run : frozen_released_) {
    if (!runs.empty() && runs.back().first + runs.back().count == run.first)
      runs.back().count += run.count;
    else
      runs.push_back(run);
  }
  frozen_released_.clear();
  return runs;
}

void Allocator::make_available(const BlockRun& run) {
  for (std::uint32_t block = run.first; block < run.first + run.count; ++block) {
    CAIRN_ASSERT((busy_[block / 64] & bit(block)) != 0 &&
                 (referenced_[block / 64] & bit(block)) == 0);
    busy_[block / 64] &= ~bit(block);
  }
  busy_count_ -= run.count;
  near_pause_ = 0;
}

}  // namespace cairn::object_store
