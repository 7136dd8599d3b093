// Mutator: what each op of a transaction does to the metadata in memory. The live path and replay
// both run it, on the same state and in the same order, so both come to the same result:
//   live:   check() the transaction; then for each op place(), apply()
//   replay: for each op adopt() the places of the record, apply()
// All metadata that the op needs has been loaded (loader.hh).
#pragma once

#include <cstdint>
#include <vector>

#include "object_store/redirector.hh"
#include "object_store/store_state.hh"
#include "object_store/transaction.hh"

namespace cairn::object_store {

class Mutator {
 public:
  explicit Mutator(StoreState& state) : state_(state), redirector_(state) {}

  // ok, or invalid_argument: a log entry whose number does not follow.
  Status check(const Transaction& transaction);
  // Data blocks that the transaction may have to allocate, at most.
  std::uint32_t blocks_needed(const Transaction& transaction);

  // Fixes where the data of the op goes and makes its checksums. may_move: what it overwrites may
  // go to new places. hint: where its fresh blocks best go; none: behind the block before them.
  void place(Transaction::Op& op, bool may_move, std::optional<std::uint32_t> hint);
  // The place behind that of the block before the op's first, where there is one.
  std::optional<std::uint32_t> place_behind(const Transaction::Op& op);
  // A checkpoint has ended.
  void look_for_runs_again() { redirector_.look_again(); }
  // Takes the blocks that the op of a record names. False: one of them is not free.
  bool adopt(const Transaction::Op& op);
  void apply(const Transaction::Op& op);

 private:
  PgEntry& make_pg(const PgId& id);
  Onode* find(const Transaction::Op& op);
  Onode& find_or_create(const Transaction::Op& op);
  Onode& lookup(const PgEntry& pg, std::string_view name, std::uint64_t snap);
  void create(PgEntry& pg, Onode& onode);
  void note_layer(PgEntry& pg, const Onode& layer);
  void remove(PgEntry* pg, Onode& onode);
  void discard_omap(Onode& onode);

  const BlockEntry* known_block(Onode* onode, std::uint32_t block) const;
  std::optional<std::uint32_t> data_place(Onode* onode, std::uint32_t block) const {
    const BlockEntry* entry = known_block(onode, block);
    const bool is_data = entry != nullptr && entry->state == BlockState::data;
    return is_data ? std::optional(entry->physical) : std::nullopt;
  }
  bool stays_in_place(const BlockEntry* old) const;
  bool goes_on_in_order(Onode* onode, std::uint32_t first_block) const;
  std::optional<std::uint32_t> place_of_overwrite(const BlockEntry* old, bool may_move);
  void set_block(PgEntry& pg, Onode& onode, std::uint32_t block, const BlockEntry& entry);
  void count_data(PgEntry& pg, std::int64_t blocks);
  void drop(const BlockEntry& entry);

  void apply_data(const Transaction::Op& op);
  void apply_range(const Transaction::Op& op);
  void apply_clone(const Transaction::Op& op);
  void apply_share(const Transaction::Op& op);
  void apply_move(const Transaction::Op& op);
  // One more layer has the block.
  void add_reference(BlockEntry& block);
  void apply_omap(const Transaction::Op& op);
  void apply_log(const Transaction::Op& op);
  void apply_remove_pg(const Transaction::Op& op);

  StoreState& state_;
  Redirector redirector_;
};

}  // namespace cairn::object_store
