// The handshake, pure: the body of the hello frame, and whether two hellos go together.
// docs/protocol/frame.md
//
//   offset size field (little-endian; the meta of a frame of type hello, no data)
//        0    2 version              of the protocol: 1
//        2   16 cluster              id
//       18    1 selfKind             EntityKind
//       19    8 selfId
//       27    8 selfIncarnation
//       35    4 requiredFeatures     bits that the peer must know
//       39    4 supportedFeatures    bits that the sender knows
//       43    1 expectedKind         who the peer has to be; 0: anybody (then the next two are 0)
//       44    8 expectedId
//       52    8 expectedIncarnation  0: any
//       60    2 refusal              ErrorCode; 0: welcome
//
// The dialer sends its hello first; the acceptor answers with its own, which either welcomes or
// refuses (and then closes). All versions keep version and refusal where they are and may append
// fields, so that two versions can always tell each other that they do not fit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.hh"
#include "net/frame.hh"
#include "net/messenger.hh"

namespace cairn::net {

constexpr std::uint16_t kProtocolVersion = 1;
constexpr std::size_t kHelloBytes = 62;
// What a hello frame of any version may have; the limits of a decoder before the handshake.
constexpr FrameLimits kHelloLimits = {.max_meta_bytes = 4096, .max_data_bytes = 0};

struct Hello {
  std::uint16_t version = kProtocolVersion;
  ClusterId cluster{};
  Entity self;
  std::uint32_t required_features = 0;
  std::uint32_t supported_features = 0;
  std::optional<Entity> expected;  // nothing: anybody; incarnation 0: any
  ErrorCode refusal = ErrorCode::ok;
  bool operator==(const Hello&) const = default;
};

std::vector<std::byte> encode_hello(const Hello& hello);
// protocol_error: not a hello. Of another version only version and refusal are read.
Result<Hello> decode_hello(ByteSpan meta);
// Whether the peer's hello fits ours; called alike at both ends. The peer's refusal code when it
// refused; incompatible_version, wrong_cluster, wrong_daemon (one side is not whom the other one
// expected) or unsupported_feature otherwise.
Status check_hello(const Hello& ours, const Hello& theirs);

// "osd.3 (incarnation 17)"
std::string entity_text(const Entity& entity);
// As a UUID: 8-4-4-4-12 hexadecimal digits.
std::string cluster_text(const ClusterId& cluster);

}  // namespace cairn::net
