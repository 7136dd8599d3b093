// SendQueue: whatever lengths the kernel takes, the bytes are those of the frames, in order.
#include "net/send_queue.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <climits>
#include <random>

namespace cairn::net {

namespace {

Frame make_frame(std::size_t meta_length, std::size_t data_length, std::mt19937_64& random) {
  Frame frame{.type = FrameType::op, .meta = std::vector<std::byte>(meta_length), .data = {}};
  for (std::byte& byte : frame.meta) byte = static_cast<std::byte>(random());
  if (data_length > 0) frame.data = Buffer::allocate(data_length);
  for (std::byte& byte : frame.data.span()) byte = static_cast<std::byte>(random());
  return frame;
}

// The first length bytes of a message, as the kernel would take them.
std::vector<std::byte> take(const msghdr& message, std::size_t length) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < message.msg_iovlen && bytes.size() < length; ++i) {
    const auto* from = static_cast<const std::byte*>(message.msg_iov[i].iov_base);
    const std::size_t part = std::min(message.msg_iov[i].iov_len, length - bytes.size());
    bytes.insert(bytes.end(), from, from + part);
  }
  return bytes;
}

std::size_t length_of(const msghdr& message) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < message.msg_iovlen; ++i) length += message.msg_iov[i].iov_len;
  return length;
}

}  // namespace

TEST_CASE("send queue: partial sends and frames pushed meanwhile change nothing") {
  constexpr std::size_t kMetaLengths[] = {0, 64, SendQueue::kMaxCopiedMetaBytes,
                                          SendQueue::kMaxCopiedMetaBytes + 1, 30000};
  constexpr std::size_t kDataLengths[] = {0, 4096, 1, 0, 100000};
  std::mt19937_64 random(1);
  SendQueue queue;
  std::vector<std::byte> sent;
  std::vector<Frame> pushed;
  std::uint64_t expected_bytes = 0;
  CHECK(queue.next_message() == nullptr);
  while (pushed.size() < 300 || queue.unsent_bytes() > 0) {
    for (std::uint64_t i = random() % 4; i > 0 && pushed.size() < 300; --i) {
      pushed.push_back(make_frame(kMetaLengths[random() % 5], kDataLengths[random() % 5], random));
      expected_bytes += frame_bytes(pushed.back());
      queue.push(pushed.back());
    }
    const msghdr* message = queue.next_message();
    if (message == nullptr) continue;
    const auto taken = take(*message, 1 + random() % length_of(*message));
    sent.insert(sent.end(), taken.begin(), taken.end());
    queue.sent(taken.size());
    CHECK(queue.unsent_bytes() == expected_bytes - sent.size());
  }
  CHECK(queue.next_message() == nullptr);
  FrameDecoder decoder;
  ByteSpan bytes(sent);
  for (const Frame& frame : pushed) {
    std::size_t consumed = 0;
    Result<std::optional<Frame>> decoded = decoder.feed(bytes, consumed);
    REQUIRE(decoded.is_ok());
    REQUIRE(decoded->has_value());
    CHECK((*decoded)->meta == frame.meta);
    CHECK(std::equal(frame.data.span().begin(), frame.data.span().end(),
                     (*decoded)->data.span().begin(), (*decoded)->data.span().end()));
    bytes = bytes.subspan(consumed);
  }
  CHECK(bytes.empty());
}

TEST_CASE("send queue: a batch is bounded in iovecs and bytes; small frames share one iovec") {
  std::mt19937_64 random(2);
  SendQueue queue;
  for (int i = 0; i < 1000; ++i) queue.push(make_frame(3000, 1, random));
  const msghdr* message = queue.next_message();
  CHECK(message->msg_iovlen == 3 * SendQueue::kMaxBatchFrames);
  CHECK(message->msg_iovlen <= IOV_MAX);

  SendQueue small;
  for (int i = 0; i < 100; ++i) small.push(make_frame(64, 0, random));
  CHECK(small.next_message()->msg_iovlen == 1);

  SendQueue large;
  const Frame frame = make_frame(0, 1 << 20, random);
  for (int i = 0; i < 100; ++i) large.push(frame);
  CHECK(length_of(*large.next_message()) <= SendQueue::kMaxBatchBytes + frame_bytes(frame));
}

}  // namespace cairn::net
