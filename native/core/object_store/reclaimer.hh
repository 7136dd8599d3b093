// Reclaimer: gives back, in the background, what removed PGs and removed omaps still hold.
//
// It works from the notes in the key-value region ('x' and 'g'), which get there with the
// checkpoint that holds the removal, so it only ever sees keys that nobody can reach any more. The
// objects of a removed PG are removed by ordinary transactions, a few at a time, because their
// blocks go back to the allocator; the other keys are erased directly. After a crash it starts
// over: every step may be repeated.
#pragma once

#include <string>

#include "object_store/store_state.hh"

namespace cairn::object_store {

class Reclaimer {
 public:
  using Submit = UniqueFunction<void(Transaction, Done)>;
  Reclaimer(StoreState& state, Submit submit) : state_(state), submit_(std::move(submit)) {}

  // A checkpoint is durable: go on where there is something to do.
  void run();
  void stop() { is_stopped_ = true; }

 private:
  void reclaim_omap();
  void reclaim_pg();
  void sweep(keys::Collection collection, std::string from, bool found_any);
  void erase_leftovers(keys::Collection collection);
  // Erases the keys of [begin, end) page by page, then the note, then calls then.
  void erase_range(keys::Range range, std::string note, UniqueFunction<void()> then);
  bool goes_on(const Status& status);

  StoreState& state_;
  Submit submit_;
  bool is_busy_ = false;
  bool is_stopped_ = false;
};

}  // namespace cairn::object_store
