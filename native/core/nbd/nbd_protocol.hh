// The NBD wire format: constants, the request header, and the encoders of everything that the
// server sends after negotiation. Pure. Source: "The NBD protocol" (proto.md of the
// NetworkBlockDevice project), fixed newstyle and structured replies; docs/protocol/nbd.md says
// which part we speak. All numbers on the wire are big-endian.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.hh"
#include "base/status.hh"
#include "image/block_device.hh"

namespace cairn::nbd {

constexpr std::uint64_t kInitMagic = 0x4e42444d41474943;    // "NBDMAGIC"
constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
constexpr std::uint64_t kOptionReplyMagic = 0x3e889045565a9;
constexpr std::uint32_t kRequestMagic = 0x25609513;
constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;

// Handshake flags, of the server (16 bits) and of the client (32 bits).
constexpr std::uint16_t kFlagFixedNewstyle = 1 << 0;
constexpr std::uint16_t kFlagNoZeroes = 1 << 1;

enum class Option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
};

enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  error_unsupported = (1U << 31) + 1,
  error_policy = (1U << 31) + 2,
  error_invalid = (1U << 31) + 3,
  error_unknown = (1U << 31) + 6,
};

enum class InfoType : std::uint16_t { export_size = 0, name = 1, description = 2, block_size = 3 };

// Transmission flags of the export.
constexpr std::uint16_t kExportHasFlags = 1 << 0;
constexpr std::uint16_t kExportReadOnly = 1 << 1;
constexpr std::uint16_t kExportSendFlush = 1 << 2;
constexpr std::uint16_t kExportSendFua = 1 << 3;
constexpr std::uint16_t kExportSendTrim = 1 << 5;
constexpr std::uint16_t kExportSendWriteZeroes = 1 << 6;
constexpr std::uint16_t kExportSendDf = 1 << 7;
constexpr std::uint16_t kExportCanMultiConn = 1 << 8;
constexpr std::uint16_t kExportSendFastZero = 1 << 11;

enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  write_zeroes = 6,
  block_status = 7,
};

// Command flags.
constexpr std::uint16_t kCommandFua = 1 << 0;
constexpr std::uint16_t kCommandNoHole = 1 << 1;
constexpr std::uint16_t kCommandDf = 1 << 2;
constexpr std::uint16_t kCommandReqOne = 1 << 3;
constexpr std::uint16_t kCommandFastZero = 1 << 4;

constexpr std::uint16_t kReplyFlagDone = 1 << 0;
enum class ReplyType : std::uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  error = (1U << 15) + 1,
};

// base:allocation states.
constexpr std::uint32_t kStateHole = 1 << 0;
constexpr std::uint32_t kStateZero = 1 << 1;
// qemu:dirty-bitmap states.
constexpr std::uint32_t kStateDirty = 1 << 0;

// Errors on the wire: the specification fixes these numbers.
enum class WireError : std::uint32_t {
  none = 0,
  eperm = 1,
  eio = 5,
  enomem = 12,
  einval = 22,
  enospc = 28,
  eoverflow = 75,
  eshutdown = 108,
};

constexpr std::size_t kRequestBytes = 28;
constexpr std::size_t kSimpleReplyBytes = 16;
constexpr std::size_t kChunkHeaderBytes = 20;
constexpr std::size_t kMaxNameBytes = 4096;  // of an export or a query, by the specification
// The longest option that we read: INFO with a longest name and 30 000 information requests.
constexpr std::uint32_t kMaxOptionBytes = 64U << 10;
constexpr std::uint32_t kMaxPayloadBytes = 32U << 20;  // of one READ or WRITE; advertised
constexpr std::uint32_t kPreferredBlockBytes = 4096;
constexpr std::uint32_t kMetaContextId = 1;         // of base:allocation
constexpr std::uint32_t kFirstBitmapContextId = 2;  // of the export's first dirty bitmap
constexpr std::string_view kBaseAllocation = "base:allocation";
constexpr std::string_view kDirtyBitmapPrefix = "qemu:dirty-bitmap:";
// Dirty bitmaps that a client may select at a time.
constexpr std::size_t kMaxSelectedBitmaps = 7;
// A BLOCK_STATUS answers for at most this many bytes. At one extent per 4 KiB block that is 65 536
// extents of 24 bytes, and half a MiB of reply.
constexpr std::uint64_t kMaxStatusBytes = std::uint64_t{256} << 20;

// What the export looks like to a client.
struct ExportInfo {
  std::string name;
  std::string description;
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  std::vector<std::string> bitmaps = {};  // names of the dirty bitmaps
};
// has_flags and what else the export can do; df: structured replies were negotiated.
std::uint16_t transmission_flags(const ExportInfo& info, bool df);

struct RequestHeader {
  std::uint16_t flags = 0;
  std::uint16_t command = 0;  // a Command, or unknown
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;
  std::uint32_t length_bytes = 0;
};
// protocol_error: the magic is wrong, or a WRITE announces more than kMaxPayloadBytes: its payload
// can neither be stored nor skipped in bounded time, so the connection ends.
Result<RequestHeader> decode_request(std::span<const std::byte, kRequestBytes> bytes);

// What was negotiated before the transmission phase.
struct Negotiated {
  bool structured_replies = false;
  bool base_allocation = false;
  std::vector<std::uint32_t> bitmaps = {};  // indices into ExportInfo::bitmaps
};

// What the specification lets this client ask of this export: none, or the error to answer.
WireError check_request(const RequestHeader& request, const ExportInfo& info,
                        const Negotiated& negotiated);
// Memory that the request holds until its reply has been sent, in bytes; at most
// kMaxRequestMemoryBytes.
std::uint64_t request_memory_bytes(const RequestHeader& request);
constexpr std::uint64_t kRequestOverheadBytes = 1024;
constexpr std::uint64_t kMaxRequestMemoryBytes = kMaxPayloadBytes + kRequestOverheadBytes;

WireError to_wire_error(const Status& status);

// A piece of the stream to the client: a small head, then payload that is not copied.
struct ReplyPart {
  static constexpr std::size_t kMaxHeadBytes = 32;
  std::array<std::byte, kMaxHeadBytes> head;
  std::size_t head_length = 0;
  Buffer payload;
};
using ReplyParts = std::vector<ReplyPart>;

// Each appends one complete reply (all its chunks).
// The outcome of a command that returns no data.
void append_status(ReplyParts& parts, const RequestHeader& request, bool structured,
                   WireError error, std::string_view message);
// A READ's data. Structured replies send runs of zero blocks as holes, unless DF forbids it.
void append_read(ReplyParts& parts, const RequestHeader& request, bool structured, Buffer data);
// A BLOCK_STATUS: extents cover the request's range from its offset on, as far as they go;
// neighbours of the same state are merged, all is clipped to the range. Needs one extent at least.
// last: no other context follows.
void append_block_status(ReplyParts& parts, const RequestHeader& request,
                         std::span<const image::Extent> extents, bool last = true);
// The same of a dirty bitmap: dirty has what differs in the first covered_bytes of the range.
void append_dirty_status(ReplyParts& parts, const RequestHeader& request, std::uint32_t bitmap,
                         std::span<const image::Extent> dirty, std::uint64_t covered_bytes,
                         bool last);

}  // namespace cairn::nbd
