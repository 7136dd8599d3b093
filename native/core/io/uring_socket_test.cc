// UringReactor against the kernel: sockets, and the cancellation of what waits on them.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "io/uring_test_support.hh"

namespace cairn::io {

TEST_CASE("recv and sendmsg move bytes; the end of the stream is 0, a lost peer an error") {
  auto reactor = make_reactor();
  SocketPair pair;
  const std::string text = "a frame";
  iovec parts[2] = {{const_cast<char*>(text.data()), 2},
                    {const_cast<char*>(text.data()) + 2, text.size() - 2}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  std::byte into[64];
  int sent = 0;
  int received = 0;
  int end = -1;
  int broken = 0;
  reactor->recv(pair.ends[0], into, [&](int result) {
    received = result;
    CHECK(std::memcmp(into, text.data(), text.size()) == 0);
    reactor->recv(pair.ends[0], into, [&](int last) {
      end = last;
      reactor->sendmsg(pair.ends[0], &message, [&](int error) {
        broken = error;
        reactor->stop();
      });
    });
    pair.close_end(1);
  });
  reactor->sendmsg(pair.ends[1], &message, [&](int result) { sent = result; });
  reactor->run();
  CHECK(sent == 7);
  CHECK(received == 7);
  CHECK(end == 0);
  CHECK(broken == -EPIPE);
}

TEST_CASE("fdatasync_here answers at once, and what was started before has left by then") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte byte{7};
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  int sent = 0;
  reactor->post([&] {
    reactor->sendmsg(pair.ends[1], &message, [&](int result) {
      sent = result;
      reactor->stop();
    });
    CHECK(reactor->fdatasync_here(-1) == -EBADF);
    std::byte into{};
    CHECK(::recv(pair.ends[0], &into, 1, MSG_DONTWAIT) == 1);
    CHECK(into == byte);
    CHECK(sent == 0);  // completions are not delivered inside of it
  });
  reactor->run();
  CHECK(sent == 1);
}

TEST_CASE("a sendmsg that is larger than the socket buffer completes with all bytes") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::vector<std::byte> bytes(8 << 20);
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<std::byte> into(1 << 20);
  std::size_t received = 0;
  int sent = 0;
  UniqueFunction<void()> receive;
  receive = [&] {
    reactor->recv(pair.ends[0], into, [&](int result) {
      REQUIRE(result > 0);
      received += static_cast<std::size_t>(result);
      if (received < bytes.size()) return receive();
      reactor->run_after(0, [&] { reactor->stop(); });
    });
  };
  reactor->sendmsg(pair.ends[1], &message, [&](int result) { sent = result; });
  receive();
  reactor->run();
  CHECK(static_cast<std::size_t>(sent) == bytes.size());
}

TEST_CASE("accept and connect over TCP, on non-blocking sockets; a refused port is an error") {
  auto reactor = make_reactor();
  const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const int listener = ::socket(AF_INET, type, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(listener, generic, length) == 0);
  REQUIRE(::getsockname(listener, generic, &length) == 0);
  const int refused = ::socket(AF_INET, type, 0);
  int refusal = 0;
  int accepted = -1;
  int connected = -1;
  const int client = ::socket(AF_INET, type, 0);
  std::byte byte{};
  reactor->connect(refused, generic, length, [&](int result) {  // nobody listens yet
    refusal = result;
    REQUIRE(::listen(listener, 1) == 0);
    reactor->accept(listener, [&](int fd) {
      accepted = fd;
      reactor->recv(fd, {&byte, 1}, [&](int count) {
        CHECK(count == 1);
        reactor->stop();
      });
    });
    reactor->connect(client, generic, length, [&](int outcome) {
      connected = outcome;
      CHECK(::write(client, "x", 1) == 1);
    });
  });
  reactor->run();
  CHECK(refusal == -ECONNREFUSED);
  CHECK(connected == 0);
  CHECK(accepted >= 0);
  for (const int fd : {listener, refused, client, accepted}) ::close(fd);
}

TEST_CASE("cancel_fd ends what is pending, also what was not submitted yet, and frees the number") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte into[8];
  std::vector<int> results;
  int watch_calls = 0;
  const auto record = [&](int result) { results.push_back(result); };
  SUBCASE("before run") {
    reactor->recv(pair.ends[0], into, record);
    reactor->recv(pair.ends[0], into, record);
    reactor->watch_readable(pair.ends[0], [&] { ++watch_calls; });
    reactor->cancel_fd(pair.ends[0]);
    CHECK(results.empty());
  }
  SUBCASE("from a callback, with one operation in the kernel and one not yet") {
    reactor->recv(pair.ends[0], into, record);
    reactor->watch_readable(pair.ends[0], [&] { ++watch_calls; });
    reactor->run_after(2 * kMillisecond, [&] {
      reactor->recv(pair.ends[0], into, record);
      reactor->cancel_fd(pair.ends[0]);
      CHECK(results.empty());
      const int number = pair.ends[0];
      pair.close_end(0);
      // The same number again: nothing may be left that reads from it.
      pair.ends[0] = ::dup(pair.ends[1]);
      CHECK(pair.ends[0] == number);
    });
  }
  reactor->run_after(8 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(results == std::vector<int>{-ECANCELED, -ECANCELED});
  CHECK(watch_calls == 0);
}

}  // namespace cairn::io
