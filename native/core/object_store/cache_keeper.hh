// CacheKeeper: keeps the metadata cache small, in slices of 0.1 to 0.6 ms on the store's own
// thread.
//
// Invariants
// - While something is loaded for a transaction it does nothing; what it owes then it does after.
// - One slice at a time, of each of its two works.
// Does not decide what may go: the MetadataCache does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "object_store/store_state.hh"

namespace cairn::object_store {

class CacheKeeper {
 public:
  explicit CacheKeeper(StoreState& state) : state_(state) {}

  // What a checkpoint has cleaned may go, also when nothing comes afterwards.
  void shrink();
  // Nothing is being loaded any more.
  void loaded();
  // For a timer. In a pause, what was not used since the last call takes its least memory.
  // operations: transactions and reads, counted since the start.
  void release(std::uint64_t operations);

 private:
  void rest();

  StoreState& state_;
  bool is_shrinking_ = false;  // slices of it follow
  bool owes_shrink_ = false;   // shrink() could do nothing while something was loaded
  std::size_t rest_left_ = 0;  // entries to look at; slices of it follow unless 0
  std::uint64_t operations_ = 0;
};

}  // namespace cairn::object_store
