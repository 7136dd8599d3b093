// The server over real sockets, with a client that writes its bytes by hand.
#include "nbd/nbd_test.hh"

namespace cairn::nbd {

TEST_CASE("nbd server: writes and reads at any alignment, simple replies") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(false);
  for (const std::uint32_t length : {1U, 511U, 4096U, 100'000U, 4U << 20}) {
    const auto bytes = pattern(length);
    client.request(Command::write, 12345, length, kCommandFua);
    client.send_bytes(bytes);
    CHECK(client.simple_reply() == WireError::none);
    client.request(Command::read, 12345, length);
    CHECK(client.simple_reply() == WireError::none);
    CHECK(client.receive(length) == bytes);
  }
  client.request(Command::write_zeroes, 12345, 5000, kCommandNoHole);
  CHECK(client.simple_reply() == WireError::none);
  client.request(Command::read, 12345, 5000);
  CHECK(client.simple_reply() == WireError::none);
  CHECK(client.receive(5000) == std::vector<std::byte>(5000));
  client.request(Command::flush, 0, 0);
  CHECK(client.simple_reply() == WireError::none);
  fixture.run([&] { CHECK(fixture.device().flushes == 1); });
}

TEST_CASE("nbd server: a structured read sends zeros as holes, and one chunk with DF") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(true);
  const auto bytes = pattern(8192);
  client.request(Command::write, 65536, 8192);
  client.send_bytes(bytes);
  CHECK(client.chunk().type == ReplyType::none);
  client.request(Command::read, 65536 - 1000, 10000);
  Client::Chunk chunk = client.chunk();
  CHECK(chunk.type == ReplyType::offset_hole);
  CHECK(load_be<std::uint64_t>(chunk.body.data()) == 65536 - 1000);
  CHECK(load_be<std::uint32_t>(chunk.body.data() + 8) == 1000);
  CHECK(chunk.flags == 0);
  chunk = client.chunk();
  CHECK(chunk.type == ReplyType::offset_data);
  CHECK(std::equal(bytes.begin(), bytes.end(), chunk.body.begin() + 8, chunk.body.end()));
  chunk = client.chunk();
  CHECK(chunk.type == ReplyType::offset_hole);
  CHECK(chunk.flags == kReplyFlagDone);
  client.request(Command::read, 65536 - 1000, 10000, kCommandDf);
  chunk = client.chunk();
  CHECK(chunk.type == ReplyType::offset_data);
  CHECK(chunk.body.size() == 10008);
  CHECK(chunk.flags == kReplyFlagDone);
}

TEST_CASE("nbd server: block status") {
  Fixture fixture;
  fixture.run([&] { fixture.device().set_state(4096, 8192, image::ExtentState::data); });
  Client client(fixture.path());
  client.start(true);
  client.request(Command::block_status, 0, 1 << 20);
  Client::Chunk chunk = client.chunk();
  REQUIRE(chunk.type == ReplyType::block_status);
  REQUIRE(chunk.body.size() == 4 + 3 * 8);
  CHECK(load_be<std::uint32_t>(chunk.body.data() + 8) == (kStateHole | kStateZero));
  CHECK(load_be<std::uint32_t>(chunk.body.data() + 12) == 8192);
  CHECK(load_be<std::uint32_t>(chunk.body.data() + 16) == 0);
  client.request(Command::block_status, 0, 0);
  CHECK(client.chunk().type == ReplyType::error);
}

TEST_CASE("nbd server: block status of dirty bitmaps, a chunk for each context") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(true, {"base:allocation", "qemu:dirty-bitmap:good"});
  client.request(Command::block_status, 4096, 1 << 20);
  Client::Chunk base = client.chunk();
  CHECK(load_be<std::uint32_t>(base.body.data()) == kMetaContextId);
  CHECK(base.flags == 0);
  Client::Chunk good = client.chunk();
  CHECK(good.flags == kReplyFlagDone);
  REQUIRE(good.body.size() == 4 + 3 * 8);
  CHECK(load_be<std::uint32_t>(good.body.data()) == kFirstBitmapContextId);
  CHECK(load_be<std::uint32_t>(good.body.data() + 4) == 4096);
  CHECK(load_be<std::uint32_t>(good.body.data() + 8) == 0);
  CHECK(load_be<std::uint32_t>(good.body.data() + 12) == 8192);
  CHECK(load_be<std::uint32_t>(good.body.data() + 16) == kStateDirty);

  Client other(fixture.path());
  other.start(true, {"qemu:dirty-bitmap:good", "qemu:dirty-bitmap:bad"});
  other.request(Command::block_status, 0, 8192);
  CHECK(other.chunk().type == ReplyType::error);
  // And it goes on.
  other.request(Command::flush, 0, 0);
  CHECK(other.chunk().type == ReplyType::none);
}

TEST_CASE("nbd server: a connection is offered the bitmaps of the moment that it begins at") {
  Fixture fixture;
  Client before(fixture.path());
  before.start(true, {"qemu:dirty-bitmap:good"});
  fixture.run([&] {
    fixture.server().set_dirty(std::make_shared<TestBitmaps>(std::vector<std::string>{"newer"}));
  });
  // The index 0 of what was offered then.
  before.request(Command::block_status, 4096, 1 << 20);
  CHECK(before.chunk().body.size() == 4 + 3 * 8);
  Client after(fixture.path());
  after.start(true, {"qemu:dirty-bitmap:newer"});
  after.request(Command::block_status, 4096, 1 << 20);
  const Client::Chunk dirty = after.chunk();
  REQUIRE(dirty.body.size() == 4 + 3 * 8);
  CHECK(load_be<std::uint32_t>(dirty.body.data()) == kFirstBitmapContextId);
}

TEST_CASE("nbd server: TRIM and WRITE_ZEROES of ranges longer than a step") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(false);
  fixture.run([&] {
    std::memset(fixture.device().bytes().data(), 1, kDiskBytes);
    fixture.device().set_state(0, kDiskBytes, image::ExtentState::data);
  });
  client.request(Command::trim, 1, (200 << 20) - 1);
  CHECK(client.simple_reply() == WireError::none);
  client.request(Command::write_zeroes, 200 << 20, 56 << 20);
  CHECK(client.simple_reply() == WireError::none);
  fixture.run([&] {
    const ByteSpan bytes = fixture.device().bytes();
    CHECK(bytes[4095] == std::byte{1});
    std::size_t ones = 0;
    for (std::size_t i = 4096; i < kDiskBytes; i += 512) ones += bytes[i] != std::byte{0};
    CHECK(ones == 0);
  });
}

TEST_CASE("nbd server: errors are answered and the connection goes on") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(false);
  client.request(Command::write, kDiskBytes - 1, 2);
  client.send_bytes(pattern(2));
  CHECK(client.simple_reply() == WireError::enospc);
  client.request(static_cast<Command>(99), 0, 0);
  CHECK(client.simple_reply() == WireError::einval);
  fixture.run([&] { fixture.device().fail_with({ErrorCode::io_error, "broken"}); });
  client.request(Command::read, 0, 512);
  CHECK(client.simple_reply() == WireError::eio);
  fixture.run([&] { fixture.device().fail_with({ErrorCode::no_space, "full"}); });
  client.request(Command::write, 0, 512);
  client.send_bytes(pattern(512));
  CHECK(client.simple_reply() == WireError::enospc);
  fixture.run([&] { fixture.device().fail_with(Status::ok()); });
  client.request(Command::read, 0, 512);
  CHECK(client.simple_reply() == WireError::none);
  CHECK(client.receive(512) == std::vector<std::byte>(512));
  CHECK(fixture.log_lines == 0);
  client.request(Command::disconnect, 0, 0);
  CHECK(client.closed());
}

TEST_CASE("nbd server: a read-only device") {
  Fixture fixture(true);
  Client client(fixture.path());
  client.start(false);
  client.request(Command::write, 0, 512);
  client.send_bytes(pattern(512));
  CHECK(client.simple_reply() == WireError::eperm);
  client.request(Command::trim, 0, 512);
  CHECK(client.simple_reply() == WireError::eperm);
  CHECK(fixture.device().writes == 0);
}

TEST_CASE("nbd server: a protocol error ends one connection, with one line") {
  Fixture fixture;
  Client good(fixture.path());
  good.start(false);
  Client bad(fixture.path());
  bad.start(false);
  bad.send(std::uint32_t{0x12345678}, std::uint64_t{0}, std::uint64_t{0}, std::uint64_t{0});
  CHECK(bad.closed());
  CHECK(fixture.log_lines == 1);
  Client garbage(fixture.path());
  garbage.send_bytes(as_bytes("GET / HTTP/1.1\r\n\r\n"));
  CHECK(garbage.receive(100).size() == 18);
  CHECK(fixture.log_lines == 2);
  Client silent(fixture.path());
  CHECK(silent.receive(100).size() == 18);  // until the negotiation's time limit
  CHECK(fixture.log_lines == 3);
  good.request(Command::flush, 0, 0);
  CHECK(good.simple_reply() == WireError::none);
}

TEST_CASE("nbd server: a client that leaves inside a payload writes nothing") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(false);
  client.request(Command::write, 0, 100'000);
  client.send_bytes(pattern(50'000));
  client.leave();
  CHECK(fixture.wait_until([&] { return fixture.log_lines == 1; }));
  CHECK(fixture.device().writes == 0);
}

TEST_CASE("nbd server: requests in flight are bounded in bytes") {
  Fixture fixture;
  fixture.run([&] { fixture.device().hold(true); });
  Client client(fixture.path());
  client.start(false);
  constexpr int kReads = 40;  // of 4 MiB: 160 MiB where 64 are allowed
  for (int i = 0; i < kReads; ++i) client.request(Command::read, 0, 4 << 20);
  CHECK(fixture.wait_until([&] { return fixture.device().in_flight_bytes == 60 << 20; }));
  ::usleep(20'000);  // time for what must not happen
  fixture.run([&] {
    CHECK(fixture.device().in_flight_bytes == 60 << 20);
    fixture.device().hold(false);
  });
  for (int i = 0; i < kReads; ++i) {
    CHECK(client.simple_reply() == WireError::none);
    CHECK(client.receive(4 << 20).size() == 4 << 20);
  }
  fixture.run([&] { CHECK(fixture.device().most_in_flight_bytes <= 64 << 20); });
}

TEST_CASE("nbd server: replies that nobody reads count as in flight") {
  Fixture fixture;
  Client client(fixture.path());
  client.start(false);
  for (int i = 0; i < 100; ++i) client.request(Command::read, 0, 4 << 20);
  const auto reads = [&] { return fixture.server().counters().read_requests; };
  CHECK(fixture.wait_until([&] { return reads() >= 15; }));
  ::usleep(50'000);  // time for what must not happen
  fixture.run([&] { CHECK(reads() < 20); });
}

TEST_CASE("nbd server: at most max_connections") {
  Fixture fixture;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<Client>(fixture.path()));
    clients.back()->start(false);
  }
  Client refused(fixture.path());
  CHECK(refused.closed());
  clients.pop_back();
  CHECK(fixture.wait_until([&] { return fixture.server().connection_count() == 3; }));
  Client next(fixture.path());
  next.start(false);
}

TEST_CASE("nbd server: close answers what runs, then ends") {
  Fixture fixture;
  fixture.run([&] { fixture.device().hold(true); });
  Client client(fixture.path());
  client.start(false);
  Client idle(fixture.path());
  idle.start(false);
  client.request(Command::read, 0, 512);
  CHECK(fixture.wait_until([&] { return fixture.device().in_flight_bytes == 512; }));
  std::atomic<bool> done{false};
  fixture.run([&] { fixture.server().close([&] { done = true; }); });
  CHECK(idle.closed());
  CHECK(!done);
  fixture.run([&] { fixture.device().hold(false); });
  CHECK(client.simple_reply() == WireError::none);
  CHECK(client.receive(512).size() == 512);
  CHECK(client.closed());
  CHECK(fixture.wait_until([&] { return done.load(); }));
}

TEST_CASE("nbd server: the socket's path") {
  Fixture fixture;
  struct stat status {};
  REQUIRE(::stat(fixture.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  const auto listen = [&](std::string path) {
    ServerOptions options;
    options.unix_path = std::move(path);
    Status result;
    fixture.run([&] {
      result = NbdServer::listen(fixture.reactor(), fixture.device(), options, {}).status();
    });
    return result.code();
  };
  CHECK(listen(fixture.path()) == ErrorCode::address_in_use);
  CHECK(listen("/etc/passwd") == ErrorCode::already_exists);
  CHECK(listen(std::string(200, 'x')) == ErrorCode::invalid_argument);
  CHECK(listen("/nonexistent/nbd.sock") == ErrorCode::not_found);
  const std::string stale = fixture.path() + ".stale";
  {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, stale.data(), stale.size());
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    ::close(fd);
  }
  CHECK(listen(stale) == ErrorCode::ok);
}

TEST_CASE("nbd server: TCP on a free port") {
  auto reactor = std::move(*io::Reactor::create());
  test::MemoryDevice device(*reactor, 1 << 20);
  ServerOptions options;
  options.tcp = {.host = "127.0.0.1", .port = 0};
  auto server = NbdServer::listen(*reactor, device, options, {});
  REQUIRE(server.is_ok());
  CHECK((*server)->port() != 0);
  options.tcp.port = (*server)->port();
  CHECK(NbdServer::listen(*reactor, device, options, {}).status().code() ==
        ErrorCode::address_in_use);
}

}  // namespace cairn::nbd
