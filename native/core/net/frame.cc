// The frame codec: headers to bytes and back, and the incremental decoder of a byte stream.
#include "net/frame.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"
#include "base/crc32c.hh"

namespace cairn::net {

namespace {

// Offsets of the header's fields, see the table in frame.hh.
constexpr std::size_t kVersionOffset = 4;
constexpr std::size_t kTypeOffset = 5;
constexpr std::size_t kFlagsOffset = 6;
constexpr std::size_t kMetaLengthOffset = 8;
constexpr std::size_t kDataLengthOffset = 12;
constexpr std::size_t kSequenceOffset = 16;
constexpr std::size_t kPayloadCrcOffset = 24;
constexpr std::size_t kHeaderCrcOffset = 28;

// meta is allocated in steps that double from here, as its bytes arrive.
constexpr std::size_t kFirstMetaBytes = std::size_t{64} << 10;

Status protocol_error(std::string message) {
  return {ErrorCode::protocol_error, std::move(message)};
}

std::uint32_t payload_crc(const Frame& frame) {
  return crc32c(frame.data.span(), crc32c(frame.meta));
}

Status too_long(const char* part, std::uint32_t length, std::uint32_t limit) {
  return protocol_error("frame with " + std::to_string(length) + " bytes of " + part +
                        ", at most " + std::to_string(limit) + " are allowed");
}

Status check_lengths(const FrameHeader& header, const FrameLimits& limits) {
  if (header.meta_length > limits.max_meta_bytes)
    return too_long("meta", header.meta_length, limits.max_meta_bytes);
  if (header.data_length > limits.max_data_bytes)
    return too_long("data", header.data_length, limits.max_data_bytes);
  return Status::ok();
}

// decode_header() but for the lengths, which the caller checks.
Status decode_fields(const std::byte* from, FrameHeader& header) {
  // Magic and version come first: another version may keep its checksum elsewhere.
  if (load_le<std::uint32_t>(from) != kFrameMagic)
    return protocol_error("frame magic is wrong: the peer does not speak Cairn's protocol");
  if (const auto version = load_le<std::uint8_t>(from + kVersionOffset); version != kFrameVersion)
    return protocol_error("frame version " + std::to_string(version) + ", expected " +
                          std::to_string(kFrameVersion));
  if (load_le<std::uint32_t>(from + kHeaderCrcOffset) != crc32c({from, kHeaderCrcOffset}))
    return protocol_error("frame header checksum differs");
  const auto type = load_le<std::uint8_t>(from + kTypeOffset);
  if (type == 0 || type > kMaxFrameType)
    return protocol_error("unknown frame type " + std::to_string(type));
  if (const auto flags = load_le<std::uint16_t>(from + kFlagsOffset); flags != 0)
    return protocol_error("unknown frame flags " + std::to_string(flags));
  header.type = static_cast<FrameType>(type);
  header.meta_length = load_le<std::uint32_t>(from + kMetaLengthOffset);
  header.data_length = load_le<std::uint32_t>(from + kDataLengthOffset);
  header.sequence = load_le<std::uint64_t>(from + kSequenceOffset);
  header.payload_crc = load_le<std::uint32_t>(from + kPayloadCrcOffset);
  return Status::ok();
}

}  // namespace

void encode_header(const Frame& frame, std::uint64_t sequence, std::byte* into) {
  CAIRN_ASSERT(frame.meta.size() <= kMaxMetaBytes);
  CAIRN_ASSERT(frame.data.size() <= kMaxDataBytes);
  store_le(into, kFrameMagic);
  store_le(into + kVersionOffset, kFrameVersion);
  store_le(into + kTypeOffset, static_cast<std::uint8_t>(frame.type));
  store_le(into + kFlagsOffset, std::uint16_t{0});
  store_le(into + kMetaLengthOffset, static_cast<std::uint32_t>(frame.meta.size()));
  store_le(into + kDataLengthOffset, static_cast<std::uint32_t>(frame.data.size()));
  store_le(into + kSequenceOffset, sequence);
  store_le(into + kPayloadCrcOffset, payload_crc(frame));
  store_le(into + kHeaderCrcOffset, crc32c({into, kHeaderCrcOffset}));
}

Result<FrameHeader> decode_header(ByteSpan bytes) {
  if (bytes.size() < kFrameHeaderBytes) return protocol_error("frame header is cut short");
  FrameHeader header;
  CAIRN_RETURN_IF_ERROR(decode_fields(bytes.data(), header));
  CAIRN_RETURN_IF_ERROR(check_lengths(header, {}));
  return header;
}

Status check_payload(const FrameHeader& header, const Frame& frame) {
  if (payload_crc(frame) == header.payload_crc) return Status::ok();
  return protocol_error("frame payload checksum differs");
}

MutableByteSpan FrameDecoder::next_target() {
  switch (stage_) {
    case Stage::header:
      return MutableByteSpan(header_bytes_).subspan(filled_);
    case Stage::meta:
      return MutableByteSpan(frame_.meta).subspan(filled_);
    case Stage::data:
      break;
  }
  return frame_.data.span().subspan(filled_);
}

Result<std::optional<Frame>> FrameDecoder::filled(std::size_t length) {
  const std::size_t target_length = next_target().size();
  CAIRN_ASSERT(length <= target_length);
  filled_ += length;
  bool complete = false;
  if (length == target_length) CAIRN_RETURN_IF_ERROR(advance(complete));
  return complete ? std::optional<Frame>(take()) : std::optional<Frame>();
}

Result<std::optional<Frame>> FrameDecoder::feed(ByteSpan bytes, std::size_t& consumed) {
  consumed = 0;
  bool complete = false;
  while (consumed < bytes.size() && !complete) {
    const ByteSpan rest = bytes.subspan(consumed);
    if (stage_ == Stage::header && filled_ == 0 && rest.size() >= kFrameHeaderBytes) {
      // From where it is.
      consumed += kFrameHeaderBytes;
      CAIRN_RETURN_IF_ERROR(begin_payload(rest.first(kFrameHeaderBytes), complete));
      continue;
    }
    const MutableByteSpan target = next_target();
    const std::size_t length = std::min(target.size(), rest.size());
    std::memcpy(target.data(), rest.data(), length);
    consumed += length;
    filled_ += length;
    if (length == target.size()) CAIRN_RETURN_IF_ERROR(advance(complete));
  }
  return complete ? std::optional<Frame>(take()) : std::optional<Frame>();
}

Status FrameDecoder::advance(bool& complete) {
  if (stage_ == Stage::header) return begin_payload(header_bytes_, complete);
  if (stage_ == Stage::meta) {
    if (filled_ < header_.meta_length) {
      frame_.meta.resize(std::min<std::size_t>(header_.meta_length, filled_ * 2));
      return Status::ok();
    }
    filled_ = 0;
    if (header_.data_length > 0) {
      stage_ = Stage::data;
      return Status::ok();
    }
  }
  return finish(complete);
}

Status FrameDecoder::begin_payload(ByteSpan header_bytes, bool& complete) {
  CAIRN_RETURN_IF_ERROR(decode_fields(header_bytes.data(), header_));
  CAIRN_RETURN_IF_ERROR(check_lengths(header_, {}));
  CAIRN_RETURN_IF_ERROR(check_lengths(header_, limits_));
  if (header_.sequence != next_sequence_)
    return protocol_error("frame sequence " + std::to_string(header_.sequence) + ", expected " +
                          std::to_string(next_sequence_));
  frame_.type = header_.type;
  frame_.meta.resize(std::min<std::size_t>(header_.meta_length, kFirstMetaBytes));
  if (header_.data_length > 0) frame_.data = Buffer::allocate(header_.data_length);
  filled_ = 0;
  if (header_.meta_length > 0) {
    stage_ = Stage::meta;
  } else if (header_.data_length > 0) {
    stage_ = Stage::data;
  } else {
    return finish(complete);
  }
  return Status::ok();
}

Status FrameDecoder::finish(bool& complete) {
  CAIRN_RETURN_IF_ERROR(check_payload(header_, frame_));
  ++next_sequence_;
  stage_ = Stage::header;
  filled_ = 0;
  complete = true;
  return Status::ok();
}

}  // namespace cairn::net
