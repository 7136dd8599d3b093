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

Status check_length(const char* part, std::uint32_t length, std::uint32_t limit) {
  if (length <= limit) return Status::ok();
  return protocol_error("frame with " + std::to_string(length) + " bytes of " + part +
                        ", at most " + std::to_string(limit) + " are allowed");
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
  const std::byte* from = bytes.data();
  // Magic and version come first: another version may keep its checksum elsewhere.
  if (load_le<std::uint32_t>(from) != kFrameMagic)
    return protocol_error("frame magic is wrong: the peer does not speak Cairn's protocol");
  if (const auto version = load_le<std::uint8_t>(from + kVersionOffset); version != kFrameVersion)
    return protocol_error("frame version " + std::to_string(version) + ", expected " +
                          std::to_string(kFrameVersion));
  if (load_le<std::uint32_t>(from + kHeaderCrcOffset) != crc32c(bytes.first(kHeaderCrcOffset)))
    return protocol_error("frame header checksum differs");
  const auto type = load_le<std::uint8_t>(from + kTypeOffset);
  if (type == 0 || type > kMaxFrameType)
    return protocol_error("unknown frame type " + std::to_string(type));
  if (const auto flags = load_le<std::uint16_t>(from + kFlagsOffset); flags != 0)
    return protocol_error("unknown frame flags " + std::to_string(flags));
  FrameHeader header;
  header.type = static_cast<FrameType>(type);
  header.meta_length = load_le<std::uint32_t>(from + kMetaLengthOffset);
  header.data_length = load_le<std::uint32_t>(from + kDataLengthOffset);
  header.sequence = load_le<std::uint64_t>(from + kSequenceOffset);
  header.payload_crc = load_le<std::uint32_t>(from + kPayloadCrcOffset);
  CAIRN_RETURN_IF_ERROR(check_length("meta", header.meta_length, kMaxMetaBytes));
  CAIRN_RETURN_IF_ERROR(check_length("data", header.data_length, kMaxDataBytes));
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
  if (length < target_length) return std::optional<Frame>();
  return advance();
}

Result<std::optional<Frame>> FrameDecoder::feed(ByteSpan bytes, std::size_t& consumed) {
  consumed = 0;
  while (consumed < bytes.size()) {
    const MutableByteSpan target = next_target();
    const std::size_t length = std::min(target.size(), bytes.size() - consumed);
    std::memcpy(target.data(), bytes.data() + consumed, length);
    consumed += length;
    Result<std::optional<Frame>> result = filled(length);
    if (!result || result->has_value()) return result;
  }
  return std::optional<Frame>();
}

// The current target is full: goes to the next part of the frame that has bytes.
Result<std::optional<Frame>> FrameDecoder::advance() {
  if (stage_ == Stage::header) return begin_payload();
  if (stage_ == Stage::meta) {
    if (filled_ < header_.meta_length) {
      frame_.meta.resize(std::min<std::size_t>(header_.meta_length, filled_ * 2));
      return std::optional<Frame>();
    }
    filled_ = 0;
    if (header_.data_length > 0) {
      stage_ = Stage::data;
      return std::optional<Frame>();
    }
  }
  return finish();
}

Result<std::optional<Frame>> FrameDecoder::begin_payload() {
  Result<FrameHeader> header = decode_header(header_bytes_);
  if (!header) return header.status();
  CAIRN_RETURN_IF_ERROR(check_length("meta", header->meta_length, limits_.max_meta_bytes));
  CAIRN_RETURN_IF_ERROR(check_length("data", header->data_length, limits_.max_data_bytes));
  if (header->sequence != next_sequence_)
    return protocol_error("frame sequence " + std::to_string(header->sequence) + ", expected " +
                          std::to_string(next_sequence_));
  header_ = *header;
  frame_.type = header_.type;
  frame_.meta.resize(std::min<std::size_t>(header_.meta_length, kFirstMetaBytes));
  if (header_.data_length > 0) frame_.data = Buffer::allocate(header_.data_length);
  filled_ = 0;
  if (header_.meta_length > 0) {
    stage_ = Stage::meta;
  } else if (header_.data_length > 0) {
    stage_ = Stage::data;
  } else {
    return finish();
  }
  return std::optional<Frame>();
}

Result<std::optional<Frame>> FrameDecoder::finish() {
  CAIRN_RETURN_IF_ERROR(check_payload(header_, frame_));
  ++next_sequence_;
  stage_ = Stage::header;
  filled_ = 0;
  return std::optional<Frame>(std::exchange(frame_, Frame()));
}

}  // namespace cairn::net
