// Discarder: tells the disk, in the background, which runs of blocks hold nothing any more.
//
// A file system punches a hole, and a device discards, ahead of the writes that come after it: one
// discard of a removed image as a whole would hold up everything for seconds. So it goes by pieces,
// one at a time, and rests behind each of them.
//
// Invariants
// - A run stays taken until the disk has answered for it: a discard that is late must not hit what
//   has been written there again.
// - Nobody waits for room that only waits to be discarded: give_up() makes it available instead.
//
// It does not outlast a restart: what it has not come to is free, and is not discarded until it has
// been used and released again.
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
  // What waits becomes available without a discard. False: nothing did.
  bool give_up();

 private:
  void next();
  void answered(const BlockRun& piece, std::uint64_t took_ns);

  StoreState& state_;
  UniqueFunction<void()> on_room_;
  std::deque<BlockRun> waiting_;
  bool is_busy_ = false;  // a piece is under way, or a rest
};

}  // namespace cairn::object_store
