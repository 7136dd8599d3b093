// SendQueue: the frames that a connection has still to send, turned into messages for sendmsg.
// Headers and small metas of many frames lie in one buffer; data and large metas go out from where
// they are. A batch in flight and the frames queued behind it are kept apart, so that pushing never
// moves memory that the kernel reads. Frames are released when their batch is sent.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "net/frame.hh"

namespace cairn::net {

class SendQueue {
 public:
  // At most three iovecs a frame, so a batch stays below IOV_MAX (1024).
  static constexpr std::size_t kMaxBatchFrames = 256;
  static constexpr std::uint64_t kMaxBatchBytes = std::uint64_t{4} << 20;  // before the last frame
  // A longer meta is cheaper by reference than copied.
  static constexpr std::size_t kMaxCopiedMetaBytes = 2048;

  SendQueue() = default;
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  void push(Frame frame);
  // All bytes of frames that were pushed and not yet sent.
  std::uint64_t unsent_bytes() const { return unsent_bytes_; }
  std::uint64_t frames_pushed() const { return frames_pushed_; }
  // What to send next; null when nothing is left. Valid until sent() is called.
  const msghdr* next_message();
  // The kernel took length bytes of the last next_message().
  void sent(std::size_t length);

 private:
  void build_batch();
  void add_part(const std::byte* data, std::size_t length);

  std::vector<Frame> queued_;
  std::vector<Frame> taken_;  // being sent, [batch_begin_, batch_end_) of it right now
  std::size_t batch_begin_ = 0;
  std::size_t batch_end_ = 0;
  std::vector<std::byte> copied_;  // headers and small metas of the batch
  std::vector<iovec> parts_;
  std::size_t next_part_ = 0;
  msghdr message_{};
  std::uint64_t next_sequence_ = 1;
  std::uint64_t unsent_bytes_ = 0;
  std::uint64_t frames_pushed_ = 0;
};

}  // namespace cairn::net
