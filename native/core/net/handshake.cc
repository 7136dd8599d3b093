// Encoding, decoding and checking of hellos.
#include "net/handshake.hh"

#include <cstring>

namespace cairn::net {

namespace {

void put_entity(Writer& writer, const Entity& entity) {
  writer.put(static_cast<std::uint8_t>(entity.kind));
  writer.put(entity.id);
  writer.put(entity.incarnation);
}

bool is_kind(std::uint8_t kind) {
  return kind >= static_cast<std::uint8_t>(EntityKind::monitor) &&
         kind <= static_cast<std::uint8_t>(EntityKind::client);
}

// A kind outside the table fails the reader.
Entity get_entity(Reader& reader) {
  const auto kind = reader.get<std::uint8_t>();
  if (!is_kind(kind)) reader.fail();
  Entity entity;
  entity.kind = static_cast<EntityKind>(kind);
  entity.id = reader.get<std::uint64_t>();
  entity.incarnation = reader.get<std::uint64_t>();
  return entity;
}

// Nothing when all fields are zero.
std::optional<Entity> get_expected(Reader& reader) {
  constexpr std::size_t kEntityBytes = 17;
  const ByteSpan bytes = reader.raw(kEntityBytes);
  for (const std::byte byte : bytes) {
    if (byte == std::byte{0}) continue;
    Reader part(bytes);
    const Entity entity = get_entity(part);
    if (!part.at_end()) reader.fail();
    return entity;
  }
  return std::nullopt;
}

bool matches(const Entity& expected, const Entity& entity) {
  return expected.kind == entity.kind && expected.id == entity.id &&
         (expected.incarnation == 0 || expected.incarnation == entity.incarnation);
}

std::string hexadecimal(std::uint32_t bits) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += kDigits[(bits >> shift) & 0xf];
  return text;
}

// A code that is not in our table comes from a newer peer and counts as a protocol error.
Status refusal_by_code(ErrorCode code) {
  const std::string_view name = error_name(code);
  return {name == "unknown" ? ErrorCode::protocol_error : code,
          "refused by the peer: " + std::string(name) + " (code " +
              std::to_string(static_cast<unsigned>(code)) + ")"};
}

// The peer refused: what its code means, seen from this side.
Status refusal_status(const Hello& ours, const Hello& theirs) {
  switch (theirs.refusal) {
    case ErrorCode::wrong_cluster:
      return {theirs.refusal, "refused by the peer: it is not of cluster " +
                                  cluster_text(ours.cluster) + " but of " +
                                  cluster_text(theirs.cluster)};
    case ErrorCode::wrong_daemon:
      return {theirs.refusal,
              "refused by the peer: it is " + entity_text(theirs.self) +
                  (ours.expected ? ", expected " + entity_text(*ours.expected) : std::string())};
    case ErrorCode::incompatible_version:
      return {theirs.refusal, "refused by the peer: it speaks protocol version " +
                                  std::to_string(theirs.version) + ", we speak " +
                                  std::to_string(ours.version)};
    case ErrorCode::unsupported_feature:
      return {theirs.refusal, "refused by the peer: feature bits do not fit (ours: required " +
                                  hexadecimal(ours.required_features) + ", supported " +
                                  hexadecimal(ours.supported_features) + "; its: required " +
                                  hexadecimal(theirs.required_features) + ", supported " +
                                  hexadecimal(theirs.supported_features) + ")"};
    default:
      return refusal_by_code(theirs.refusal);
  }
}

Status check_features(std::uint32_t required, std::uint32_t supported, const char* who) {
  const std::uint32_t missing = required & ~supported;
  if (missing == 0) return Status::ok();
  return {ErrorCode::unsupported_feature,
          std::string(who) + " does not know the required feature bits " + hexadecimal(missing)};
}

}  // namespace

std::vector<std::byte> encode_hello(const Hello& hello) {
  Writer writer;
  writer.reserve(kHelloBytes);
  writer.put(hello.version);
  writer.raw(std::as_bytes(std::span(hello.cluster)));
  put_entity(writer, hello.self);
  writer.put(hello.required_features);
  writer.put(hello.supported_features);
  if (hello.expected) {
    put_entity(writer, *hello.expected);
  } else {
    put_entity(writer, {.kind = EntityKind{0}, .id = 0, .incarnation = 0});
  }
  writer.put(static_cast<std::uint16_t>(hello.refusal));
  CAIRN_ASSERT(writer.size() == kHelloBytes);
  return writer.take();
}

Result<Hello> decode_hello(ByteSpan meta) {
  constexpr std::size_t kRefusalOffset = kHelloBytes - sizeof(std::uint16_t);
  if (meta.size() < kHelloBytes)
    return Status{ErrorCode::protocol_error,
                  "hello of " + std::to_string(meta.size()) + " bytes is cut short"};
  Hello hello;
  Reader reader(meta);
  hello.version = reader.get<std::uint16_t>();
  hello.refusal = static_cast<ErrorCode>(load_le<std::uint16_t>(meta.data() + kRefusalOffset));
  if (hello.version != kProtocolVersion) return hello;
  const ByteSpan cluster = reader.raw(hello.cluster.size());
  std::memcpy(hello.cluster.data(), cluster.data(), cluster.size());
  hello.self = get_entity(reader);
  hello.required_features = reader.get<std::uint32_t>();
  hello.supported_features = reader.get<std::uint32_t>();
  hello.expected = get_expected(reader);
  reader.get<std::uint16_t>();  // refusal
  if (!reader.at_end()) return Status{ErrorCode::protocol_error, "malformed hello"};
  return hello;
}

Status check_hello(const Hello& ours, const Hello& theirs) {
  if (theirs.refusal != ErrorCode::ok) return refusal_status(ours, theirs);
  if (theirs.version != ours.version)
    return {ErrorCode::incompatible_version, "the peer speaks protocol version " +
                                                 std::to_string(theirs.version) + ", we speak " +
                                                 std::to_string(ours.version)};
  if (theirs.cluster != ours.cluster)
    return {ErrorCode::wrong_cluster, "the peer is of cluster " + cluster_text(theirs.cluster) +
                                          ", we are of " + cluster_text(ours.cluster)};
  if (theirs.expected && !matches(*theirs.expected, ours.self))
    return {ErrorCode::wrong_daemon, "the peer expected " + entity_text(*theirs.expected) +
                                         ", this is " + entity_text(ours.self)};
  if (ours.expected && !matches(*ours.expected, theirs.self))
    return {ErrorCode::wrong_daemon, "the peer is " + entity_text(theirs.self) + ", expected " +
                                         entity_text(*ours.expected)};
  CAIRN_RETURN_IF_ERROR(
      check_features(ours.required_features, theirs.supported_features, "the peer"));
  return check_features(theirs.required_features, ours.supported_features, "this daemon");
}

std::string entity_text(const Entity& entity) {
  constexpr const char* kNames[] = {"?", "monitor", "osd", "client"};
  const auto kind = static_cast<std::uint8_t>(entity.kind);
  std::string text = is_kind(kind) ? kNames[kind] : kNames[0];
  text += "." + std::to_string(entity.id);
  if (entity.incarnation != 0) text += " (incarnation " + std::to_string(entity.incarnation) + ")";
  return text;
}

std::string cluster_text(const ClusterId& cluster) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[cluster[i] >> 4];
    text += kDigits[cluster[i] & 0xf];
  }
  return text;
}

}  // namespace cairn::net
