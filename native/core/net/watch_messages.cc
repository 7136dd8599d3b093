// Encoding of the two frames of watch and notify; they share their layout.
#include "net/watch_messages.hh"

#include "net/id_encoding.hh"

namespace cairn::net {

namespace {

template <typename Message>
Frame encode_message(FrameType type, const Message& message, const std::string& body) {
  CAIRN_ASSERT(body.size() <= kMaxNotifyPayloadBytes);
  Writer writer;
  writer.reserve(48 + message.object.size() + message.cookie.size() + body.size());
  put_pg(writer, message.pg);
  writer.put(message.notify_id);
  writer.text16(message.object);
  writer.text16(message.cookie);
  writer.blob32(as_bytes(body));
  Frame frame;
  frame.type = type;
  frame.meta = writer.take();
  return frame;
}

template <typename Message>
Status decode_message(const Frame& frame, Message& into, std::string& body) {
  Reader reader(frame.meta);
  into.pg = get_pg(reader);
  into.notify_id = reader.get<std::uint64_t>();
  into.object = reader.text16();
  into.cookie = reader.text16();
  body = as_text(reader.blob32());
  const bool fits = !into.object.empty() && into.object.size() <= kMaxObjectNameBytes &&
                    into.cookie.size() <= kMaxCookieBytes && body.size() <= kMaxNotifyPayloadBytes;
  if (fits && reader.at_end() && frame.data.empty()) return Status::ok();
  return Status(ErrorCode::protocol_error, "malformed watch notification");
}

}  // namespace

Frame encode(const WatchNotify& message) {
  return encode_message(FrameType::watch_notify, message, message.payload);
}
Frame encode(const WatchNotifyAck& message) {
  return encode_message(FrameType::watch_notify_ack, message, message.reply);
}
Status decode(const Frame& frame, WatchNotify& into) {
  return decode_message(frame, into, into.payload);
}
Status decode(const Frame& frame, WatchNotifyAck& into) {
  return decode_message(frame, into, into.reply);
}

}  // namespace cairn::net
