// Encoding of the scrub messages. Field order here is the byte table of docs/protocol/data-path.md.
#include "net/scrub_messages.hh"

#include <utility>

#include "net/id_encoding.hh"

namespace cairn::net {

namespace {

constexpr std::size_t kMaxBlocks = kMaxObjectBytes / kBlockBytes;

Status bad(const char* what) {
  return Status(ErrorCode::protocol_error, std::string("malformed ") + what);
}

Frame finish(FrameType type, Writer& writer) {
  Frame frame;
  frame.type = type;
  frame.meta = writer.take();
  return frame;
}

// The fields that all of these messages begin with.
template <typename Message>
void put_head(Writer& writer, const Message& message) {
  put_pg(writer, message.pg);
  writer.put(message.interval);
  writer.put(message.id);
}
template <typename Message>
void get_head(Reader& reader, Message& into) {
  into.pg = get_pg(reader);
  into.interval = reader.get<std::uint32_t>();
  into.id = reader.get<std::uint64_t>();
}

std::string get_name(Reader& reader, bool may_be_empty) {
  const std::string_view name = reader.text16();
  if (name.size() > kMaxObjectNameBytes || (name.empty() && !may_be_empty)) reader.fail();
  return std::string(name);
}

void put_object(Writer& writer, const ScrubObject& object) {
  writer.text16(object.name);
  writer.put(static_cast<std::uint16_t>(object.code));
  writer.put(static_cast<std::uint8_t>(object.exists ? 1 : 0));
  put_version(writer, object.version);
  writer.put(object.data_blocks);
  writer.put(object.blocks_digest);
  writer.put(object.omap_digest);
  writer.put(static_cast<std::uint32_t>(object.bad_blocks.size()));
  for (const std::uint32_t index : object.bad_blocks) writer.put(index);
}

// Counts and indices of blocks: at most what an object has, ascending.
void get_object(Reader& reader, ScrubObject& into) {
  into.name = get_name(reader, false);
  into.code = static_cast<ErrorCode>(reader.get<std::uint16_t>());
  const auto exists = reader.get<std::uint8_t>();
  if (exists > 1) return reader.fail();
  into.exists = exists == 1;
  into.version = get_version(reader);
  into.data_blocks = reader.get<std::uint32_t>();
  into.blocks_digest = reader.get<std::uint32_t>();
  into.omap_digest = reader.get<std::uint32_t>();
  const auto bad_count = reader.get<std::uint32_t>();
  if (into.data_blocks > kMaxBlocks || bad_count > kMaxBlocks) return reader.fail();
  std::uint32_t next_index = 0;
  for (std::uint32_t i = 0; i < bad_count && reader.ok(); ++i) {
    const auto index = reader.get<std::uint32_t>();
    if (index < next_index || index >= kMaxBlocks) return reader.fail();
    next_index = index + 1;
    into.bad_blocks.push_back(index);
  }
}

}  // namespace

Frame encode(const ScrubRequest& message) {
  Writer writer;
  put_head(writer, message);
  writer.put(static_cast<std::uint8_t>(message.question));
  writer.text16(message.name);
  writer.text16(message.end);
  writer.put(message.bytes_per_second);
  writer.blob32(as_bytes(message.record));
  return finish(FrameType::scrub_request, writer);
}

Status decode(const Frame& frame, ScrubRequest& into) {
  Reader reader(frame.meta);
  get_head(reader, into);
  const auto question = reader.get<std::uint8_t>();
  if (question < 1 || question > 5) return bad("scrub_request");
  into.question = static_cast<ScrubQuestion>(question);
  into.name = get_name(reader, into.question != ScrubQuestion::verify);
  into.end = get_name(reader, true);
  into.bytes_per_second = reader.get<std::uint64_t>();
  into.record = as_text(reader.blob32());
  if (into.record.size() > kMaxScrubRecordBytes) return bad("scrub_request");
  return reader.at_end() ? Status::ok() : bad("scrub_request");
}

Frame encode(const ScrubReply& message) {
  Writer writer;
  put_head(writer, message);
  writer.put(static_cast<std::uint16_t>(message.code));
  writer.text16(message.end);
  writer.put(static_cast<std::uint32_t>(message.objects.size()));
  for (const ScrubObject& object : message.objects) put_object(writer, object);
  return finish(FrameType::scrub_reply, writer);
}

Status decode(const Frame& frame, ScrubReply& into) {
  Reader reader(frame.meta);
  get_head(reader, into);
  into.code = static_cast<ErrorCode>(reader.get<std::uint16_t>());
  into.end = get_name(reader, true);
  const auto count = reader.get<std::uint32_t>();
  if (count > kMaxScrubObjects) return bad("scrub_reply");
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
    ScrubObject object;
    get_object(reader, object);
    if (!into.objects.empty() && object.name <= into.objects.back().name) reader.fail();
    into.objects.push_back(std::move(object));
  }
  return reader.at_end() ? Status::ok() : bad("scrub_reply");
}

Frame encode(const MarkMissing& message) {
  Writer writer;
  put_head(writer, message);
  writer.text16(message.object);
  writer.put(message.version.epoch);
  writer.put(message.version.number);
  return finish(FrameType::mark_missing, writer);
}

Status decode(const Frame& frame, MarkMissing& into) {
  Reader reader(frame.meta);
  get_head(reader, into);
  into.object = get_name(reader, false);
  into.version.epoch = reader.get<std::uint32_t>();
  into.version.number = reader.get<std::uint64_t>();
  return reader.at_end() ? Status::ok() : bad("mark_missing");
}

Frame encode(const MarkMissingAck& message) {
  Writer writer;
  put_head(writer, message);
  writer.put(static_cast<std::uint16_t>(message.code));
  return finish(FrameType::mark_missing_ack, writer);
}

Status decode(const Frame& frame, MarkMissingAck& into) {
  Reader reader(frame.meta);
  get_head(reader, into);
  into.code = static_cast<ErrorCode>(reader.get<std::uint16_t>());
  return reader.at_end() ? Status::ok() : bad("mark_missing_ack");
}

}  // namespace cairn::net
