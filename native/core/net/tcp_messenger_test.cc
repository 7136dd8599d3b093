// TcpMessenger over loopback, and over Unix sockets: many frames both ways, large payloads,
// refusals, bad bytes, closing.
#include <unistd.h>

#include <algorithm>

#include "net/tcp_messenger_fixture.hh"

namespace cairn::net {

namespace {

Frame numbered(std::uint32_t number, std::size_t data_length) {
  Frame frame{.type = FrameType::op, .meta = {}, .data = {}};
  frame.meta.resize(64);
  store_le(frame.meta.data(), number);
  if (data_length > 0) frame.data = Buffer::allocate(data_length);
  for (std::size_t i = 0; i < data_length; ++i)
    frame.data.data()[i] = static_cast<std::byte>(i * 31 + (i >> 12) + number);
  return frame;
}

bool same(const Frame& a, const Frame& b) {
  return a.type == b.type && a.meta == b.meta &&
         std::equal(a.data.span().begin(), a.data.span().end(), b.data.span().begin(),
                    b.data.span().end());
}

// A plain blocking socket, to speak to the messenger out of turn.
struct RawSocket {
  OwnedFd fd;
  explicit RawSocket(const Address& address) {
    Result<SocketAddress> socket_address = to_socket_address(address);
    REQUIRE(socket_address.is_ok());
    Result<OwnedFd> opened = open_stream(*socket_address);
    REQUIRE(opened.is_ok());
    fd = std::move(*opened);
    REQUIRE(::connect(fd.get(), socket_address->get(), socket_address->length) == 0);
  }
  void write_bytes(ByteSpan bytes) {
    REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  bool closed_by_peer() {
    char byte;
    return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
  }
};

std::vector<std::byte> frame_bytes_of(const Frame& frame, std::uint64_t sequence) {
  std::vector<std::byte> bytes(kFrameHeaderBytes);
  encode_header(frame, sequence, bytes.data());
  bytes.insert(bytes.end(), frame.meta.begin(), frame.meta.end());
  return bytes;
}

}  // namespace

TEST_CASE_FIXTURE(MessengerFixture, "tcp: many frames of all sizes both ways, in order") {
  const auto [id, server_id] = connect();
  CHECK(client_side.connected[id] == kServer);
  CHECK(server_side.accepted[server_id] == kClient);
  constexpr std::uint32_t kFrames = 3000;
  constexpr std::size_t kLengths[] = {0, 1, 4096, 100, 4097, 0, 16384, 70000};
  server_side.on_each = [&, to = server_id](ConnectionId from, Frame& frame) {
    CHECK(from == to);
    server->send(from, frame);
  };
  for (std::uint32_t i = 0; i < kFrames; ++i) client->send(id, numbered(i, kLengths[i % 8]));
  CHECK(client->queued_bytes(id) > kFrames * 96);
  run_until([&] { return client_side.frames.size() == kFrames; });
  for (std::uint32_t i = 0; i < kFrames; ++i)
    REQUIRE(same(client_side.frames[i], numbered(i, kLengths[i % 8])));
  CHECK(client->queued_bytes(id) == 0);
  CHECK(client_side.batches > 0);
  CHECK(server->counters().frames_received == kFrames + 1);  // and the hello
  CHECK(client->counters().bytes_sent == server->counters().bytes_received);
  CHECK(client->counters().bytes_received == server->counters().bytes_sent);
}

TEST_CASE_FIXTURE(MessengerFixture, "tcp: the largest payloads pass; frames sent early arrive") {
  const ConnectionId id = client->connect(address, kServer);
  Frame large = numbered(7, kMaxDataBytes);
  large.meta.resize(kMaxMetaBytes, std::byte{9});
  client->send(id, large);
  client->send(id, numbered(8, 0));
  run_until([&] { return server_side.frames.size() == 2 || client_side.closed.contains(id); });
  REQUIRE_MESSAGE(client_side.closed.empty(), client_side.closed[id].to_string());
  CHECK(same(server_side.frames[0], large));
  CHECK(same(server_side.frames[1], numbered(8, 0)));
}

TEST_CASE_FIXTURE(MessengerFixture, "tcp: each refusal reaches the dialer with its code") {
  Entity other = kServer;
  other.incarnation = 12;
  Status status = dial_and_fail(address, other);
  CHECK(status.code() == ErrorCode::wrong_daemon);
  CHECK(status.message().find("osd.1 (incarnation 11)") != std::string::npos);
  CHECK(log.size() == 1);
  CHECK(server->counters().handshake_refusals == 1);

  client_side.closed.clear();
  TcpConfig changed = config(kClient);
  changed.cluster[0] = 43;
  client = std::make_unique<TcpMessenger>(*reactor, client_side, std::move(changed));
  CHECK(dial_and_fail(address, kServer).code() == ErrorCode::wrong_cluster);

  client_side.closed.clear();
  changed = config(kClient);
  changed.required_features = 0x80;
  client = std::make_unique<TcpMessenger>(*reactor, client_side, std::move(changed));
  CHECK(dial_and_fail(address, kServer).code() == ErrorCode::unsupported_feature);

  client_side.closed.clear();
  client = std::make_unique<TcpMessenger>(*reactor, client_side, config(kClient));
  server_side.admission = {ErrorCode::permission_denied, "not you"};
  CHECK(dial_and_fail(address, kServer).code() == ErrorCode::permission_denied);
  run_until([&] { return server->counters().connections == 0; });
  CHECK(server->counters().refused_connections ==
        std::map<ErrorCode, std::uint64_t>{{ErrorCode::wrong_daemon, 1},
                                           {ErrorCode::wrong_cluster, 1},
                                           {ErrorCode::unsupported_feature, 1},
                                           {ErrorCode::permission_denied, 1}});
  CHECK(client->counters().refused_connections.empty());
}

TEST_CASE_FIXTURE(MessengerFixture, "tcp: nobody listens, and a host that is none") {
  const Address nobody{.host = "127.0.0.1", .port = 1};
  CHECK(dial_and_fail(nobody, kServer).code() == ErrorCode::disconnected);
  client_side.closed.clear();
  CHECK(dial_and_fail({.host = "localhost", .port = 1}, kServer).code() ==
        ErrorCode::invalid_argument);
}

TEST_CASE_FIXTURE(MessengerFixture, "tcp: a peer that says nothing times out at both ends") {
  TcpConfig hasty = config(kServer);
  hasty.handshake_timeout_ns = 50'000'000;
  server = std::make_unique<TcpMessenger>(*reactor, server_side, std::move(hasty));
  Result<std::uint16_t> port = server->listen(kLoopback);
  REQUIRE(port.is_ok());
  RawSocket silent({.host = kLoopback.host, .port = *port});
  run_until([&] { return server->counters().connections == 1; });
  run_until([&] { return server->counters().connections == 0; });
  CHECK(silent.closed_by_peer());
  CHECK(server->counters().refused_connections.at(ErrorCode::timed_out) == 1);

  Result<OwnedFd> deaf = open_listener(kLoopback);
  REQUIRE(deaf.is_ok());
  hasty = config(kClient);
  hasty.handshake_timeout_ns = 50'000'000;
  client = std::make_unique<TcpMessenger>(*reactor, client_side, std::move(hasty));
  Result<std::uint16_t> deaf_port = local_port(deaf->get());
  REQUIRE(deaf_port.is_ok());
  CHECK(dial_and_fail({.host = kLoopback.host, .port = *deaf_port}, kServer).code() ==
        ErrorCode::timed_out);
}

TEST_CASE_FIXTURE(MessengerFixture,
                  "tcp: bad bytes close their connection only, with one log line") {
  const auto [id, server_id] = connect();
  std::vector<std::vector<std::byte>> bad;
  const auto noise = as_bytes("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n");
  bad.emplace_back(noise.begin(), noise.end());
  bad.push_back(frame_bytes_of({.type = FrameType::ping, .meta = {}, .data = {}}, 1));
  bad.push_back(frame_bytes_of({.type = FrameType::hello, .meta = {}, .data = {}}, 1));
  Frame wide{.type = FrameType::hello, .meta = std::vector<std::byte>(5000), .data = {}};
  bad.push_back(frame_bytes_of(wide, 1));
  Hello hello;
  hello.cluster[0] = 42;
  hello.self = kClient;
  Frame twice{.type = FrameType::hello, .meta = encode_hello(hello), .data = {}};
  bad.push_back(frame_bytes_of(twice, 1));
  for (const std::byte byte : frame_bytes_of(twice, 2)) bad.back().push_back(byte);
  for (std::size_t i = 0; i < bad.size(); ++i) {
    RawSocket stranger(address);
    stranger.write_bytes(bad[i]);
    run_until([&] { return log.size() == i + 1; });
    CHECK(server->counters().protocol_errors == i + 1);
    CHECK(server->counters().refused_connections.at(ErrorCode::protocol_error) == i + 1);
    CHECK(log.back().find("protocol_error") != std::string::npos);
    CHECK(server->counters().connections == 1);
  }
  CHECK(server_side.closed.size() == 1);  // the one that had finished its handshake
  client->send(id, numbered(1, 10));
  run_until([&] { return server_side.frames.size() == 1; });
}

TEST_CASE_FIXTURE(MessengerFixture, "tcp: closing while sending, and connecting again") {
  for (std::uint32_t round = 0; round < 5; ++round) {
    const auto [id, server_id] = connect();
    for (std::uint32_t i = 0; i < 20; ++i) client->send(id, numbered(i, 1U << 20));
    const std::size_t enough = server_side.frames.size() + round;
    run_until([&] { return server_side.frames.size() >= enough; });
    client->close(id, {ErrorCode::canceled, "enough"});
    client->send(id, numbered(0, 0));  // ignored
    CHECK(!client_side.closed.contains(id));
    CHECK(client->queued_bytes(id) == 0);
    run_until([&, to = server_id, from = id] {
      return server_side.closed.contains(to) && client_side.closed.contains(from);
    });
    CHECK(client_side.closed[id].code() == ErrorCode::canceled);
    CHECK(server_side.closed[server_id].code() == ErrorCode::disconnected);
  }
  CHECK(server->counters().connections == 0);
}

TEST_CASE_FIXTURE(MessengerFixture, "tcp: closing inside on_frame delivers nothing more") {
  const auto [id, server_id] = connect();
  server_side.on_each = [&](ConnectionId from, Frame&) {
    server->close(from, {ErrorCode::canceled, "one is enough"});
  };
  for (std::uint32_t i = 0; i < 100; ++i) client->send(id, numbered(i, 0));
  run_until([&, from = id] { return client_side.closed.contains(from); });
  CHECK(server_side.frames.size() == 1);
  CHECK(server_side.closed[server_id].code() == ErrorCode::canceled);
}

TEST_CASE_FIXTURE(MessengerFixture,
                  "tcp: a peer that takes nothing costs the sender a bounded memory") {
  TcpConfig small = config(kClient);
  small.max_unsent_bytes = 32U << 20;
  client = std::make_unique<TcpMessenger>(*reactor, client_side, std::move(small));
  const auto [id, server_id] = connect();
  Frame frame = numbered(0, 4U << 20);
  for (int i = 0; i < 10; ++i) client->send(id, frame);
  CHECK(client->queued_bytes(id) == 0);
  run_until([&, from = id] { return client_side.closed.contains(from); });
  CHECK(client_side.closed[id].code() == ErrorCode::too_large);
}

TEST_CASE_FIXTURE(MessengerFixture,
                  "tcp: a messenger that goes away closes its connections, and the port") {
  const auto [id, server_id] = connect();
  client->send(id, numbered(0, 8U << 20));
  server.reset();
  server = std::make_unique<TcpMessenger>(*reactor, server_side, config(kServer));
  REQUIRE(server->listen(address).is_ok());
  run_until([&, from = id] { return client_side.closed.contains(from); });
  CHECK(client_side.closed[id].code() == ErrorCode::disconnected);
  CHECK(server_side.closed.empty());
  server_side.accepted.clear();
  connect();
}

TEST_CASE_FIXTURE(MessengerFixture,
                  "tcp: a port in use is an error that names the address; IPv6 works") {
  const Status status = client->listen(address).status();
  CHECK(status.code() == ErrorCode::address_in_use);
  CHECK(status.message().find(address_text(address)) != std::string::npos);
  Result<std::uint16_t> port = server->listen({.host = "::1", .port = 0});
  REQUIRE_MESSAGE(port.is_ok(), port.status().to_string());
  address = {.host = "::1", .port = *port};
  connect();
}

}  // namespace cairn::net
