// The vhost-user messages as values: a header of 12 bytes (u32 request, u32 flags, u32 payload
// size, in host order), a payload, and descriptors beside them. QEMU's docs/interop/vhost-user.rst.
// Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.hh"
#include "base/status.hh"
#include "vhost_user/file_descriptor.hh"

namespace cairn::vhost_user {

enum class Request : std::uint32_t {
  get_features = 1,
  set_features = 2,
  set_owner = 3,
  reset_owner = 4,
  set_mem_table = 5,
  set_vring_num = 8,
  set_vring_addr = 9,
  set_vring_base = 10,
  get_vring_base = 11,
  set_vring_kick = 12,
  set_vring_call = 13,
  set_vring_err = 14,
  get_protocol_features = 15,
  set_protocol_features = 16,
  get_queue_num = 17,
  set_vring_enable = 18,
  set_backend_req_fd = 21,
  get_config = 24,
  set_config = 25,
  get_max_mem_slots = 36,
  add_mem_reg = 37,
  rem_mem_reg = 38,
};

// Bit 30 of the virtio features: the protocol features below can be negotiated.
constexpr std::uint64_t kFeatureProtocolFeatures = std::uint64_t{1} << 30;

constexpr std::uint64_t kProtocolMultiQueue = std::uint64_t{1} << 0;
constexpr std::uint64_t kProtocolReplyAck = std::uint64_t{1} << 3;
constexpr std::uint64_t kProtocolBackendRequests = std::uint64_t{1} << 5;
constexpr std::uint64_t kProtocolConfig = std::uint64_t{1} << 9;
constexpr std::uint64_t kProtocolConfigureMemSlots = std::uint64_t{1} << 15;

constexpr std::size_t kHeaderBytes = 12;
// The largest payload known is the memory table: 8 + 8 regions of 32. Room for a little more.
constexpr std::size_t kMaxPayloadBytes = 512;
constexpr std::size_t kMaxDescriptors = 8;  // VHOST_MEMORY_BASELINE_NREGIONS

constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kFlagVersionMask = 3;
constexpr std::uint32_t kFlagReply = 1U << 2;
constexpr std::uint32_t kFlagNeedReply = 1U << 3;

struct Header {
  Request request = Request::get_features;
  std::uint32_t flags = kVersion;
  std::uint32_t payload_bytes = 0;
};

struct Message {
  Request request = Request::get_features;
  bool reply = false;
  bool need_reply = false;
  std::vector<std::byte> payload;
  std::vector<FileDescriptor> descriptors;
};

// bytes: kHeaderBytes. Errors: protocol_error for a version or a length that is not known.
Result<Header> decode_header(ByteSpan bytes);
// Header and payload, as they go on the wire.
std::vector<std::byte> encode(const Message& message);

// A reply to `request` with one 64-bit number, the commonest payload.
Message reply_u64(Request request, std::uint64_t value);

// What the back end sends on the channel that it was given: the configuration space has changed.
Message config_changed();

// One region of the front end's memory.
struct MemoryRegion {
  std::uint64_t guest_address = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t front_end_address = 0;  // its own mapping; ring addresses are given in these
  std::uint64_t file_offset = 0;
};
constexpr std::size_t kMemoryRegionBytes = 32;
MemoryRegion read_region(Reader& reader);
void write_region(Writer& writer, const MemoryRegion& region);

}  // namespace cairn::vhost_user
