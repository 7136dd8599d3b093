// What the tests of the reactor and of its disk share: a reactor or a failed test, a wait for one
// operation, a pair of sockets, and disks on files of the current directory (the build folder).
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "io/disk.hh"
#include "io/uring_disk.hh"
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

constexpr std::uint64_t kMiB = 1 << 20;

// A path in the current directory that is gone at the end.
struct TemporaryPath {
  std::string path;
  explicit TemporaryPath(const char* name) : path(std::string("uring_disk_test.") + name) {
    ::unlink(path.c_str());
  }
  ~TemporaryPath() { ::unlink(path.c_str()); }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;
};

inline std::unique_ptr<UringDisk> open_disk(Reactor& reactor, const std::string& path,
                                            const UringDisk::Options& options) {
  auto disk = UringDisk::open(reactor, path, options);
  REQUIRE_MESSAGE(disk.is_ok(), disk.status().to_string());
  return std::move(disk.value());
}

inline UringDisk::Options new_file(std::uint64_t size_bytes) { return {true, size_bytes, true}; }

inline Buffer filled(std::size_t length, int value) {
  Buffer buffer = Buffer::allocate(length);
  std::memset(buffer.data(), value, length);
  return buffer;
}

inline bool all_are(ByteSpan bytes, int value) {
  for (const std::byte byte : bytes)
    if (byte != static_cast<std::byte>(value)) return false;
  return true;
}

}  // namespace cairn::io
