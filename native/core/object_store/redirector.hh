// Redirector: new places for small overwrites (redirect on write).
//
// A block that is overwritten through the WAL goes to its place with the next checkpoint. Were that
// always its old place, each block would be a request of its own there: random writes would cost
// the disk, and the CPU, one request each for the second time. Instead the block moves: blocks that
// are overwritten at about the same time get places behind each other, and the checkpoint writes
// them in long runs.
//
// Invariants
// - Only blocks that nobody shares move, and only while the data area has much room: what is left
//   stays enough for every transaction that was let in (Store::may_move_overwrites).
// - Nothing moves while the file system below has little room: the old place has its room, the new
//   one may lie in a hole of a sparse file.
// - A block whose image is still to be written by the next checkpoint does not move again.
// - What is overwritten in order stays: it is written in long runs where it is (Mutator::place).
// - Nothing here is stored. The WAL names the place of each block, and the old one stays untouched
//   until a checkpoint has the new one (allocator.hh), so a crash finds either.
//
// What it costs: an object that was overwritten at random does not lie in order any more, so
// reading it whole takes more requests; and the store reaches over more of the disk than its data
// takes (Allocator::spread). Where free runs have become short, blocks stay in place.
#pragma once

#include <cstdint>
#include <optional>

#include "object_store/store_state.hh"

namespace cairn::object_store {

class Redirector {
 public:
  explicit Redirector(StoreState& state) : state_(state) { look_again(); }

  // The new place, taken, of a block that is about to be overwritten; none: its old one.
  std::optional<std::uint32_t> redirect(std::uint32_t physical);
  // After a checkpoint: blocks have come free, and the disk may have filled up.
  void look_again();

 private:
  bool find_run();

  StoreState& state_;
  BlockRun run_;                // what is left of the run in use; not taken
  std::uint32_t next_ = 0;      // where the next search begins
  bool found_nothing_ = false;  // all was searched since the last checkpoint
  std::uint64_t searched_ = 0;  // blocks since a run was found
  std::uint32_t pause_ = 0;     // blocks that stay in place before the next search
  bool has_room_ = false;       // the file system below
};

}  // namespace cairn::object_store
