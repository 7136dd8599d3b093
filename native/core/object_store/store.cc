// The order of transactions, reads and checkpoints.
#include "object_store/store.hh"

#include <algorithm>

#include "object_store/wal_record.hh"

namespace cairn::object_store {

namespace {

constexpr std::uint64_t kIdleNs = 2'000'000'000;
// The region's free space is asked for once in so many transactions.
constexpr std::uint32_t kKvFreeMaxAge = 256;
// Of a shard with its key; headers and reference counts are smaller or few.
constexpr std::uint64_t kEntryBytes = 224;
// What a piece of the allocation bitmap takes beyond that.
constexpr std::uint64_t kMoreOfBitmapBytes = 300;
// So long a full region is believed to be full: to look again costs a compaction.
constexpr std::uint64_t kFullForNs = 1'000'000'000;
constexpr std::size_t kLoadAhead = 32;
// Overwrites move only while so much of the data area is free: one part in so many.
constexpr std::uint32_t kKeptFreeShare = 8;
constexpr std::uint64_t kReserveBytes = std::uint64_t{16} << 20;
// Of what waits to be discarded, by one who lacks room: 64 MiB, a fraction of a millisecond.
constexpr std::uint32_t kGivenUpBlocks = 1U << 14;
constexpr const char* kNoFreeBlock = "the data area has no free block outside of its reserve";
constexpr const char* kRegionFull = "the key-value region is full";

// Whether the transaction may use the reserves: it says so, or only frees or notes things.
bool may_use_reserve(const Transaction& transaction) {
  if (transaction.may_use_reserve()) return true;
  return std::none_of(transaction.ops().begin(), transaction.ops().end(), [](const auto& op) {
    return op.writes_data() || op.type == OpType::omap_set || op.rearranges_blocks() ||
           op.type == OpType::write_zeroes || op.type == OpType::touch ||
           op.type == OpType::set_attr;
  });
}

}  // namespace

Store::Store(std::unique_ptr<StoreState> state, WalPosition next, std::uint64_t tail)
    : state_(std::move(state)),
      loader_(*state_),
      mutator_(*state_),
      reader_(*state_, loader_),
      cache_keeper_(*state_),
      wal_(*state_, next, tail,
           [this](Status status, Wal::Group group) { group_done(status, group); }),
      discarder_(*state_, [this] { progress(); }),
      checkpointer_(*state_, wal_, discarder_, [this] { progress(); }),
      reclaimer_(*state_, [this](Transaction transaction, Done done) {
        submit(std::move(transaction), std::move(done));
      }) {
  if (checkpointer_.is_needed()) arm_idle_timer();
  state_->executor.post([this, alive = std::weak_ptr(state_->lifetime)] {
    if (!alive.expired()) reclaimer_.run();
  });
}

Store::~Store() { state_->lifetime.reset(); }

void Store::submit(Transaction transaction, Done on_durable) {
  Pending& pending = queue_.emplace_back(Pending{.transaction = std::move(transaction)});
  pending.completion.done = std::move(on_durable);
  pending.completion.submitted_ns = state_->executor.now_ns();
  pending_since_ns_.push_back(pending.completion.submitted_ns);
  pending.completion.status = is_closing_
                                  ? Status(ErrorCode::canceled, "the object store is being closed")
                                  : validate(pending.transaction);
  queued_data_bytes_ += pending.transaction.data_bytes();
  ++submitted_;
  ++state_->counters.pending_transactions;
  pump();
}

void Store::pump() {
  // A completion that submits while the pump runs finds its transaction taken by this loop.
  if (is_pumping_) return;
  is_pumping_ = true;
  while (!queue_.empty() && !state_->is_loading && advance(queue_.front())) {
    settle_front();
    state_->cache.evict();  // the pump may end in a load each time
    while (!waiting_reads_.empty() && waiting_reads_.front().ticket <= settled_) {
      io::Task start = std::move(waiting_reads_.front().start);
      waiting_reads_.pop_front();
      start();
    }
  }
  if (!state_->is_loading) state_->cache.evict();
  is_pumping_ = false;
  checkpoint_if_due();
}

void Store::settle_front() {
  queued_data_bytes_ -= queue_.front().transaction.data_bytes();
  queue_.pop_front();
  ++settled_;
}

// True: the transaction is in the WAL's hands, or refused.
bool Store::advance(Pending& pending) {
  if (!state_->health) {
    refuse(pending, state_->health);
    return true;
  }
  if (!pending.is_started) {
    if (!pending.completion.status) {
      refuse(pending, pending.completion.status);
      return true;
    }
    if (const Start start = start_transaction(pending); start != Start::started)
      return start == Start::refused;
  }
  if (!apply_ops(pending)) return false;
  for (const Transaction::Op& op : pending.transaction.ops())
    named_value_bytes_ += op.key.size() + op.value.size() + op.entry.size();
  wal_.add(pending.transaction, std::move(pending.completion));
  return true;
}

// All that can stand against the transaction, before its first op.
Store::Start Store::start_transaction(Pending& pending) {
  Missing missing;
  for (const Transaction::Op& op : pending.transaction.ops()) {
    loader_.need(op, missing);
    pending.rearranges_blocks = pending.rearranges_blocks || op.rearranges_blocks();
  }
  if (!missing.empty()) {
    load_ahead(missing);
    load(std::move(missing));
    return Start::waiting;
  }
  if (Status status = mutator_.check(pending.transaction); !status) {
    refuse(pending, std::move(status));
    return Start::refused;
  }
  choose_places(pending.transaction);
  std::uint32_t images = 0;
  for (const Transaction::Op& op : pending.transaction.ops()) images += record_images(op);
  const std::size_t metadata_bytes = encoded_bound(pending.transaction);
  if (kRecordHeaderBytes + metadata_bytes + (images + 1) * kBlockBytes > wal_.max_record_bytes()) {
    refuse(pending, {ErrorCode::too_large, "a transaction is larger than the WAL"});
    return Start::refused;
  }
  const Room metadata = metadata_room(pending.transaction);
  Room data = data_room(pending.transaction);
  while (data == Room::wait && metadata == Room::enough && discarder_.give_up(kGivenUpBlocks))
    data = data_room(pending.transaction);
  if (data == Room::none || metadata == Room::none) {
    refuse(pending, {ErrorCode::no_space, data == Room::none ? kNoFreeBlock : kRegionFull});
    return Start::refused;
  }
  if (data == Room::wait || metadata == Room::wait || !wal_.has_room(metadata_bytes, images)) {
    // What was loaded for it can be out of date by then.
    state_->loaded_omaps.clear();
    start_checkpoint();
    return Start::waiting;
  }
  pending.may_move = may_move_overwrites(pending.transaction);
  pending.is_started = true;
  return Start::started;
}

bool Store::apply_ops(Pending& pending) {
  auto& ops = pending.transaction.ops();
  for (; pending.next_op < ops.size(); ++pending.next_op) {
    Transaction::Op& op = ops[pending.next_op];
    if (pending.rearranges_blocks) {
      // What an earlier op has made may need more than anybody knew of at the start.
      Missing missing;
      loader_.need(op, missing);
      if (!missing.empty()) {
        load(std::move(missing));
        return false;
      }
    }
    mutator_.place(op, pending.may_move, place_of_big_write(op));
    mutator_.apply(op);
  }
  return true;
}

// Where a big write best goes: behind the block before it, so that an object written in order lies
// in order; else what others have released is used again as it is.
std::optional<std::uint32_t> Store::place_of_big_write(const Transaction::Op& op) {
  if (!op.writes_data() || !op.direct) return {};
  const std::uint32_t fresh = op.data_block_count();
  if (fresh == 0) return {};
  const std::optional<std::uint32_t> behind = mutator_.place_behind(op);
  if (behind && state_->allocator.has_run({*behind, fresh})) return behind;
  return discarder_.reuse(fresh);
}

// Those behind the first one in the queue probably need something too: one round for all.
void Store::load_ahead(Missing& missing) {
  const std::size_t count = std::min(queue_.size(), kLoadAhead);
  for (std::size_t i = 1; i < count; ++i)
    for (const Transaction::Op& op : queue_[i].transaction.ops()) {
      if (!queue_[i].completion.status) break;
      loader_.need(op, missing);
    }
}

void Store::load(Missing missing) {
  state_->is_loading = true;
  loader_.load(std::move(missing), [this, alive = std::weak_ptr(state_->lifetime)](Status status) {
    if (alive.expired()) return;
    state_->is_loading = false;
    if (!status && state_->health) {
      state_->health = std::move(status);
      return progress();
    }
    pump();
    cache_keeper_.loaded();
  });
}

void Store::choose_places(Transaction& transaction) const {
  std::uint64_t bytes = 0;
  for (const Transaction::Op& op : transaction.ops()) bytes += op.data.size();
  const bool all_direct = bytes > wal_.ring_bytes() / 4;
  for (Transaction::Op& op : transaction.ops())
    if (op.writes_data())
      op.direct = all_direct || op.data.size() >= state_->options.large_write_bytes;
}

std::uint32_t Store::reserved_blocks() const {
  const std::uint64_t blocks = state_->allocator.block_count();
  const std::uint64_t wanted = std::max(blocks / 100, kReserveBytes / kBlockBytes);
  return static_cast<std::uint32_t>(std::min(wanted, blocks / 16));
}

Store::Room Store::data_room(const Transaction& transaction) {
  const std::uint64_t most = transaction.data_bytes() / kBlockBytes;
  const std::uint64_t reserve = may_use_reserve(transaction) ? 0 : reserved_blocks();
  const Allocator& allocator = state_->allocator;
  if (most == 0 || most + reserve <= allocator.available()) return Room::enough;
  const std::uint64_t needed = mutator_.blocks_needed(transaction);
  if (needed == 0 || needed + reserve <= allocator.available()) return Room::enough;
  const bool will_do = needed + reserve <= allocator.available() + allocator.waiting();
  return will_do ? Room::wait : Room::none;
}

// Each block of the transaction takes one at most, so none of its others goes without.
bool Store::may_move_overwrites(const Transaction& transaction) const {
  const Allocator& allocator = state_->allocator;
  const std::uint64_t most = transaction.data_bytes() / kBlockBytes;
  return state_->options.redirect_run_blocks > 0 &&
         most + reserved_blocks() + allocator.block_count() / kKeptFreeShare <=
             allocator.available();
}

Status Store::room_for(std::uint64_t data_bytes, std::uint64_t metadata_bytes) {
  const Allocator& allocator = state_->allocator;
  const std::uint64_t blocks = (queued_data_bytes_ + data_bytes) / kBlockBytes;
  // What waits for a checkpoint counts as free: who takes it waits for that.
  if (data_bytes > 0 &&
      blocks + reserved_blocks() > std::uint64_t{allocator.available()} + allocator.waiting())
    return {ErrorCode::no_space, kNoFreeBlock};
  if (state_->executor.now_ns() < kv_full_until_ns_) return {ErrorCode::no_space, kRegionFull};
  // Whether a region that looks full is so, only a compaction can tell; the reserve bears what
  // comes until it has.
  const std::uint64_t needed = 2 * (metadata_bytes + kEntryBytes);
  refresh_kv_free();
  if (kv_free_bytes_ <= needed + 2 * (pending_metadata_bytes() + frozen_metadata_bytes_)) {
    if (kv_free_bytes_ > needed && checkpointer_.is_needed())
      start_checkpoint();
    else if (!is_asking_kv_ && state_->health)
      ask_kv_for_room(needed);
  }
  return {};
}

// What the next checkpoint will write, about.
std::uint64_t Store::pending_metadata_bytes() const {
  return state_->checkpoint_set.active_count() * kEntryBytes +
         state_->allocator.dirty_chunks() * kMoreOfBitmapBytes + named_value_bytes_;
}

void Store::refresh_kv_free() {
  if (++kv_free_age_ < kKvFreeMaxAge && kv_free_bytes_ != 0) return;
  kv_free_bytes_ = state_->kv->free_bytes();
  kv_free_age_ = 0;
}

Store::Room Store::metadata_room(const Transaction& transaction) {
  refresh_kv_free();
  if (may_use_reserve(transaction)) return Room::enough;
  // Twice: a value needs as much again for the compaction of the tables that hold it.
  const std::uint64_t needed = 2 * (encoded_bound(transaction) + kEntryBytes);
  const std::uint64_t pending = 2 * (pending_metadata_bytes() + frozen_metadata_bytes_);
  if (kv_free_bytes_ > needed + pending) return Room::enough;
  if (kv_free_bytes_ > needed && checkpointer_.is_needed()) return Room::wait;
  if (state_->executor.now_ns() < kv_full_until_ns_) return Room::none;
  if (!is_asking_kv_) ask_kv_for_room(needed);
  return Room::wait;
}

// The free space of the region leaves out what compaction would free. A put that does not fit makes
// the region compact itself: only what it says then is true.
void Store::ask_kv_for_room(std::uint64_t bytes) {
  is_asking_kv_ = true;
  kv::WriteBatch batch;
  batch.put(keys::room_probe(), std::string(bytes, '\0'));
  batch.put(keys::room_probe(), "");
  state_->kv->apply(std::move(batch), false, [this, bytes](Status status) {
    is_asking_kv_ = false;
    if (!status && status.code() != ErrorCode::no_space && state_->health)
      state_->health = std::move(status);
    kv_free_bytes_ = state_->kv->free_bytes();
    kv_free_age_ = 0;
    if (kv_free_bytes_ <= bytes) kv_full_until_ns_ = state_->executor.now_ns() + kFullForNs;
    progress();
  });
}

void Store::refuse(Pending& pending, Status status) {
  pending.completion.status = std::move(status);
  if (wal_.add_refusal(pending.completion)) return;
  state_->executor.post([this, completion = std::move(pending.completion),
                         alive = std::weak_ptr(state_->lifetime)]() mutable {
    if (!alive.expired()) complete(completion, Status::ok());
  });
}

void Store::complete(Wal::Completion& completion, const Status& outcome) {
  --state_->counters.pending_transactions;
  pending_since_ns_.pop_front();
  if (completion.done) completion.done(completion.status ? outcome : completion.status);
}

void Store::group_done(const Status& status, Wal::Group& group) {
  for (const DirectWrite& direct : group.direct) state_->overlay.drop_direct(direct.physical);
  if (status) {
    state_->counters.transactions += group.transaction_count;
    const std::uint64_t now_ns = state_->executor.now_ns();
    for (const Wal::Completion& completion : group.completions)
      state_->counters.commit_ns.record(now_ns - completion.submitted_ns);
    arm_idle_timer();
  }
  for (Wal::Completion& completion : group.completions) complete(completion, status);
  checkpointer_.wal_advanced();
  progress();
}

void Store::progress() {
  if (!state_->health) fail_everything();
  if (checkpoints_seen_ != state_->counters.checkpoints) {
    checkpoints_seen_ = state_->counters.checkpoints;
    frozen_metadata_bytes_ = 0;
    kv_free_age_ = kKvFreeMaxAge;
    mutator_.look_for_runs_again();
    reclaimer_.run();
    cache_keeper_.shrink();
  }
  pump();
  close_if_settled();
}

void Store::fail_everything() {
  if (!reported_failure_) {
    reported_failure_ = true;
    state_->log("error", "the object store has failed and acknowledges nothing more: " +
                             state_->health.to_string());
  }
  wal_.fail_waiting();
}

void Store::start_checkpoint() {
  if (checkpointer_.is_running() || !checkpointer_.is_needed() || !state_->health) return;
  if (!queue_.empty() && queue_.front().is_started) return;
  frozen_metadata_bytes_ = pending_metadata_bytes();
  named_value_bytes_ = 0;
  checkpointer_.start();
}

void Store::checkpoint_if_due() {
  const bool is_due =
      wal_.used_bytes() > wal_.ring_bytes() / 2 ||
      state_->overlay.active_count() * kBlockBytes > state_->options.pending_data_bytes ||
      pending_metadata_bytes() > std::min(state_->options.pending_metadata_bytes,
                                          state_->superblock.layout.kv_bytes / 16) ||
      state_->allocator.released() >
          state_->allocator.referenced() / 2 + state_->options.released_bytes / kBlockBytes;
  if (is_due) start_checkpoint();
}

void Store::arm_idle_timer() {
  if (has_idle_timer_) return;
  has_idle_timer_ = true;
  state_->executor.run_after(kIdleNs,
                             [this, then = submitted_, alive = std::weak_ptr(state_->lifetime)] {
                               if (!alive.expired()) idle_timer_fired(then);
                             });
}

void Store::idle_timer_fired(std::uint64_t submitted_then) {
  has_idle_timer_ = false;
  if (!state_->health || !checkpointer_.is_needed()) return;
  submitted_then == submitted_ ? start_checkpoint() : arm_idle_timer();
}

void Store::when_applied(io::Task start) {
  if (queue_.empty()) return start();
  waiting_reads_.push_back({submitted_, std::move(start)});
}

void Store::read(PgId pg, const ObjectId& object, std::uint64_t offset, std::uint64_t length,
                 bool with_blocks, ReadDone done) {
  if (queue_.empty()) return reader_.read(pg, object, offset, length, with_blocks, std::move(done));
  when_applied([=, this, done = std::move(done)]() mutable {
    reader_.read(pg, object, offset, length, with_blocks, std::move(done));
  });
}

void Store::info(PgId pg, const ObjectId& object, InfoDone done) {
  when_applied(
      [=, this, done = std::move(done)]() mutable { reader_.info(pg, object, std::move(done)); });
}

void Store::list(PgId pg, std::optional<ObjectId> after, std::size_t limit, ListDone done) {
  when_applied([=, this, done = std::move(done)]() mutable {
    reader_.list(pg, after, limit, std::move(done));
  });
}

void Store::omap_get(PgId pg, const ObjectId& object, std::vector<std::string> keys,
                     std::string prefix, std::string after_key, std::size_t limit, OmapDone done) {
  when_applied([=, this, done = std::move(done)]() mutable {
    reader_.omap_get(pg, object, std::move(keys), std::move(prefix), std::move(after_key), limit,
                     std::move(done));
  });
}

void Store::checkpoint(Done done) {
  if (checkpointer_.is_running() && state_->health) {
    // The running one may have begun before the newest transactions.
    checkpointer_.when_done(
        [this, done = std::move(done)](Status) mutable { checkpoint(std::move(done)); });
    return;
  }
  start_checkpoint();
  checkpointer_.when_done(std::move(done));
}

void Store::close(Done done) {
  CAIRN_ASSERT(!is_closing_);
  is_closing_ = true;
  reclaimer_.stop();
  close_done_ = std::move(done);
  state_->executor.post([this, alive = std::weak_ptr(state_->lifetime)] {
    if (!alive.expired()) close_if_settled();
  });
}

void Store::close_if_settled() {
  if (!close_done_) return;
  if (state_->health) {
    if (!queue_.empty() || !wal_.is_idle() || checkpointer_.is_running()) return;
    if (checkpointer_.is_needed()) return start_checkpoint();
  }
  state_->executor.post([done = std::move(close_done_), status = state_->health]() mutable {
    done(std::move(status));
  });
  close_done_ = {};
}

Usage Store::usage() const {
  Usage usage;
  usage.total_bytes = std::uint64_t{state_->allocator.block_count()} * kBlockBytes;
  usage.used_bytes = std::uint64_t{state_->allocator.referenced()} * kBlockBytes;
  usage.reserved_bytes = std::uint64_t{reserved_blocks()} * kBlockBytes;
  usage.metadata_bytes = state_->cache.used_bytes();
  state_->pgs.for_each([&](PgEntry& pg) { usage.objects += pg.object_count; });
  return usage;
}

std::uint64_t Store::object_count(PgId pg) const {
  const PgEntry* entry = state_->pgs.find(pg);
  return entry == nullptr ? 0 : entry->object_count;
}

std::uint64_t Store::stored_bytes(PgId pg) const {
  const PgEntry* entry = state_->pgs.find(pg);
  return entry == nullptr ? 0 : entry->data_blocks.value_or(0) * kBlockBytes;
}

}  // namespace cairn::object_store
