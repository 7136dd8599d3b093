// The codec of vhost-user messages; see the header.
#include "vhost_user/message.hh"

#include <string>

namespace cairn::vhost_user {

namespace {

// Requests of the back end are numbered apart from those of the front end.
constexpr auto kBackendConfigChange = static_cast<Request>(2);

}  // namespace

Result<Header> decode_header(ByteSpan bytes) {
  Reader reader(bytes);
  Header header;
  header.request = static_cast<Request>(reader.get<std::uint32_t>());
  header.flags = reader.get<std::uint32_t>();
  header.payload_bytes = reader.get<std::uint32_t>();
  if (!reader.ok()) return Status{ErrorCode::protocol_error, "a header is cut short"};
  if ((header.flags & kFlagVersionMask) != kVersion)
    return Status{
        ErrorCode::protocol_error,
        "a header has version " + std::to_string(header.flags & kFlagVersionMask) + ", not 1"};
  if (header.payload_bytes > kMaxPayloadBytes)
    return Status{
        ErrorCode::protocol_error,
        "a payload of " + std::to_string(header.payload_bytes) + " bytes is over the limit of 512"};
  return header;
}

std::vector<std::byte> encode(const Message& message) {
  std::uint32_t flags = kVersion;
  if (message.reply) flags |= kFlagReply;
  if (message.need_reply) flags |= kFlagNeedReply;
  Writer writer;
  writer.put(static_cast<std::uint32_t>(message.request));
  writer.put(flags);
  writer.put(static_cast<std::uint32_t>(message.payload.size()));
  writer.raw(message.payload);
  return writer.take();
}

Message reply_u64(Request request, std::uint64_t value) {
  Message message;
  message.request = request;
  message.reply = true;
  Writer writer;
  writer.put(value);
  message.payload = writer.take();
  return message;
}

Message config_changed() {
  Message message;
  message.request = kBackendConfigChange;
  return message;
}

MemoryRegion read_region(Reader& reader) {
  MemoryRegion region;
  region.guest_address = reader.get<std::uint64_t>();
  region.length_bytes = reader.get<std::uint64_t>();
  region.front_end_address = reader.get<std::uint64_t>();
  region.file_offset = reader.get<std::uint64_t>();
  return region;
}

void write_region(Writer& writer, const MemoryRegion& region) {
  writer.put(region.guest_address);
  writer.put(region.length_bytes);
  writer.put(region.front_end_address);
  writer.put(region.file_offset);
}

}  // namespace cairn::vhost_user
