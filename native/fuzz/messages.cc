// Fuzzes the bodies of data-path frames and stored PG log entries. The input is u8 frame type
// (0: a PG log entry as it is stored), u16 length of the meta, then meta and data.
// Beside the sanitizers it checks: what was decoded encodes to a message that decodes to the same
// bytes.
#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/assert.hh"
#include "net/lease_messages.hh"
#include "net/messages.hh"
#include "net/scrub_messages.hh"
#include "net/watch_messages.hh"

namespace {

using namespace cairn;
using namespace cairn::net;

template <typename Message>
Frame encode_any(const Message& message, const Buffer& data) {
  if constexpr (std::is_same_v<Message, Ping>)
    return encode_ping(message);
  else if constexpr (std::is_same_v<Message, Lease>)
    return encode_lease(message);
  else if constexpr (requires { cairn::net::encode(message, data); })
    return cairn::net::encode(message, data);
  else
    return cairn::net::encode(message);
}

template <typename Message>
void fuzz_message(const Frame& frame) {
  Message message;
  if (!cairn::net::decode(frame, message)) return;
  Frame encoded = encode_any(message, frame.data);
  encoded.type = frame.type;  // a pong is a ping, the answer to a lease a lease
  Message again;
  CAIRN_ASSERT(cairn::net::decode(encoded, again).is_ok());
  CAIRN_ASSERT(encode_any(again, frame.data).meta == encoded.meta);
}

void fuzz_log_entry(ByteSpan bytes) {
  Reader reader(bytes);
  LogEntry entry;
  if (!decode(reader, entry)) return;
  Writer writer;
  encode(entry, writer);
  const ByteSpan taken = bytes.first(bytes.size() - reader.remaining());
  CAIRN_ASSERT(std::equal(taken.begin(), taken.end(), writer.span().begin(), writer.span().end()));
}

void fuzz_frame(const Frame& frame) {
  switch (frame.type) {
    case FrameType::ping:
    case FrameType::pong:
      return fuzz_message<Ping>(frame);
    case FrameType::op:
      return fuzz_message<OpRequest>(frame);
    case FrameType::op_reply:
      return fuzz_message<OpReply>(frame);
    case FrameType::replicate:
      return fuzz_message<Replicate>(frame);
    case FrameType::replicate_ack:
      return fuzz_message<ReplicateAck>(frame);
    case FrameType::pull:
      return fuzz_message<Pull>(frame);
    case FrameType::push:
      return fuzz_message<Push>(frame);
    case FrameType::push_ack:
      return fuzz_message<PushAck>(frame);
    case FrameType::lease:
    case FrameType::lease_ack:
      return fuzz_message<Lease>(frame);
    case FrameType::watch_notify:
      return fuzz_message<WatchNotify>(frame);
    case FrameType::watch_notify_ack:
      return fuzz_message<WatchNotifyAck>(frame);
    case FrameType::scrub_request:
      return fuzz_message<ScrubRequest>(frame);
    case FrameType::scrub_reply:
      return fuzz_message<ScrubReply>(frame);
    case FrameType::mark_missing:
      return fuzz_message<MarkMissing>(frame);
    case FrameType::mark_missing_ack:
      return fuzz_message<MarkMissingAck>(frame);
    case FrameType::hello:    // the target frame
    case FrameType::control:  // proto/decoders.test.ts
      return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  constexpr std::size_t kPrefixBytes = 3;
  if (size < kPrefixBytes) return 0;
  const auto type = static_cast<std::uint8_t>(bytes[0] % (kMaxFrameType + 1));
  const std::size_t wanted = load_le<std::uint16_t>(bytes + 1);
  const ByteSpan rest = std::as_bytes(std::span(bytes, size)).subspan(kPrefixBytes);
  if (type == 0) {
    fuzz_log_entry(rest);
    return 0;
  }
  Frame frame;
  frame.type = static_cast<FrameType>(type);
  const ByteSpan meta = rest.first(std::min(wanted, rest.size()));
  frame.meta.assign(meta.begin(), meta.end());
  frame.data = Buffer::copy_of(rest.subspan(meta.size()));
  fuzz_frame(frame);
  return 0;
}
