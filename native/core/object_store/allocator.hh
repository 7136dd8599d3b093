// Allocator: which 4 KiB blocks of the data area are taken.
//
// Two bits a block: "referenced" is the logical state, what a checkpoint writes; "busy" is
// referenced or not yet to be used again. A block that is released stays busy until the checkpoint
// that holds the release is durable, because until then a crash can bring its old owner back, and
// because its old image may still be on the way to the disk.
// Memory: 64 MiB for each TiB of data area. Next fit: allocation goes on behind the last one, in
// runs that are as long as they are asked for where the space allows; first in the part that
// spread() tells, so that a sparse file does not grow to its whole length under overwrites, and
// beyond it only for what finds no run of its length there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "object_store/checkpoint_set.hh"

namespace cairn::object_store {

struct BlockRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  bool operator==(const BlockRun&) const = default;
};

class Allocator {
 public:
  Allocator(std::uint32_t block_count, CheckpointSet& checkpoint_set);

  // At open: the value of a bitmap chunk. False when it is not one of this data area.
  bool load_chunk(std::uint32_t chunk, std::string_view value);

  // The longest run of at most want blocks that is found soon, best behind hint. Never fails while
  // available() > 0.
  BlockRun allocate(std::uint32_t want, std::optional<std::uint32_t> hint);
  // Whether these can all be taken.
  bool has_run(const BlockRun& run) const;
  // Takes just this block. False when it is taken already or outside.
  bool take(std::uint32_t block);
  bool is_available(std::uint32_t block) const;
  // A search for a run of blocks that can be taken.
  struct RunSearch {
    std::uint32_t from = 0;
    std::uint32_t end = 0;
    std::uint32_t least = 1;  // blocks of the run
    std::uint32_t most = 1;   // what is behind them does not matter
    std::uint32_t looks = 1;  // so many runs that are too short, then it ends
  };
  // The first such run; none: count 0. went_to: where the search has ended, behind the run.
  BlockRun find_run(const RunSearch& search, std::uint32_t& went_to) const;
  // The block has no owner any more.
  void release(std::uint32_t block);

  // The moment of a checkpoint: what has been released so far goes free with it.
  void freeze();
  // The checkpoint is durable: hands out what it releases, as sorted runs, still busy.
  std::vector<BlockRun> take_released();
  // May be allocated again.
  void make_available(const BlockRun& run);

  std::uint32_t block_count() const { return block_count_; }
  std::uint32_t referenced() const { return referenced_count_; }
  // The store reaches over so many blocks where it can: three times those of its data, and 64 MiB.
  // With three times, under overwrites at random, a request of a checkpoint has about twenty blocks
  // in the long run; with twice, six, and only if runs of four count.
  std::uint32_t spread() const;
  // Pieces of the bitmap, of 512 bytes, that checkpoints have yet to write.
  std::uint32_t dirty_chunks() const { return dirty_chunks_; }
  // Blocks that the searches of allocate() have passed since the start.
  std::uint64_t looked_at() const { return looked_at_; }
  // Blocks that allocate() can give now.
  std::uint32_t available() const { return block_count_ - busy_count_; }
  // Blocks that become available by checkpoints, or wait behind one to be discarded.
  std::uint32_t waiting() const { return busy_count_ - referenced_count_; }
  // Blocks that have been released since freeze().
  std::uint32_t released() const { return released_count_; }

 private:
  class Chunk final : public CheckpointEntry {
   public:
    Chunk(Allocator& owner, std::uint32_t index) : owner_(owner), index_(index) {
      dirty_count_ = &owner.dirty_chunks_;
    }
    void encode(kv::WriteBatch& batch) override;

   private:
    Allocator& owner_;
    std::uint32_t index_;
  };
  // A part of the area, the place where its next search begins, and the bound of one search.
  struct Part {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t& next;
    std::uint32_t most = 0;  // blocks to look at
  };
  // What one search in the part finds, none: count 0. It goes round, and next behind what it saw.
  BlockRun best_run(const Part& part, std::uint32_t want);
  std::uint32_t find_available(std::uint32_t from, std::uint32_t end) const;
  std::uint32_t run_length(std::uint32_t from, std::uint32_t limit) const;
  void set_taken(const BlockRun& run);

  const std::uint32_t block_count_;
  CheckpointSet& checkpoint_set_;
  std::vector<std::uint64_t> referenced_;
  std::vector<std::uint64_t> busy_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::uint32_t referenced_count_ = 0;
  std::uint32_t busy_count_ = 0;
  // Where the next search begins in the part of spread(), beyond it, and in the whole area.
  std::uint32_t near_next_ = 0;
  std::uint32_t far_next_ = 0;
  std::uint32_t any_next_ = 0;
  std::uint32_t near_pause_ = 0;  // allocations that pass over the part of spread()
  std::uint64_t looked_at_ = 0;
  std::uint32_t dirty_chunks_ = 0;
  // As they came; those that came in order are one run.
  std::vector<BlockRun> released_;
  std::uint32_t released_count_ = 0;
  std::vector<BlockRun> frozen_released_;
};

}  // namespace cairn::object_store
