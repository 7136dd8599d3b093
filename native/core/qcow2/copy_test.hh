// What the tests of the copy jobs share: running one job on a reactor, and files in memory.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "../../test/memory_device.hh"
#include "io/reactor.hh"
#include "net/socket.hh"
#include "qcow2/piece_builder.hh"

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

// A random image: its files, its extents, and what the disk must read as.
struct Layout {
  std::vector<std::vector<std::byte>> files{2};
  std::vector<SourceExtent> extents;
  std::vector<std::byte> disk;

  Layout(std::mt19937_64& random, std::vector<std::byte> before) : disk(std::move(before)) {
    constexpr std::uint64_t kMiB = 1 << 20;
    std::uint64_t offset = 0;
    while (offset < disk.size()) {
      const std::uint64_t most = random() % 8 == 0 ? 3 * kMiB : 200'000;
      const std::uint64_t length =
          std::min(disk.size() - offset, (random() % most / 512 + 1) * 512);
      if (random() % 5 != 0) add(random, offset, length);  // else a gap
      offset += length;
    }
  }

  void add(std::mt19937_64& random, std::uint64_t offset, std::uint64_t length) {
    SourceExtent extent;
    extent.guest_offset = offset;
    extent.length_bytes = length;
    extent.source = static_cast<std::uint32_t>(random() % 2);
    extent.kind = static_cast<SourceKind>(random() % 4);
    std::vector<std::byte> content(length);
    if (extent.kind != SourceKind::zero) {
      for (std::size_t i = 0; i < length; ++i)
        content[i] = i / 4096 % 3 == 1 ? std::byte{} : static_cast<std::byte>(random() % 251);
    }
    std::vector<std::byte>& file = files[extent.source];
    if (extent.kind == SourceKind::data) {
      extent.host_offset = file.size();
      file.insert(file.end(), content.begin(), content.end());
    } else if (extent.kind != SourceKind::zero) {
      if (length > kMaxClusterBytes / 2) content.resize(extent.length_bytes = kMaxClusterBytes / 2);
      // The extent is a part of its cluster, sometimes all of it.
      extent.cluster_offset = random() % 2 == 0 ? 0 : 1024;
      std::vector<std::byte> cluster(extent.cluster_offset, std::byte{0x55});
      cluster.insert(cluster.end(), content.begin(), content.end());
      if (random() % 2 == 0) cluster.resize(cluster.size() + 512, std::byte{0x66});
      pack(extent, cluster, file);
    }
    std::copy(content.begin(), content.end(), disk.begin() + static_cast<std::ptrdiff_t>(offset));
    extents.push_back(extent);
  }

  static void pack(SourceExtent& extent, const std::vector<std::byte>& cluster,
                   std::vector<std::byte>& file) {
    std::vector<std::byte> packed(ZSTD_compressBound(cluster.size()) + 1000);
    if (extent.kind == SourceKind::zstd) {
      packed.resize(ZSTD_compress(packed.data(), packed.size(), cluster.data(), cluster.size(), 1));
    } else {
      z_stream stream{};
      REQUIRE(deflateInit2(&stream, 1, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(cluster.data()));
      stream.avail_in = static_cast<uInt>(cluster.size());
      stream.next_out = reinterpret_cast<Bytef*>(packed.data());
      stream.avail_out = static_cast<uInt>(packed.size());
      REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
      packed.resize(stream.total_out);
      deflateEnd(&stream);
    }
    extent.host_offset = file.size();
    extent.compressed_bytes = static_cast<std::uint32_t>(packed.size());
    extent.cluster_bytes = static_cast<std::uint32_t>(cluster.size());
    file.insert(file.end(), packed.begin(), packed.end());
  }
};

}  // namespace cairn::qcow2
