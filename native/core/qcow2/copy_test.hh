// What the tests of the copy jobs share: running one job on a reactor, and files in memory.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "../../test/memory_device.hh"
#include "io/reactor.hh"
#include "net/socket.hh"

namespace cairn::qcow2 {

inline std::unique_ptr<io::Reactor> make_reactor() {
  auto reactor = io::Reactor::create();
  REQUIRE(reactor.is_ok());
  return std::move(*reactor);
}

// Runs the reactor until the job that start(done) begins has called done.
template <typename Start>
Status run_job(io::Reactor& reactor, Start start) {
  std::optional<Status> outcome;
  const auto job = start([&](Status status) {
    CHECK(!outcome.has_value());
    outcome = std::move(status);
    reactor.stop();
  });
  reactor.run();
  REQUIRE(outcome.has_value());
  return *outcome;
}

// Asks every millisecond whether reached() is true, for ten seconds at most; then runs then().
template <typename Reached, typename Then>
void wait_until(io::Reactor& reactor, Reached reached, Then then, int attempts = 10'000) {
  static_cast<void>(reactor.run_after(1'000'000, [&reactor, reached, then, attempts] {
    if (reached() || attempts == 0) {
      CHECK(attempts != 0);
      return then();
    }
    wait_until(reactor, reached, then, attempts - 1);
  }));
}

inline net::OwnedFd memory_file(ByteSpan content = {}) {
  net::OwnedFd fd(::memfd_create("cairn-test", MFD_CLOEXEC));
  REQUIRE(fd.get() >= 0);
  REQUIRE(::pwrite(fd.get(), content.data(), content.size(), 0) ==
          static_cast<ssize_t>(content.size()));
  return fd;
}

inline std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t length) {
  std::vector<std::byte> bytes(length);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

inline std::vector<std::byte> content_of(const net::OwnedFd& fd) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(::lseek(fd.get(), 0, SEEK_END)));
  REQUIRE(::pread(fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

inline bool same_bytes(ByteSpan left, ByteSpan right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

}  // namespace cairn::qcow2
