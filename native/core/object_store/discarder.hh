// Discarder: tells the disk, in the background, which runs of blocks hold nothing any more.
//
// A file system punches a hole, and a device discards, ahead of the writes that come after it: one
// discard of a removed image as a whole would hold up everything for seconds. So it goes by pieces,
// and pauses when it has told of a piece's worth of blocks: for as long as the disk took, so that
// others have it half of the time; and, since a file system may pass discards on to its device only
// later, for as long as a bound of bytes per second wants.
//
// And not at once: what is overwritten by big writes in order releases as much as it takes, again
// and again. For some seconds a released run rests, and a big write takes it as it is (reuse): the
// disk is told nothing, a sparse file does not grow, and the file system has no room to find.
//
// Invariants
// - A run stays taken until the disk has answered for it: a discard that is late must not hit what
//   has been written there again.
// - Nobody waits for room that only waits to be discarded: give_up() makes it available instead.
// - Runs that rest or wait are bounded: more than that are available at once, without a discard.
//
// It does not outlast a restart. What was given up, or not come to, is free, and is not discarded
// until it has been used and released again.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "object_store/store_state.hh"

namespace cairn::object_store {

class Discarder {
 public:
  // on_room: blocks have become available.
  Discarder(StoreState& state, UniqueFunction<void()> on_room)
      : state_(state), on_room_(std::move(on_room)) {}

  // Runs that a durable checkpoint has released, still taken.
  void add(const std::vector<BlockRun>& released);
  // Of what rests or waits, at least so many blocks become available without a discard, or all that
  // there are. False: nothing does.
  bool give_up(std::uint32_t blocks);
  // So many blocks one behind the other, of what rests, become available; the first of them. None:
  // there is no such run among the first 64.
  std::optional<std::uint32_t> reuse(std::uint32_t blocks);

 private:
  struct Resting {
    BlockRun run;
    std::uint64_t until_ns = 0;
  };
  void arm();
  void end_rests();
  std::uint32_t give_up_of(BlockRun& run, std::uint32_t blocks);
  void next();
  void answered(const BlockRun& piece, std::uint64_t took_ns);

  StoreState& state_;
  UniqueFunction<void()> on_room_;
  std::deque<Resting> resting_;   // in the order of their ends
  bool has_timer_ = false;        // for the first of them
  std::deque<BlockRun> waiting_;  // for a discard
  bool is_busy_ = false;          // a discard is under way, or a pause
  // Since the last pause:
  std::uint32_t told_blocks_ = 0;
  std::uint64_t took_ns_ = 0;
};

}  // namespace cairn::object_store
