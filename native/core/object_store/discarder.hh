// Discarder: tells the disk, in the background, which runs of blocks hold nothing any more.
//
// A file system punches a hole, and a device discards, ahead of the writes that come after it: one
// discard of a removed image as a whole would hold up everything for seconds. So it goes by pieces,
// and rests when it has told of a piece's worth of blocks: for as long as the disk took, so that
// others have it half of the time; and, since a file system may pass discards on to its device only
// later, for as long as a bound of bytes per second wants.
//
// Invariants
// - A run stays taken until the disk has answered for it: a discard that is late must not hit what
//   has been written there again.
// - Nobody waits for room that only waits to be discarded: give_up() makes it available instead.
// - What waits is bounded: more runs than that are available at once, without a discard.
//
// It does not outlast a restart. What was given up, or not come to, is free, and is not discarded
// until it has been used and released again.
#pragma once

#include <cstdint>
#include <deque>

#include "object_store/store_state.hh"

namespace cairn::object_store {

class Discarder {
 public:
  // on_room: blocks have become available.
  Discarder(StoreState& state, UniqueFunction<void()> on_room)
      : state_(state), on_room_(std::move(on_room)) {}

  // Runs that a durable checkpoint has released, still taken.
  void add(const std::vector<BlockRun>& released);
  // Of what waits, at least so many blocks become available without a discard, or all that there
  // are. False: nothing waits.
  bool give_up(std::uint32_t blocks);

 private:
  void next();
  void answered(const BlockRun& piece, std::uint64_t took_ns);

  StoreState& state_;
  UniqueFunction<void()> on_room_;
  std::deque<BlockRun> waiting_;
  bool is_busy_ = false;  // a discard is under way, or a rest
  // Since the last rest:
  std::uint32_t told_blocks_ = 0;
  std::uint64_t took_ns_ = 0;
};

}  // namespace cairn::object_store
