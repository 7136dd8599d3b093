// Store: the ObjectStore of a disk. It takes transactions in order through
//   validate -> load what is missing -> check room -> place and apply, op by op -> WAL
// and lets reads see them from the moment they are applied. It decides when a checkpoint starts.
//
// Invariants
// - One transaction is worked on at a time, and the next one starts only when it is in the WAL's
//   group; a checkpoint never starts inside one.
// - A transaction is refused before its first op is applied, or not at all. While it waits for
//   metadata between its ops, no read runs.
// - Reads and transactions keep their order: a read waits until what was submitted before it has
//   been applied.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "object_store/cache_keeper.hh"
#include "object_store/checkpoint.hh"
#include "object_store/discarder.hh"
#include "object_store/loader.hh"
#include "object_store/mutator.hh"
#include "object_store/object_store.hh"
#include "object_store/reader.hh"
#include "object_store/reclaimer.hh"
#include "object_store/store_state.hh"
#include "object_store/wal.hh"

namespace cairn::object_store {

class Store final : public ObjectStore {
 public:
  // state: opened and replayed; next: where the WAL goes on; tail: where replay would start.
  Store(std::unique_ptr<StoreState> state, WalPosition next, std::uint64_t tail);
  ~Store() override;

  const Identity& identity() const override { return state_->superblock.identity; }
  Result<std::vector<PgSnapshot>> load_pgs() override;
  Result<std::optional<std::string>> store_meta(const std::string& key) override;
  Status room_for(std::uint64_t data_bytes, std::uint64_t metadata_bytes) override;
  void submit(Transaction transaction, Done on_durable) override;
  void read(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
            bool with_blocks, ReadDone done) override;
  void info(PgId pg, const ObjectId& object, InfoDone done) override;
  void list(PgId pg, std::optional<ObjectId> after, std::size_t limit, ListDone done) override;
  void omap_get(PgId pg, const ObjectId& object, std::vector<std::string> keys, std::string prefix,
                std::string after_key, std::size_t limit, OmapDone done) override;
  void checkpoint(Done done) override;
  void close(Done done) override;
  Usage usage() const override;
  std::uint64_t object_count(PgId pg) const override;
  std::uint64_t stored_bytes(PgId pg) const override;
  const Counters& counters() const override { return state_->counters; }
  std::uint64_t oldest_pending_ns() const override {
    return pending_since_ns_.empty() ? 0 : pending_since_ns_.front();
  }
  const Status& failure() const override { return state_->health; }
  void release_memory() override {
    cache_keeper_.release(submitted_ + state_->counters.read_ns.count());
  }

 private:
  struct Pending {
    Transaction transaction;
    Wal::Completion completion{};
    bool is_started = false;  // its first op may have been applied
    bool rearranges_blocks = false;
    bool may_move = false;  // what it overwrites
    std::size_t next_op = 0;
  };
  struct WaitingRead {
    std::uint64_t ticket = 0;  // runs when so many transactions have been settled
    io::Task start;
  };
  enum class Room : std::uint8_t { enough, wait, none };
  enum class Start : std::uint8_t { started, waiting, refused };

  void pump();
  bool advance(Pending& pending);
  Start start_transaction(Pending& pending);
  std::optional<std::uint32_t> place_of_big_write(const Transaction::Op& op);
  bool apply_ops(Pending& pending);
  void load(Missing missing);
  void load_ahead(Missing& missing);
  void choose_places(Transaction& transaction) const;
  void settle_front();
  Room data_room(const Transaction& transaction);
  bool may_move_overwrites(const Transaction& transaction) const;
  Room metadata_room(const Transaction& transaction);
  std::uint64_t pending_metadata_bytes() const;
  void refresh_kv_free();
  void ask_kv_for_room(std::uint64_t bytes);
  void refuse(Pending& pending, Status status);
  void complete(Wal::Completion& completion, const Status& outcome);
  void when_applied(io::Task start);

  void group_done(const Status& status, Wal::Group& group);
  void progress();
  void fail_everything();
  void start_checkpoint();
  void checkpoint_if_due();
  void arm_idle_timer();
  void idle_timer_fired(std::uint64_t transactions_then);
  void close_if_settled();
  std::uint32_t reserved_blocks() const;

  std::unique_ptr<StoreState> state_;
  Loader loader_;
  Mutator mutator_;
  Reader reader_;
  CacheKeeper cache_keeper_;
  Wal wal_;
  Discarder discarder_;
  Checkpointer checkpointer_;
  Reclaimer reclaimer_;

  std::deque<Pending> queue_;
  std::deque<std::uint64_t> pending_since_ns_;  // of all submitted, until they are complete
  std::deque<WaitingRead> waiting_reads_;
  std::uint64_t queued_data_bytes_ = 0;  // of queue_
  std::uint64_t submitted_ = 0;
  std::uint64_t settled_ = 0;  // applied or refused
  bool is_pumping_ = false;
  bool reported_failure_ = false;
  bool has_idle_timer_ = false;
  std::uint64_t checkpoints_seen_ = 0;
  std::uint64_t named_value_bytes_ = 0;      // log entries, omap and so on, for the next checkpoint
  std::uint64_t frozen_metadata_bytes_ = 0;  // estimate for the running one
  std::uint64_t kv_free_bytes_ = 0;          // as last asked
  std::uint32_t kv_free_age_ = 0;            // transactions since
  bool is_asking_kv_ = false;
  std::uint64_t kv_full_until_ns_ = 0;
  bool is_closing_ = false;
  Done close_done_;
};

}  // namespace cairn::object_store
