// The steps of a checkpoint.
#include "object_store/checkpoint.hh"

#include <algorithm>

#include "base/planted_bug.hh"
#include "object_store/metadata.hh"

namespace cairn::object_store {

namespace {

// In-place writes go in batches, so that one system call and one wake-up of the device carry many;
// few enough that a WAL write does not wait long behind them.
constexpr std::uint32_t kWritesPerBatch = 32;
constexpr std::size_t kBlocksPerBatch = 128;
constexpr std::size_t kBlocksPerWrite = 64;
// About 0.1 ms each.
constexpr std::size_t kEntriesPerSlice = 128;
constexpr std::size_t kFinishesPerSlice = 1024;

}  // namespace

bool Checkpointer::is_needed() const {
  return wal_.durable_sequence() > state_.applied_sequence || !wal_.is_idle() ||
         state_.checkpoint_set.has_changes();
}

void Checkpointer::start() {
  CAIRN_ASSERT(!is_running_ && !state_.checkpoint_set.is_frozen());
  is_running_ = true;
  const WalPosition end = wal_.seal();
  sequence_ = end.sequence - 1;
  position_ = end.position;
  next_id_ = state_.next_id;
  state_.checkpoint_set.freeze();
  state_.allocator.freeze();
  state_.pgs.freeze();
  images_ = state_.overlay.freeze();
  next_image_ = 0;
  is_encoded_ = false;
  is_waiting_for_wal_ = true;
  // Its own turn, so that the caller's state is settled.
  state_.executor.post([this, alive = std::weak_ptr(state_.lifetime)] {
    if (!alive.expired()) wal_advanced();
  });
}

void Checkpointer::wal_advanced() {
  if (!is_running_ || !is_waiting_for_wal_) return;
  if (!state_.health) {
    is_waiting_for_wal_ = false;
    return end(state_.health);
  }
  if (wal_.durable_sequence() < sequence_) return;
  is_waiting_for_wal_ = false;
  write_images();
  encode_slice();
}

void Checkpointer::write_images() {
  if (writes_under_way_ > 0) return;
  const std::size_t batch_end = std::min(images_.size(), next_image_ + kBlocksPerBatch);
  while (next_image_ < batch_end && writes_under_way_ < kWritesPerBatch && state_.health) {
    const std::uint32_t first = images_[next_image_].first;
    std::vector<Buffer> run;
    while (next_image_ < batch_end && run.size() < kBlocksPerWrite &&
           images_[next_image_].first == first + run.size())
      run.push_back(std::move(images_[next_image_++].second));
    ++writes_under_way_;
    state_.counters.data_written_bytes += run.size() * kBlockBytes;
    state_.disk.write(state_.disk_offset(first), std::move(run), false,
                      [this, alive = std::weak_ptr(state_.lifetime)](Status status) {
                        if (!alive.expired()) image_written(std::move(status));
                      });
  }
}

void Checkpointer::image_written(Status status) {
  --writes_under_way_;
  if (!status && state_.health) state_.health = std::move(status);
  write_images();
  flush_if_ready();
}

void Checkpointer::encode_slice() {
  is_encoded_ = state_.checkpoint_set.encode_some(kEntriesPerSlice);
  if (is_encoded_) return flush_if_ready();
  state_.executor.post([this, alive = std::weak_ptr(state_.lifetime)] {
    if (!alive.expired()) encode_slice();
  });
}

void Checkpointer::flush_if_ready() {
  if (!is_encoded_ || writes_under_way_ > 0) return;
  if (!state_.health) return end(state_.health);
  if (next_image_ < images_.size()) return;
  if (images_.empty()) return apply();
  images_.clear();
  ++state_.counters.flushes;
  state_.disk.flush([this, alive = std::weak_ptr(state_.lifetime)](Status status) {
    if (alive.expired()) return;
    if (!status && state_.health) state_.health = std::move(status);
    if (!state_.health) return end(state_.health);
    apply();
  });
}

void Checkpointer::apply() {
  kv::WriteBatch& batch = state_.checkpoint_set.batch();
  batch.put(keys::system_state(),
            encode_system_state(
                {.applied_sequence = sequence_, .wal_position = position_, .next_id = next_id_}));
  // Transactions that grow were refused in time (Store::metadata_room); what was taken must fit.
  batch.allow_reserve();
  const bool is_synced = !planted(PlantedBug::trim_log_early);
  state_.kv->apply(std::move(batch), is_synced,
                   [this, alive = std::weak_ptr(state_.lifetime)](Status status) {
                     if (!alive.expired()) applied(std::move(status));
                   });
}

void Checkpointer::applied(Status status) {
  if (!status && state_.health) state_.health = std::move(status);
  if (!state_.health) return end(state_.health);
  state_.applied_sequence = sequence_;
  wal_.trim(position_);
  state_.overlay.thaw();
  discarder_.add(state_.allocator.take_released());
  finish_slice();
}

void Checkpointer::finish_slice() {
  if (state_.checkpoint_set.finish_some(kFinishesPerSlice)) {
    ++state_.counters.checkpoints;
    return end(Status::ok());
  }
  state_.executor.post([this, alive = std::weak_ptr(state_.lifetime)] {
    if (!alive.expired()) finish_slice();
  });
}

void Checkpointer::when_done(Done done) {
  if (is_running_) return waiting_.push_back(std::move(done));
  state_.executor.post(
      [done = std::move(done), status = state_.health]() mutable { done(std::move(status)); });
}

void Checkpointer::end(Status status) {
  is_running_ = false;
  std::vector<Done> waiting;
  waiting.swap(waiting_);
  on_progress_();
  for (Done& done : waiting) done(status);
}

}  // namespace cairn::object_store
