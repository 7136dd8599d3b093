// Local sockets: when they are used, and everything after which TCP is.
#include "net/local_socket.hh"

#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <thread>

#include "net/tcp_messenger_fixture.hh"

namespace cairn::net {

namespace {

constexpr uid_t kNobody = 65534;

// A server and a client that both may use local sockets, until a test says otherwise.
struct LocalFixture : MessengerFixture {
  void restart_server(bool local, std::uint16_t port = 0) {
    local_sockets = local;
    server_side = Recorder();  // a new messenger gives ids that the old one had given
    server = std::make_unique<TcpMessenger>(*reactor, server_side, config(kServer));
    Result<std::uint16_t> bound = server->listen({.host = kLoopback.host, .port = port});
    REQUIRE_MESSAGE(bound.is_ok(), bound.status().to_string());
    address.port = *bound;
  }
  void restart_client(bool local) {
    local_sockets = local;
    client_side = Recorder();
    client = std::make_unique<TcpMessenger>(*reactor, client_side, config(kClient));
  }
  void check_connects(bool locally) {
    const auto [id, server_id] = connect();
    CHECK(client->counters().local_connections == (locally ? 1 : 0));
    CHECK(server->counters().local_connections == (locally ? 1 : 0));
    client->close(id, {ErrorCode::canceled, "enough"});
    run_until([&] { return server->counters().connections == 0; });
    CHECK(client->counters().local_connections == 0);
    CHECK(server->counters().local_connections == 0);
  }
};

// A port of which nobody has the TCP side nor the name.
Address free_address() {
  Result<OwnedFd> listener = open_listener(kLoopback);
  REQUIRE(listener.is_ok());
  return {.host = kLoopback.host, .port = *local_port(listener->get())};
}

// A socket that has the name but does not listen: as that of somebody who only wants to disturb.
OwnedFd bind_name(const Address& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::string text = "cairn/" + address_text(address);
  std::memcpy(name.sun_path + 1, text.data(), text.size());
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) == 0);
  return fd;
}

// A listener of that user; needs root. Linux gives each thread a user of its own.
OwnedFd listen_as(uid_t uid, const Address& address) {
  OwnedFd listener;
  std::thread([&] {
    if (::syscall(SYS_setresuid, uid, uid, uid) != 0) return;
    if (Result<OwnedFd> opened = open_local_listener(address); opened)
      listener = std::move(*opened);
  }).join();
  REQUIRE(listener.get() >= 0);
  return listener;
}

}  // namespace

TEST_CASE_FIXTURE(LocalFixture, "local: used when both ends allow it") {
  check_connects(local_sockets);
  restart_server(true);
  restart_client(true);
  check_connects(true);
  restart_client(false);
  check_connects(false);
  restart_client(true);
  restart_server(false);
  check_connects(false);
  CHECK(log.empty());
}

TEST_CASE_FIXTURE(LocalFixture, "local: a log line about the peer says which process it is") {
  restart_server(true);
  restart_client(true);
  Entity other = kServer;
  other.id = 2;
  CHECK(dial_and_fail(address, other).code() == ErrorCode::wrong_daemon);
  REQUIRE(log.size() == 1);
  CHECK(log[0].find("from a local process (pid " + std::to_string(::getpid()) + ", uid ") !=
        std::string::npos);
}

TEST_CASE_FIXTURE(LocalFixture, "local: each spelling of an address is the same name") {
  restart_server(true);
  restart_client(true);
  Result<std::uint16_t> port = server->listen({.host = "::1", .port = 0});
  REQUIRE(port.is_ok());
  address = {.host = "0:0:0:0:0:0:0:1", .port = *port};
  check_connects(true);
}

TEST_CASE_FIXTURE(LocalFixture, "local: a name that is taken costs a log line, until it is free") {
  const Address wanted = free_address();
  OwnedFd taken = bind_name(wanted);
  restart_client(true);
  restart_server(true, wanted.port);
  REQUIRE(log.size() == 1);
  CHECK(log[0].find("address_in_use") != std::string::npos);
  CHECK(log[0].find("local processes use TCP until the name is free") != std::string::npos);
  check_connects(false);
  taken = OwnedFd();
  run_until([&] { return connect_local(wanted).is_ok(); });
  check_connects(true);
  CHECK(log.size() == 1);
}

TEST_CASE_FIXTURE(LocalFixture, "local: a name of another user is not believed") {
  if (::geteuid() != 0) return;  // only root can be somebody else
  const Address wanted = free_address();
  const OwnedFd foreign = listen_as(kNobody, wanted);
  CHECK(connect_local(wanted).status().code() == ErrorCode::permission_denied);
  restart_client(true);
  restart_server(false, wanted.port);
  check_connects(false);
  check_connects(false);
  REQUIRE(log.size() == 1);
  CHECK(log[0].find("belongs to uid 65534") != std::string::npos);
}

TEST_CASE("local: root's name is believed by everybody") {
  if (::geteuid() != 0) return;
  const Address wanted = free_address();
  Result<OwnedFd> listener = open_local_listener(wanted);
  REQUIRE(listener.is_ok());
  Status outcome;
  std::thread([&] {
    REQUIRE(::syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0);
    outcome = connect_local(wanted).status();
  }).join();
  CHECK_MESSAGE(outcome.is_ok(), outcome.to_string());
}

TEST_CASE("local: a listener that does not accept holds nobody up") {
  const Address wanted = free_address();
  const OwnedFd deaf = bind_name(wanted);
  REQUIRE(::listen(deaf.get(), 0) == 0);
  std::vector<OwnedFd> waiting;
  Status outcome;
  while (outcome && waiting.size() < 8) {
    Result<OwnedFd> fd = connect_local(wanted);
    outcome = fd.status();
    if (fd) waiting.push_back(std::move(*fd));
  }
  CHECK(outcome.code() == ErrorCode::busy);
}

TEST_CASE("local: an address that is not this machine's (any more) is dialled by TCP") {
  const Address elsewhere{.host = "192.0.2.7", .port = 6800};  // of TEST-NET-1
  Result<OwnedFd> left_behind = open_local_listener(elsewhere);
  REQUIRE_MESSAGE(left_behind.is_ok(), left_behind.status().to_string());
  CHECK(connect_local(elsewhere).status().code() == ErrorCode::not_found);
}

}  // namespace cairn::net
