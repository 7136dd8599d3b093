// Group commit over the ring.
#include "object_store/wal.hh"

#include <algorithm>
#include <utility>

#include "base/crc32c.hh"
#include "base/planted_bug.hh"

namespace cairn::object_store {

namespace {

// Long enough that the cost of a write is spread, short enough that its latency stays small; the
// images of one group and its front fit in one vectored write of 1024 buffers.
constexpr std::uint64_t kGroupBytes = std::uint64_t{1} << 20;
// Of one write beside the WAL.
constexpr std::size_t kMaxPieces = 256;
constexpr std::uint64_t kMaxDirectBlocks = 1024;
// Behind a group of so many transactions it is worth to wait for as many again. Fewer are those of
// a client that waits for its answers: it would only wait longer.
constexpr std::size_t kWorthWaiting = 6;

std::uint64_t padded(std::uint64_t metadata_bytes) {
  return (kRecordHeaderBytes + metadata_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

}  // namespace

std::uint64_t Wal::Group::front_bytes() const { return padded(metadata.size()); }

Wal::Wal(StoreState& state, WalPosition next, std::uint64_t tail, GroupDone on_group)
    : state_(state),
      ring_bytes_(state.superblock.layout.wal_bytes),
      group_bytes_(std::min(kGroupBytes, ring_bytes_ / 4)),
      next_sequence_(next.sequence),
      head_(next.position),
      tail_(tail),
      durable_sequence_(next.sequence - 1),
      on_group_(std::move(on_group)) {}

std::uint64_t Wal::used_bytes() const {
  return head_ - tail_ + (collects() ? groups_.back().group.record_bytes() : 0);
}

bool Wal::has_room(std::size_t metadata_bytes, std::uint32_t images) const {
  // As if it had to begin a group of its own: at most 4 KiB more than it will take.
  return used_bytes() + padded(metadata_bytes) + images * kBlockBytes <= max_record_bytes();
}

void Wal::begin_group() {
  Group& group = groups_.emplace_back().group;
  group.sequence = next_sequence_++;
  group.metadata.reserve(usual_metadata_bytes_);
  group.data.reserve(usual_pieces_);
  group.completions.reserve(usual_completions_);
}

void Wal::add(const Transaction& transaction, Completion completion) {
  if (!collects()) begin_group();
  Group& group = groups_.back().group;
  encode_transaction(transaction, group.metadata);
  ++group.transaction_count;
  for (const Transaction::Op& op : transaction.ops()) {
    if (!op.writes_data() || op.block_count == 0) continue;
    if (!op.direct) {
      group.data.push_back(op.data);
      group.data_blocks += op.block_count;
      continue;
    }
    op.for_each_run([&group](std::uint32_t physical, Buffer data) {
      group.direct.push_back({physical, std::move(data)});
    });
  }
  group.completions.push_back(std::move(completion));
  if (group.record_bytes() >= group_bytes_) seal();
  schedule();
}

bool Wal::add_refusal(Completion& completion) {
  if (!groups_.empty())
    groups_.back().group.completions.push_back(std::move(completion));
  else if (is_writing_)
    writing_.completions.push_back(std::move(completion));
  else
    return false;
  return true;
}

WalPosition Wal::seal() {
  if (collects()) {
    Waiting& last = groups_.back();
    last.is_sealed = true;
    last.group.position = head_;
    head_ += last.group.record_bytes();
  }
  return {next_sequence_, head_};
}

bool Wal::waits_for_more() const {
  if (state_.options.group_wait_ns == 0 || usual_completions_ < kWorthWaiting) return false;
  // One that is sealed grows no more, and a direct write need not wait for the record.
  return groups_.size() == 1 && collects() && !groups_.front().group.has_unstarted() &&
         groups_.front().group.completions.size() < usual_completions_;
}

void Wal::schedule() {
  if (is_scheduled_ || groups_.empty()) return;
  const bool has_new_direct = collects() && groups_.back().group.has_unstarted();
  if (is_writing_ && !has_new_direct) return;
  if (waits_for_more()) return wait_for_more();
  state_.executor.cancel(std::exchange(wait_timer_, 0));
  // After the current batch of events, so that all its transactions share the record.
  is_scheduled_ = true;
  state_.executor.post([this, alive = std::weak_ptr(state_.lifetime)] {
    if (!alive.expired()) run_scheduled();
  });
}

void Wal::wait_for_more() {
  if (wait_timer_ != 0) return;
  const auto time_is_up = [this, alive = std::weak_ptr(state_.lifetime)] {
    if (alive.expired()) return;
    wait_timer_ = 0;
    run_scheduled();
  };
  wait_timer_ = state_.executor.run_after(state_.options.group_wait_ns, time_is_up);
}

void Wal::run_scheduled() {
  is_scheduled_ = false;
  if (groups_.empty()) return;
  if (!state_.health) {
    if (!is_writing_) fail_waiting();
    return;
  }
  for (Waiting& waiting : groups_) start_direct(waiting.group);
  if (!is_writing_) start();
}

void Wal::start() {
  if (groups_.size() == 1) seal();  // else the first one is sealed, and the last one goes on
  writing_ = std::move(groups_.front().group);
  groups_.pop_front();
  usual_metadata_bytes_ = writing_.metadata.size();
  usual_pieces_ = writing_.data.size();
  usual_completions_ = writing_.completions.size();
  is_writing_ = true;
  const bool has_direct = !writing_.direct.empty();
  const bool is_flushed = !planted(PlantedBug::skip_flush);
  needs_flush_ = has_direct && is_flushed;
  // One part held back until all have been started.
  parts_left_ = 1 + writing_.direct_under_way;
  write_record(writing_, !has_direct && is_flushed);
  part_done(Status::ok());
}

Wal::Group* Wal::find(std::uint64_t sequence) {
  if (is_writing_ && writing_.sequence == sequence) return &writing_;
  for (Waiting& waiting : groups_)
    if (waiting.group.sequence == sequence) return &waiting.group;
  return nullptr;
}

// What lies in one piece on the disk goes there in one write, also that of several transactions.
void Wal::start_direct(Group& group) {
  const std::vector<DirectWrite>& direct = group.direct;
  for (std::size_t& i = group.direct_started; i < direct.size();) {
    const std::uint32_t first = direct[i].physical;
    std::uint64_t blocks = 0;
    std::vector<Buffer> pieces;
    for (; i < direct.size() && direct[i].physical == first + blocks &&
           pieces.size() < kMaxPieces && blocks < kMaxDirectBlocks;
         ++i) {
      pieces.push_back(direct[i].data);
      blocks += direct[i].data.size() / kBlockBytes;
    }
    ++group.direct_under_way;
    state_.counters.data_written_bytes += blocks * kBlockBytes;
    state_.disk.write(
        state_.disk_offset(first), std::move(pieces), false,
        [this, sequence = group.sequence, alive = std::weak_ptr(state_.lifetime)](Status status) {
          if (!alive.expired()) direct_done(sequence, std::move(status));
        });
  }
}

void Wal::direct_done(std::uint64_t sequence, Status status) {
  Group* const group = find(sequence);
  if (group == nullptr) return;  // it was given up when the store failed
  --group->direct_under_way;
  if (group == &writing_) return part_done(std::move(status));
  if (!status && state_.health) state_.health = std::move(status);
}

std::vector<Buffer> Wal::record_buffers(const Group& group) const {
  RecordHeader header;
  std::memcpy(&header.store_tag, state_.superblock.identity.store.data(), sizeof header.store_tag);
  header.sequence = group.sequence;
  header.generation = state_.superblock.generation;
  header.flushed_sequence = durable_sequence_;
  header.metadata_bytes = static_cast<std::uint32_t>(group.metadata.size());
  header.metadata_crc = crc32c(group.metadata);
  header.data_blocks = group.data_blocks;
  header.transaction_count = group.transaction_count;
  std::vector<Buffer> buffers;
  buffers.reserve(group.front_bytes() / kBlockBytes + group.data.size());
  // In single blocks, which Buffer keeps for reuse.
  ByteSpan rest = group.metadata;
  for (std::uint64_t filled = 0; filled < group.front_bytes(); filled += kBlockBytes) {
    Buffer block = Buffer::allocate(kBlockBytes);
    const std::size_t header_bytes = filled == 0 ? kRecordHeaderBytes : 0;
    if (header_bytes != 0) encode_record_header(header, block.data());
    const std::size_t length = std::min<std::size_t>(rest.size(), kBlockBytes - header_bytes);
    if (length != 0) std::memcpy(block.data() + header_bytes, rest.data(), length);
    const std::size_t used = header_bytes + length;
    std::memset(block.data() + used, 0, kBlockBytes - used);
    rest = rest.subspan(length);
    buffers.push_back(std::move(block));
  }
  buffers.insert(buffers.end(), group.data.begin(), group.data.end());
  return buffers;
}

void Wal::write_record(Group& group, bool durable) {
  std::vector<Buffer> buffers = record_buffers(group);
  const std::uint64_t ring_offset = state_.superblock.layout.wal_offset;
  const std::uint64_t offset = group.position % ring_bytes_;
  std::uint64_t until_end = ring_bytes_ - offset;
  std::vector<Buffer> wrapped;
  if (group.record_bytes() > until_end) {
    std::vector<Buffer> first;
    for (Buffer& buffer : buffers) {
      const std::uint64_t length = std::min<std::uint64_t>(buffer.size(), until_end);
      if (length > 0) first.push_back(buffer.slice(0, length));
      if (length < buffer.size()) wrapped.push_back(buffer.slice(length, buffer.size() - length));
      until_end -= length;
    }
    buffers = std::move(first);
  }
  const auto part = [this, alive = std::weak_ptr(state_.lifetime)](Status status) {
    if (!alive.expired()) part_done(std::move(status));
  };
  parts_left_ += wrapped.empty() ? 1 : 2;
  state_.disk.write(ring_offset + offset, std::move(buffers), durable, part);
  if (!wrapped.empty()) state_.disk.write(ring_offset, std::move(wrapped), durable, part);
  state_.counters.wal_bytes += group.record_bytes();
  ++state_.counters.wal_groups;
  if (durable) ++state_.counters.flushes;
}

void Wal::part_done(Status status) {
  if (!status && state_.health) state_.health = std::move(status);
  if (--parts_left_ > 0) return;
  if (!needs_flush_ || !state_.health) return finish();
  needs_flush_ = false;
  parts_left_ = 1;
  ++state_.counters.flushes;
  state_.disk.flush([this, alive = std::weak_ptr(state_.lifetime)](Status flushed) {
    if (!alive.expired()) part_done(std::move(flushed));
  });
}

void Wal::finish() {
  is_writing_ = false;
  Group group = std::move(writing_);
  writing_ = {};
  if (state_.health) durable_sequence_ = group.sequence;
  Status outcome = state_.health;
  on_group_(std::move(outcome), std::move(group));
  // Behind the callbacks: what they submit shares the next record, which halves the number of
  // records under a steady load.
  schedule();
}

void Wal::fail_waiting() {
  CAIRN_ASSERT(!state_.health);
  while (!is_writing_ && !groups_.empty()) {
    Group group = std::move(groups_.front().group);
    groups_.pop_front();
    on_group_(state_.health, std::move(group));
  }
}

}  // namespace cairn::object_store
