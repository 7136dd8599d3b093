// Building of batches and their progress through partial sends.
#include "net/send_queue.hh"

#include <cstring>

#include "base/assert.hh"

namespace cairn::net {

namespace {

std::size_t copied_bytes(const Frame& frame) {
  const bool copy_meta = frame.meta.size() <= SendQueue::kMaxCopiedMetaBytes;
  return kFrameHeaderBytes + (copy_meta ? frame.meta.size() : 0);
}

}  // namespace

void SendQueue::push(Frame frame) {
  unsent_bytes_ += frame_bytes(frame);
  ++frames_pushed_;
  queued_.push_back(std::move(frame));
}

const msghdr* SendQueue::next_message() {
  if (next_part_ == parts_.size()) build_batch();
  if (parts_.empty()) return nullptr;
  message_.msg_iov = parts_.data() + next_part_;
  message_.msg_iovlen = parts_.size() - next_part_;
  return &message_;
}

void SendQueue::sent(std::size_t length) {
  CAIRN_ASSERT(length <= unsent_bytes_);
  unsent_bytes_ -= length;
  while (length > 0) {
    CAIRN_ASSERT(next_part_ < parts_.size());
    iovec& part = parts_[next_part_];
    if (length < part.iov_len) {
      part.iov_base = static_cast<std::byte*>(part.iov_base) + length;
      part.iov_len -= length;
      return;
    }
    length -= part.iov_len;
    ++next_part_;
  }
  if (next_part_ < parts_.size()) return;
  for (; batch_begin_ < batch_end_; ++batch_begin_) taken_[batch_begin_] = Frame();
}

// The last batch is sent: encodes the next frames.
void SendQueue::build_batch() {
  parts_.clear();
  next_part_ = 0;
  if (batch_end_ == taken_.size()) {
    taken_.clear();
    taken_.swap(queued_);
    batch_begin_ = batch_end_ = 0;
  }
  std::size_t copied_length = 0;
  std::uint64_t batch_bytes = 0;
  while (batch_end_ < taken_.size() && batch_end_ - batch_begin_ < kMaxBatchFrames &&
         batch_bytes < kMaxBatchBytes) {
    const Frame& frame = taken_[batch_end_++];
    copied_length += copied_bytes(frame);
    batch_bytes += frame_bytes(frame);
  }
  copied_.resize(copied_length);  // before any iovec points into it
  std::byte* copy = copied_.data();
  for (std::size_t i = batch_begin_; i < batch_end_; ++i) {
    const Frame& frame = taken_[i];
    const std::size_t length = copied_bytes(frame);
    encode_header(frame, next_sequence_++, copy);
    if (length > kFrameHeaderBytes)
      std::memcpy(copy + kFrameHeaderBytes, frame.meta.data(), frame.meta.size());
    add_part(copy, length);
    copy += length;
    if (length == kFrameHeaderBytes) add_part(frame.meta.data(), frame.meta.size());
    add_part(frame.data.data(), frame.data.size());
  }
}

// Continues the last iovec where it can.
void SendQueue::add_part(const std::byte* data, std::size_t length) {
  if (length == 0) return;
  if (!parts_.empty()) {
    iovec& last = parts_.back();
    if (static_cast<const std::byte*>(last.iov_base) + last.iov_len == data) {
      last.iov_len += length;
      return;
    }
  }
  parts_.push_back({.iov_base = const_cast<std::byte*>(data), .iov_len = length});
}

}  // namespace cairn::net
