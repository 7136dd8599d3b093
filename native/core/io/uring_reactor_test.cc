// UringReactor against the kernel: timers, tasks, threads, sockets, watches, cancellation, pollers.
#include "io/uring_reactor.hh"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace cairn::io {

namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

std::unique_ptr<UringReactor> make_reactor() {
  auto made = UringReactor::make();
  REQUIRE_MESSAGE(made.is_ok(), made.status().to_string());
  return std::move(made.value());
}

// Two connected stream sockets, closed at the end.
struct SocketPair {
  int ends[2];
  SocketPair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0); }
  ~SocketPair() {
    for (const int fd : ends)
      if (fd >= 0) ::close(fd);
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  void close_end(int index) {
    ::close(ends[index]);
    ends[index] = -1;
  }
};

std::uint64_t thread_cpu_ns() {
  timespec used;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(used.tv_nsec);
}

}  // namespace

TEST_CASE("timers run in the order of their due times, not before them, and not once cancelled") {
  auto reactor = make_reactor();
  std::vector<int> order;
  const std::uint64_t start = reactor->now_ns();
  std::uint64_t ran_at = 0;
  reactor->run_after(6 * kMillisecond, [&] {
    order.push_back(3);
    reactor->stop();
  });
  reactor->run_after(2 * kMillisecond, [&] {
    order.push_back(1);
    ran_at = reactor->now_ns();
  });
  const TimerId dead = reactor->run_after(3 * kMillisecond, [&] { order.push_back(9); });
  reactor->run_after(4 * kMillisecond, [&] { order.push_back(2); });
  const TimerId late = reactor->run_after(5 * kMillisecond, [&] { order.push_back(9); });
  reactor->run_after(1 * kMillisecond, [&] { reactor->cancel(late); });
  reactor->cancel(dead);
  reactor->cancel(dead);
  reactor->cancel(0);
  reactor->run();
  CHECK(order == std::vector<int>{1, 2, 3});
  CHECK(ran_at - start >= 2 * kMillisecond);
  CHECK(reactor->now_ns() - start >= 6 * kMillisecond);
}

TEST_CASE("the id of a timer that ran does not cancel a newer one") {
  auto reactor = make_reactor();
  bool second = false;
  TimerId first_id = 0;
  first_id = reactor->run_after(0, [&] {
    reactor->run_after(0, [&] {
      second = true;
      reactor->stop();
    });
    reactor->cancel(first_id);
  });
  reactor->run_after(1000 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(second);
}

TEST_CASE("posted tasks run first in, first out, and never inside post") {
  auto reactor = make_reactor();
  std::vector<int> order;
  reactor->post([&] {
    reactor->post([&] {
      order.push_back(3);
      reactor->stop();
    });
    order.push_back(1);
  });
  reactor->post([&] { order.push_back(2); });
  CHECK(order.empty());
  reactor->run();
  CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("tasks that post each other for ever do not keep timers or descriptors waiting") {
  auto reactor = make_reactor();
  SocketPair pair;
  UniqueFunction<void()> again;
  again = [&] { reactor->post([&] { again(); }); };
  again();
  bool timer = false;
  std::byte byte{};
  reactor->run_after(kMillisecond, [&] {
    timer = true;
    CHECK(::write(pair.ends[1], "x", 1) == 1);
  });
  reactor->recv(pair.ends[0], {&byte, 1}, [&](int result) {
    CHECK(result == 1);
    reactor->stop();
  });
  reactor->run();
  CHECK(timer);
}

TEST_CASE("stop before run makes that run return at once, and only that one") {
  auto reactor = make_reactor();
  bool ran = false;
  reactor->post([&] {
    ran = true;
    reactor->stop();
  });
  reactor->stop();
  reactor->run();
  CHECK_FALSE(ran);
  reactor->run();
  CHECK(ran);
}

TEST_CASE("tasks from another thread arrive in order and wake the sleeping loop") {
  auto reactor = make_reactor();
  constexpr int kTasks = 20000;
  int next = 0;
  std::thread other([&] {
    for (int i = 0; i < kTasks; ++i) {
      reactor->post_from_any_thread([&, i] {
        CHECK(next == i);
        if (++next == kTasks) reactor->stop();
      });
      if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  reactor->run();
  other.join();
  CHECK(next == kTasks);
}

TEST_CASE("stop from another thread wakes the sleeping loop") {
  auto reactor = make_reactor();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    reactor->stop();
  });
  reactor->run();
  other.join();
}

TEST_CASE("an idle reactor makes no system calls and uses no CPU") {
  auto reactor = make_reactor();
  SocketPair pair;
  reactor->watch_readable(pair.ends[0], [] {});
  int polls = 0;
  reactor->add_poller(kMillisecond, [&] {
    ++polls;
    return false;
  });
  std::uint64_t enters = 0;
  std::uint64_t cpu = 0;
  reactor->run_after(20 * kMillisecond, [&] {
    enters = reactor->enter_count();
    cpu = thread_cpu_ns();
    polls = 0;
    reactor->run_after(200 * kMillisecond, [&] {
      enters = reactor->enter_count() - enters;
      cpu = thread_cpu_ns() - cpu;
      reactor->stop();
    });
  });
  reactor->run();
  CHECK(enters == 1);
  CHECK(polls <= 2);
  CHECK(cpu < 2 * kMillisecond);
}

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

TEST_CASE("watch_readable is level-triggered: called again until the descriptor is drained") {
  auto reactor = make_reactor();
  SocketPair pair;
  REQUIRE(::write(pair.ends[1], "abc", 3) == 3);
  int calls = 0;
  WatchId id = 0;
  id = reactor->watch_readable(pair.ends[0], [&] {
    char byte;
    CHECK(::read(pair.ends[0], &byte, 1) == 1);
    ++calls;
    if (calls == 3) {  // drained: no call until there is more
      reactor->run_after(3 * kMillisecond, [&] {
        CHECK(calls == 3);
        CHECK(::write(pair.ends[1], "d", 1) == 1);
      });
    }
    if (calls == 4) {
      reactor->unwatch(id);
      CHECK(::write(pair.ends[1], "e", 1) == 1);
      reactor->run_after(3 * kMillisecond, [&] { reactor->stop(); });
    }
  });
  reactor->run();
  CHECK(calls == 4);
}

TEST_CASE("a watch that another callback of the same batch removed is not called") {
  auto reactor = make_reactor();
  SocketPair one;
  SocketPair two;
  WatchId ids[2] = {0, 0};
  int calls = 0;
  const auto first = [&](int other) {
    ++calls;
    reactor->unwatch(ids[other]);
    reactor->unwatch(ids[1 - other]);
    reactor->run_after(3 * kMillisecond, [&] { reactor->stop(); });
  };
  ids[0] = reactor->watch_readable(one.ends[0], [&] { first(1); });
  ids[1] = reactor->watch_readable(two.ends[0], [&] { first(0); });
  reactor->post([&] {
    CHECK(::write(one.ends[1], "x", 1) == 1);
    CHECK(::write(two.ends[1], "x", 1) == 1);
  });
  reactor->run();
  CHECK(calls == 1);
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

TEST_CASE("more operations than the submission queue has entries") {
  auto reactor = make_reactor();
  constexpr std::size_t kCount = 3000;
  std::vector<std::byte> into(kCount);
  std::vector<int> pipe_ends(2);
  REQUIRE(::pipe(pipe_ends.data()) == 0);
  std::size_t done = 0;
  const auto start_all = [&] {
    for (std::size_t i = 0; i < kCount; ++i) {
      const int value = static_cast<int>(i);
      reactor->watch_readable(pipe_ends[0], [value] { CHECK(value < 0); });
      reactor->fdatasync(-1, [&](int result) {
        CHECK(result == -EBADF);
        if (++done == kCount) reactor->stop();
      });
    }
  };
  SUBCASE("queued before run") { start_all(); }
  SUBCASE("from a callback") { reactor->post(start_all); }
  reactor->run();
  CHECK(done == kCount);
  for (const int fd : pipe_ends) ::close(fd);
}

TEST_CASE("operations go on in the next run, and their callbacks never run after destruction") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte byte{};
  int calls = 0;
  int watched = 0;
  SocketPair other;
  reactor->recv(pair.ends[0], {&byte, 1}, [&](int result) {
    CHECK(result == 1);
    ++calls;
  });
  reactor->watch_readable(other.ends[0], [&] {
    ++watched;
    CHECK(::read(other.ends[0], &byte, 1) == 1);
  });
  reactor->run_after(2 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(calls == 0);
  REQUIRE(::write(pair.ends[1], "x", 1) == 1);
  REQUIRE(::write(other.ends[1], "x", 1) == 1);
  reactor->run_after(2 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(calls == 1);
  CHECK(watched == 1);
  auto alive = std::make_shared<int>(0);
  reactor->recv(pair.ends[0], {&byte, 1}, [&calls, alive](int) { ++calls; });
  reactor->post_from_any_thread([alive] {});
  reactor->run_after(kMillisecond, [alive] {});
  reactor.reset();
  CHECK(calls == 1);
  CHECK(alive.use_count() == 1);
}

TEST_CASE("made here, run there, destroyed here with operations in flight") {
  auto reactor = make_reactor();
  SocketPair pair;
  auto into = std::make_unique<std::byte[]>(4096);
  int calls = 0;
  reactor->recv(pair.ends[0], {into.get(), 4096}, [&](int) { ++calls; });
  reactor->watch_readable(pair.ends[0], [&] { ++calls; });
  std::thread loop([&] { reactor->run(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  reactor->stop();
  loop.join();
  reactor.reset();
  into.reset();
  REQUIRE(::write(pair.ends[1], "x", 1) == 1);  // nobody may write into the freed memory now
  CHECK(calls == 0);
}

TEST_CASE("a poller is asked on and on while it finds work, then for its spin time, then not") {
  auto reactor = make_reactor();
  int left = 1000;
  int calls = 0;
  std::uint64_t last_call = 0;
  std::uint64_t last_found = 0;
  WatchId id = 0;
  id = reactor->add_poller(2 * kMillisecond, [&] {
    ++calls;
    last_call = reactor->now_ns();
    if (left == 0) return false;
    --left;
    last_found = last_call;
    return true;
  });
  reactor->run_after(30 * kMillisecond, [&] {
    CHECK(left == 0);
    CHECK(last_call - last_found >= kMillisecond);
    CHECK(last_call - last_found < 20 * kMillisecond);
    reactor->remove_poller(id);
    calls = 0;
    reactor->run_after(kMillisecond, [&] { reactor->stop(); });
  });
  reactor->run();
  CHECK(calls == 0);
}

TEST_CASE("completions and other threads are served while a poller spins; it may remove itself") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte byte{};
  WatchId id = 0;
  bool received = false;
  bool posted = false;
  id = reactor->add_poller(1000 * kMillisecond, [&] {
    if (received && posted) {
      reactor->remove_poller(id);
      reactor->stop();
    }
    return true;
  });
  reactor->recv(pair.ends[0], {&byte, 1}, [&](int result) { received = result == 1; });
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(::write(pair.ends[1], "x", 1) == 1);
    reactor->post_from_any_thread([&] { posted = true; });
  });
  reactor->run();
  other.join();
  CHECK(received);
}

}  // namespace cairn::io
