// The frame: the only thing that Cairn's daemons send each other. docs/protocol/frame.md
//
//   offset size field
//        0    4 magic        "CRN1"
//        4    1 version      1
//        5    1 type         FrameType
//        6    2 flags        0
//        8    4 metaLength   at most kMaxMetaBytes
//       12    4 dataLength   at most kMaxDataBytes
//       16    8 sequence     of the connection and direction: 1, 2, 3...; a gap closes it
//       24    4 payloadCrc   CRC-32C of meta, then data
//       28    4 headerCrc    CRC-32C of the bytes 0..27
//       32      meta, then data
//
// meta is a small encoded message, data is payload that is only carried. Decoding checks magic,
// version, lengths and both checksums; any violation is a protocol_error and ends the connection.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/buffer.hh"
#include "base/status.hh"

namespace cairn::net {

constexpr std::size_t kFrameHeaderBytes = 32;
constexpr std::uint32_t kFrameMagic = 0x314e5243;  // "CRN1"
constexpr std::uint8_t kFrameVersion = 1;
constexpr std::uint32_t kMaxMetaBytes = 16U << 20;
constexpr std::uint32_t kMaxDataBytes = 33U << 20;

enum class FrameType : std::uint8_t {
  hello = 1,    // handshake, first frame in each direction
  control = 2,  // msgpack in meta, for TypeScript
  ping = 3,     // heartbeat between OSDs
  pong = 4,
  op = 5,  // client -> primary OSD
  op_reply = 6,
  replicate = 7,  // primary -> replica
  replicate_ack = 8,
  pull = 9,   // recovery: asks for an object
  push = 10,  // recovery: an object's blocks and key-values
  push_ack = 11,
  lease = 12,
  lease_ack = 13,
  watch_notify = 14,      // primary -> watcher
  watch_notify_ack = 15,  // and its answer
  // 16 and 17 are free
  scrub_request = 18,  // what a member has: net/scrub_messages.hh
  scrub_reply = 19,
  mark_missing = 20,  // a member's copy of an object is no good
  mark_missing_ack = 21,
};
constexpr std::uint8_t kMaxFrameType = 21;

struct Frame {
  FrameType type = FrameType::control;
  std::vector<std::byte> meta;
  Buffer data;
};

struct FrameHeader {
  FrameType type = FrameType::control;
  std::uint32_t meta_length = 0;
  std::uint32_t data_length = 0;
  std::uint64_t sequence = 0;
  std::uint32_t payload_crc = 0;
};

// Bytes of the frame on the wire.
inline std::uint64_t frame_bytes(const Frame& frame) {
  return kFrameHeaderBytes + frame.meta.size() + frame.data.size();
}

// Writes the header of the frame (its checksums too) into 32 bytes. Asserts the length limits:
// what a peer may make larger, the caller checks before.
void encode_header(const Frame& frame, std::uint64_t sequence, std::byte* into);
// protocol_error: magic, version, type, flags, lengths or header checksum are wrong.
Result<FrameHeader> decode_header(ByteSpan bytes);
// protocol_error when the payload checksum differs.
Status check_payload(const FrameHeader& header, const Frame& frame);

// The lengths that a decoder accepts: small ones until the peer is known, so that a stranger's
// header can't make it allocate much.
struct FrameLimits {
  std::uint32_t max_meta_bytes = kMaxMetaBytes;
  std::uint32_t max_data_bytes = kMaxDataBytes;
};

// Turns a byte stream into frames without copying payload twice: the caller asks where the next
// bytes belong, fills some of them, and says how many. Many small frames are cheaper to receive
// with one system call into a buffer of the caller's, and feed() from there; when next_target() is
// then large (the rest of a big payload), it is worth receiving straight into it.
// Memory: at most one frame of the limits; meta grows only as bytes arrive. After an error the
// stream has no frame boundaries any more: drop the decoder and close the connection.
class FrameDecoder {
 public:
  explicit FrameDecoder(FrameLimits limits = {}) : limits_(limits) {}
  // Holds from the next header on.
  void set_limits(FrameLimits limits) { limits_ = limits; }
  // Where received bytes are to go; never empty.
  MutableByteSpan next_target();
  // length bytes were placed at next_target(). A frame when that completed one.
  Result<std::optional<Frame>> filled(std::size_t length);
  // As the two above for bytes that lie elsewhere: consumes some of bytes (at most all), returns a
  // frame when one is complete. consumed is set to the number of bytes taken.
  Result<std::optional<Frame>> feed(ByteSpan bytes, std::size_t& consumed);

 private:
  enum class Stage : std::uint8_t { header, meta, data };
  // The current target is full: goes to the next part of the frame that has bytes. True: it is
  // complete, and take() gives it.
  Status advance(bool& complete);
  Status begin_payload(ByteSpan header_bytes, bool& complete);
  Status finish(bool& complete);
  Frame take() { return std::exchange(frame_, Frame()); }
  FrameLimits limits_;
  Stage stage_ = Stage::header;
  std::size_t filled_ = 0;  // of the current stage
  std::uint64_t next_sequence_ = 1;
  std::array<std::byte, kFrameHeaderBytes> header_bytes_{};
  FrameHeader header_;
  Frame frame_;
};

}  // namespace cairn::net
