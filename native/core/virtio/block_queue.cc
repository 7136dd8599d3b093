// The life of a virtio-blk request; see the header.
#include "virtio/block_queue.hh"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace cairn::virtio {

namespace {

void signal_eventfd(int fd) {
  if (fd < 0) return;
  const std::uint64_t one = 1;
  // The descriptor does not block. A refusal means that the counter is full, so its reader will
  // wake up anyway, or that the front end gave us something else, which is its own loss.
  [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
}

BlockStatus status_of(const Status& status) {
  if (status.is_ok()) return BlockStatus::ok;
  return status.code() == ErrorCode::unsupported_feature ? BlockStatus::unsupported
                                                         : BlockStatus::io_error;
}

}  // namespace

BlockQueue::BlockQueue(const Surroundings& surroundings, SplitQueue ring, std::uint32_t index,
                       int call_fd, int error_fd)
    : surroundings_(surroundings),
      ring_(std::move(ring)),
      index_(index),
      call_fd_(call_fd),
      error_fd_(error_fd) {}

BlockQueue::~BlockQueue() { CAIRN_ASSERT(in_flight_ == 0 && !turn_scheduled_); }

BlockQueue::Slot* BlockQueue::take_slot() {
  if (free_.empty()) {
    slots_.push_back(std::make_unique<Slot>());
    free_.push_back(slots_.back().get());
  }
  Slot* slot = free_.back();
  free_.pop_back();
  return slot;
}

bool BlockQueue::process() {
  CAIRN_ASSERT(!processing_);
  if (!has_work()) return false;
  processing_ = true;
  std::uint32_t popped = 0;
  while (popped < kBatch && can_pop()) {
    const PopResult result = ring_.pop(chain_);
    if (result == PopResult::empty) break;
    if (result == PopResult::broken) {
      break_ring(ring_.error());
      break;
    }
    ++popped;
    begin(take_slot());
  }
  processing_ = false;
  publish();
  return popped > 0;
}

void BlockQueue::begin(Slot* slot) {
  image::BlockDevice& device = *surroundings_.device;
  const BlockLimits limits{device.size_bytes(), device.read_only()};
  ++in_flight_;
  const ParseOutcome outcome = parse_block_request(chain_, ring_.memory(), limits, slot->request);
  switch (outcome.result) {
    case ParseResult::ready:
      in_flight_bytes_ += slot->request.data_bytes;
      submit(slot);
      return;
    case ParseResult::answer:
      slot->request.data_bytes = 0;
      finish(slot, outcome.status);
      return;
    case ParseResult::unanswerable:
      --in_flight_;
      give_slot(slot);
      break_ring("a request has no status byte in the guest's memory");
      return;
  }
}

void BlockQueue::submit(Slot* slot) {
  image::BlockDevice& device = *surroundings_.device;
  BlockRequest& request = slot->request;
  const auto done = [this, slot](Status status) { finish(slot, status_of(status)); };
  switch (request.type) {
    case BlockRequestType::in:
      device.read(request.offset, request.data_bytes, [this, slot](Status status, Buffer data) {
        if (status.is_ok()) {
          CAIRN_ASSERT(data.size() == slot->request.data_bytes);
          copy_to_guest(data.span(), slot->request.data);
        }
        finish(slot, status_of(status));
      });
      return;
    case BlockRequestType::out: {
      Buffer data = Buffer::allocate(request.data_bytes);
      copy_from_guest(request.data, data.span());
      device.write(request.offset, std::move(data), done);
      return;
    }
    case BlockRequestType::flush:
      device.flush(done);
      return;
    case BlockRequestType::get_id:
      answer_id(slot);
      return;
    case BlockRequestType::discard:
    case BlockRequestType::write_zeroes:
      submit_ranges(slot);
      return;
  }
}

void BlockQueue::submit_ranges(Slot* slot) {
  image::BlockDevice& device = *surroundings_.device;
  // One part more than there are ranges: the slot must not finish inside this loop.
  slot->parts_left = static_cast<std::uint32_t>(slot->request.ranges.size()) + 1;
  slot->status = BlockStatus::ok;
  const auto part_done = [this, slot](Status status) {
    if (!status.is_ok()) slot->status = status_of(status);
    if (--slot->parts_left == 0) finish(slot, slot->status);
  };
  for (const BlockRange& range : slot->request.ranges) {
    if (slot->request.type == BlockRequestType::discard)
      device.discard(range.offset, range.length_bytes, part_done);
    else
      device.write_zeroes(range.offset, range.length_bytes, range.may_unmap, part_done);
  }
  part_done(Status::ok());
}

void BlockQueue::answer_id(Slot* slot) {
  std::array<std::byte, kBlockIdBytes> id{};
  const ByteSpan serial = as_bytes(*surroundings_.serial);
  std::copy_n(serial.begin(), std::min(serial.size(), id.size()), id.begin());
  copy_to_guest(id, slot->request.data);
  finish(slot, BlockStatus::ok);
}

void BlockQueue::finish(Slot* slot, BlockStatus status) {
  store_shared<std::uint8_t>(slot->request.status, static_cast<std::uint8_t>(status));
  ring_.push(slot->request.head, slot->request.written_bytes);
  in_flight_bytes_ -= slot->request.data_bytes;
  --in_flight_;
  completed_since_ = true;
  give_slot(slot);
  if (!processing_) schedule_turn();
}

void BlockQueue::publish() {
  if (!ring_.unpublished()) return;
  if (ring_.publish()) signal_eventfd(call_fd_);
}

void BlockQueue::schedule_turn() {
  if (turn_scheduled_) return;
  turn_scheduled_ = true;
  surroundings_.executor->post([this] { turn(); });
}

void BlockQueue::turn() {
  turn_scheduled_ = false;
  publish();
  process();  // what back-pressure may have left in the ring
  if (stopping_ && in_flight_ == 0) finish_stop();
}

void BlockQueue::break_ring(const char* why) {
  broken_ = true;
  signal_eventfd(error_fd_);
  (*surroundings_.log)(LogLevel::warn, "virtio-blk: queue " + std::to_string(index_) +
                                           " stopped, the guest broke it: " + why);
}

void BlockQueue::set_call(int call_fd) {
  call_fd_ = call_fd;
  signal_eventfd(call_fd_);
}

void BlockQueue::stop(StopDone done) {
  CAIRN_ASSERT(!stopping_);
  stopping_ = true;
  stop_done_ = std::move(done);
  if (in_flight_ == 0) schedule_turn();
}

void BlockQueue::finish_stop() {
  CAIRN_ASSERT(!ring_.unpublished());
  StopDone done = std::move(stop_done_);
  done(ring_.next_available());  // may destroy the queue
}

}  // namespace cairn::virtio
