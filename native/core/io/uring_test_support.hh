// What the tests of the reactor and of its disk share: a reactor or a failed test, a wait for one
// operation, and a pair of sockets.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "io/disk.hh"
#include "io/uring_reactor.hh"

namespace cairn::io {

constexpr std::uint64_t kMillisecond = 1'000'000;  // in nanoseconds

inline std::unique_ptr<UringReactor> make_reactor() {
  auto made = UringReactor::make();
  REQUIRE_MESSAGE(made.is_ok(), made.status().to_string());
  return std::move(made.value());
}

// Starts one asynchronous operation and runs the reactor until it has completed.
inline Status wait_for(Reactor& reactor, const std::function<void(DiskDone)>& start) {
  Status outcome(ErrorCode::timed_out, "no completion");
  start([&](Status status) {
    outcome = std::move(status);
    reactor.stop();
  });
  reactor.run();
  return outcome;
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

}  // namespace cairn::io
