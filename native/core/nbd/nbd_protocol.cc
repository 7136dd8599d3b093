// Encoding and validation for nbd_protocol.hh.
#include "nbd/nbd_protocol.hh"

#include <algorithm>
#include <string>

#include "base/zeros.hh"

namespace cairn::nbd {

namespace {

constexpr std::size_t kHoleGranularityBytes = 4096;

template <typename T>
void put(ReplyPart& part, T value) {
  CAIRN_ASSERT(part.head_length + sizeof value <= ReplyPart::kMaxHeadBytes);
  store_be(part.head.data() + part.head_length, value);
  part.head_length += sizeof value;
}

ReplyPart chunk(const RequestHeader& request, ReplyType type, std::size_t length, bool done) {
  ReplyPart part;
  put(part, kStructuredReplyMagic);
  put(part, done ? kReplyFlagDone : std::uint16_t{0});
  put(part, static_cast<std::uint16_t>(type));
  put(part, request.cookie);
  put(part, static_cast<std::uint32_t>(length));
  return part;
}

ReplyPart simple_reply(const RequestHeader& request, WireError error) {
  ReplyPart part;
  put(part, kSimpleReplyMagic);
  put(part, static_cast<std::uint32_t>(error));
  put(part, request.cookie);
  return part;
}

std::uint32_t state_flags(image::ExtentState state) {
  switch (state) {
    case image::ExtentState::data:
      return 0;
    case image::ExtentState::zero:
      return kStateZero;
    case image::ExtentState::absent:
      return kStateHole | kStateZero;
  }
  return 0;
}

struct Descriptor {
  std::uint32_t length;
  std::uint32_t flags;
};

// The range from position to until; position moves there.
void add_descriptor(std::vector<Descriptor>& descriptors, std::uint64_t& position,
                    std::uint64_t until, std::uint32_t flags) {
  if (until <= position) return;
  const auto length = static_cast<std::uint32_t>(until - position);
  if (!descriptors.empty() && descriptors.back().flags == flags) {
    descriptors.back().length += length;
  } else {
    descriptors.push_back({length, flags});
  }
  position = until;
}

void append_descriptors(ReplyParts& parts, const RequestHeader& request, std::uint32_t context,
                        std::vector<Descriptor> descriptors, bool last) {
  CAIRN_ASSERT(!descriptors.empty());
  if ((request.flags & kCommandReqOne) != 0)
    descriptors.erase(descriptors.begin() + 1, descriptors.end());
  ReplyPart part =
      chunk(request, ReplyType::block_status, 4 + descriptors.size() * sizeof(Descriptor), last);
  put(part, context);
  part.payload = Buffer::allocate(descriptors.size() * sizeof(Descriptor));
  std::byte* at = part.payload.data();
  for (const Descriptor& descriptor : descriptors) {
    store_be(at, descriptor.length);
    store_be(at + 4, descriptor.flags);
    at += sizeof descriptor;
  }
  parts.push_back(std::move(part));
}

struct CommandRule {
  Command command;
  std::uint16_t flags;  // allowed beside FUA, which every command may carry
  bool modifies;
  bool has_range;  // offset and length name a part of the export
};
constexpr CommandRule kRules[] = {
    {Command::read, kCommandDf, false, true},
    {Command::write, 0, true, true},
    {Command::flush, 0, false, false},
    {Command::trim, 0, true, true},
    {Command::write_zeroes, kCommandNoHole | kCommandFastZero, true, true},
    {Command::block_status, kCommandReqOne, false, true},
};

}  // namespace

std::uint16_t transmission_flags(const ExportInfo& info, bool df) {
  std::uint16_t flags = kExportHasFlags | kExportSendFlush | kExportSendFua | kExportCanMultiConn;
  if (df) flags |= kExportSendDf;
  flags |= info.read_only ? kExportReadOnly
                          : kExportSendTrim | kExportSendWriteZeroes | kExportSendFastZero;
  return flags;
}

Result<RequestHeader> decode_request(std::span<const std::byte, kRequestBytes> bytes) {
  const std::byte* at = bytes.data();
  if (load_be<std::uint32_t>(at) != kRequestMagic)
    return Status{ErrorCode::protocol_error, "a request has the wrong magic"};
  RequestHeader request{.flags = load_be<std::uint16_t>(at + 4),
                        .command = load_be<std::uint16_t>(at + 6),
                        .cookie = load_be<std::uint64_t>(at + 8),
                        .offset = load_be<std::uint64_t>(at + 16),
                        .length_bytes = load_be<std::uint32_t>(at + 24)};
  const bool write = request.command == static_cast<std::uint16_t>(Command::write);
  if (write && request.length_bytes > kMaxPayloadBytes)
    return Status{ErrorCode::protocol_error,
                  "a WRITE of " + std::to_string(request.length_bytes) + " bytes is above the " +
                      std::to_string(kMaxPayloadBytes) + " that the export advertises"};
  return request;
}

WireError check_request(const RequestHeader& request, const ExportInfo& info,
                        const Negotiated& negotiated) {
  const auto* rule = std::find_if(std::begin(kRules), std::end(kRules), [&](const auto& each) {
    return static_cast<std::uint16_t>(each.command) == request.command;
  });
  if (rule == std::end(kRules)) return WireError::einval;
  if ((request.flags & ~(rule->flags | kCommandFua)) != 0) return WireError::einval;
  if ((request.flags & kCommandDf) != 0 && !negotiated.structured_replies) return WireError::einval;
  const bool has_context = negotiated.base_allocation || !negotiated.bitmaps.empty();
  if (rule->command == Command::block_status && !has_context) return WireError::einval;
  if (rule->modifies && info.read_only) return WireError::eperm;
  if (!rule->has_range) {
    const bool reserved_are_zero = request.offset == 0 && request.length_bytes == 0;
    return reserved_are_zero ? WireError::none : WireError::einval;
  }
  if (request.offset > info.size_bytes || request.length_bytes > info.size_bytes - request.offset) {
    const bool writes_data =
        rule->command == Command::write || rule->command == Command::write_zeroes;
    return writes_data ? WireError::enospc : WireError::einval;
  }
  if (rule->command == Command::read && request.length_bytes > kMaxPayloadBytes)
    return WireError::eoverflow;
  // The specification leaves an empty READ or BLOCK_STATUS undefined; the latter cannot be
  // answered, because its reply needs one descriptor with a length.
  if (rule->command == Command::block_status && request.length_bytes == 0) return WireError::einval;
  return WireError::none;
}

std::uint64_t request_memory_bytes(const RequestHeader& request) {
  switch (static_cast<Command>(request.command)) {
    case Command::read:
    case Command::write:
      // A READ above the limit is refused and holds nothing.
      return kRequestOverheadBytes +
             (request.length_bytes <= kMaxPayloadBytes ? request.length_bytes : 0);
    case Command::block_status: {
      // Per 4 KiB block at worst: one extent of the device, since one context is asked at a time,
      // and 8 bytes of reply for each.
      const std::uint64_t range = std::min<std::uint64_t>(request.length_bytes, kMaxStatusBytes);
      return kRequestOverheadBytes +
             range / kHoleGranularityBytes *
                 (sizeof(image::Extent) + (1 + kMaxSelectedBitmaps) * sizeof(Descriptor));
    }
    default:
      return kRequestOverheadBytes;
  }
}

WireError to_wire_error(const Status& status) {
  switch (status.code()) {
    case ErrorCode::ok:
      return WireError::none;
    case ErrorCode::read_only:
    case ErrorCode::permission_denied:
    case ErrorCode::fenced:
      return WireError::eperm;
    case ErrorCode::no_space:
    case ErrorCode::too_large:
      return WireError::enospc;
    case ErrorCode::invalid_argument:
    case ErrorCode::out_of_range:
      return WireError::einval;
    case ErrorCode::canceled:
      return WireError::eshutdown;
    default:
      return WireError::eio;
  }
}

void append_status(ReplyParts& parts, const RequestHeader& request, bool structured,
                   WireError error, std::string_view message) {
  if (!structured) {
    parts.push_back(simple_reply(request, error));
    return;
  }
  if (error == WireError::none) {
    parts.push_back(chunk(request, ReplyType::none, 0, true));
    return;
  }
  message = message.substr(0, kMaxNameBytes);
  ReplyPart part = chunk(request, ReplyType::error, 6 + message.size(), true);
  put(part, static_cast<std::uint32_t>(error));
  put(part, static_cast<std::uint16_t>(message.size()));
  part.payload = Buffer::copy_of(as_bytes(message));
  parts.push_back(std::move(part));
}

void append_read(ReplyParts& parts, const RequestHeader& request, bool structured, Buffer data) {
  if (!structured) {
    ReplyPart part = simple_reply(request, WireError::none);
    part.payload = std::move(data);
    parts.push_back(std::move(part));
    return;
  }
  if (data.empty()) {
    parts.push_back(chunk(request, ReplyType::none, 0, true));
    return;
  }
  const bool one_chunk = (request.flags & kCommandDf) != 0;
  std::size_t position = 0;
  while (position < data.size()) {
    const std::uint64_t offset = request.offset + position;
    const ByteSpan rest = data.span().subspan(position);
    ZeroRun run{.length = rest.size(), .zero = false};
    if (!one_chunk)
      run = next_zero_run(rest, offset % kHoleGranularityBytes, kHoleGranularityBytes);
    const bool done = run.length == rest.size();
    const std::size_t body = run.zero ? 12 : 8 + run.length;
    ReplyPart part =
        chunk(request, run.zero ? ReplyType::offset_hole : ReplyType::offset_data, body, done);
    put(part, offset);
    if (run.zero) {
      put(part, static_cast<std::uint32_t>(run.length));
    } else {
      part.payload = data.slice(position, run.length);
    }
    parts.push_back(std::move(part));
    position += run.length;
  }
}

void append_block_status(ReplyParts& parts, const RequestHeader& request,
                         std::span<const image::Extent> extents, bool last) {
  const std::uint64_t end = request.offset + request.length_bytes;
  std::vector<Descriptor> descriptors;
  std::uint64_t position = request.offset;
  for (const image::Extent& extent : extents) {
    const std::uint64_t until = std::min(end, extent.offset + extent.length_bytes);
    add_descriptor(descriptors, position, until, state_flags(extent.state));
  }
  append_descriptors(parts, request, kMetaContextId, std::move(descriptors), last);
}

void append_dirty_status(ReplyParts& parts, const RequestHeader& request, std::uint32_t bitmap,
                         std::span<const image::Extent> dirty, std::uint64_t covered_bytes,
                         bool last) {
  const std::uint64_t end = request.offset + covered_bytes;
  std::vector<Descriptor> descriptors;
  std::uint64_t position = request.offset;
  for (const image::Extent& extent : dirty) {
    add_descriptor(descriptors, position, std::min(end, extent.offset), 0);
    const std::uint64_t until = std::min(end, extent.offset + extent.length_bytes);
    add_descriptor(descriptors, position, until, kStateDirty);
  }
  add_descriptor(descriptors, position, end, 0);
  append_descriptors(parts, request, kFirstBitmapContextId + bitmap, std::move(descriptors), last);
}

}  // namespace cairn::nbd
