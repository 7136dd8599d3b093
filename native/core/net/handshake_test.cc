// The handshake: encoding, and each reason for which a hello is refused.
#include "net/handshake.hh"

#include <doctest/doctest.h>

namespace cairn::net {

namespace {

Hello dialer_hello() {
  Hello hello;
  hello.cluster[0] = 7;
  hello.self = {.kind = EntityKind::client, .id = 99, .incarnation = 98};
  hello.supported_features = 3;
  hello.expected = Entity{.kind = EntityKind::osd, .id = 2, .incarnation = 5};
  return hello;
}

Hello acceptor_hello() {
  Hello hello;
  hello.cluster[0] = 7;
  hello.self = {.kind = EntityKind::osd, .id = 2, .incarnation = 5};
  hello.supported_features = 7;
  return hello;
}

// Both ends must come to the same result.
ErrorCode check_both(const Hello& dialer, const Hello& acceptor) {
  const Status there = check_hello(acceptor, dialer);
  CHECK(check_hello(dialer, acceptor).code() == there.code());
  return there.code();
}

}  // namespace

TEST_CASE("handshake: a hello survives encoding") {
  for (const Hello& hello : {dialer_hello(), acceptor_hello()}) {
    const auto bytes = encode_hello(hello);
    CHECK(bytes.size() == kHelloBytes);
    Result<Hello> decoded = decode_hello(bytes);
    REQUIRE(decoded.is_ok());
    CHECK(*decoded == hello);
  }
}

TEST_CASE("handshake: hellos that fit, with and without an expected incarnation") {
  Hello dialer = dialer_hello();
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::ok);
  dialer.expected->incarnation = 0;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::ok);
  dialer.expected.reset();
  dialer.required_features = 4;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::ok);
}

TEST_CASE("handshake: each mismatch has its code") {
  Hello dialer = dialer_hello();
  dialer.cluster[15] = 1;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::wrong_cluster);
  dialer = dialer_hello();
  dialer.expected->id = 3;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::wrong_daemon);
  dialer = dialer_hello();
  dialer.expected->incarnation = 6;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::wrong_daemon);
  dialer = dialer_hello();
  dialer.expected->kind = EntityKind::monitor;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::wrong_daemon);
  dialer = dialer_hello();
  dialer.version = 2;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::incompatible_version);
  dialer = dialer_hello();
  dialer.required_features = 8;
  CHECK(check_both(dialer, acceptor_hello()) == ErrorCode::unsupported_feature);
  Hello acceptor = acceptor_hello();
  acceptor.required_features = 4;
  CHECK(check_both(dialer_hello(), acceptor) == ErrorCode::unsupported_feature);
}

TEST_CASE("handshake: a refusal is told in clear words") {
  Hello acceptor = acceptor_hello();
  acceptor.self.id = 3;
  acceptor.refusal = ErrorCode::wrong_daemon;
  const Status status = check_hello(dialer_hello(), acceptor);
  CHECK(status.to_string() ==
        "wrong_daemon: refused by the peer: it is osd.3 (incarnation 5), expected "
        "osd.2 (incarnation 5)");
  acceptor.refusal = static_cast<ErrorCode>(60000);
  CHECK(check_hello(dialer_hello(), acceptor).code() == ErrorCode::protocol_error);
}

TEST_CASE("handshake: of another version only version and refusal count") {
  auto bytes = encode_hello(acceptor_hello());
  bytes[0] = std::byte{2};
  bytes[18] = std::byte{200};
  bytes.resize(100);
  Result<Hello> hello = decode_hello(bytes);
  REQUIRE(hello.is_ok());
  CHECK(check_hello(dialer_hello(), *hello).code() == ErrorCode::incompatible_version);
}

TEST_CASE("handshake: malformed hellos are protocol errors") {
  const auto good = encode_hello(dialer_hello());
  auto bytes = good;
  bytes.pop_back();
  CHECK(decode_hello(bytes).status().code() == ErrorCode::protocol_error);
  bytes = good;
  bytes.push_back(std::byte{0});
  CHECK(decode_hello(bytes).status().code() == ErrorCode::protocol_error);
  for (const std::size_t kind_offset : {18UL, 43UL}) {
    bytes = good;
    bytes[kind_offset] = std::byte{4};
    CHECK(decode_hello(bytes).status().code() == ErrorCode::protocol_error);
    bytes[kind_offset] = std::byte{0};  // no kind, but an id
    CHECK(decode_hello(bytes).status().code() == ErrorCode::protocol_error);
  }
}

TEST_CASE("handshake: texts of entities and cluster ids") {
  CHECK(entity_text({.kind = EntityKind::monitor, .id = 0, .incarnation = 0}) == "monitor.0");
  ClusterId cluster{};
  for (std::uint8_t i = 0; i < 16; ++i) cluster[i] = static_cast<std::uint8_t>(i * 17);
  CHECK(cluster_text(cluster) == "00112233-4455-6677-8899-aabbccddeeff");
}

}  // namespace cairn::net
