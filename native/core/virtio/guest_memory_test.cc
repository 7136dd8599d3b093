// Translation never gives out a pointer beyond what is mapped.
#include "virtio/guest_memory.hh"

#include <doctest/doctest.h>
#include <fcntl.h>

#include "virtio/test_support.hh"

namespace cairn::virtio {
namespace {

constexpr std::uint64_t kTop = ~std::uint64_t{0};

struct TwoRegions {
  // [0x1000, 0x3000) and [0x3000, 0x4000) adjoin, [0x8000, 0x9000) stands alone. The first begins
  // in the middle of its file.
  TwoRegions() {
    fd = ::memfd_create("regions", MFD_CLOEXEC);
    REQUIRE(::ftruncate(fd, 0x5000) == 0);
    const RegionSource sources[] = {
        {0x3000, 0x1000, 0, fd}, {0x1000, 0x2000, 0x2000, fd}, {0x8000, 0x1000, 0x4000, fd}};
    auto mapped = GuestMemory::map(sources);
    REQUIRE(mapped.is_ok());
    memory = std::move(*mapped);
  }
  ~TwoRegions() { ::close(fd); }
  int fd;
  std::shared_ptr<const GuestMemory> memory;
};

std::uint64_t translated(const GuestMemory& memory, std::uint64_t address, std::uint64_t length,
                         std::size_t& pieces) {
  std::vector<MutableByteSpan> into;
  if (!memory.translate(address, length, into)) return kTop;
  pieces = into.size();
  std::uint64_t sum = 0;
  for (const auto& piece : into) sum += piece.size();
  return sum;
}

TEST_CASE("a contiguous range is given out only from inside one region") {
  TwoRegions regions;
  const GuestMemory& memory = *regions.memory;
  CHECK(memory.contiguous(0x1000, 0x2000) != nullptr);
  CHECK(memory.contiguous(0x2fff, 1) == memory.contiguous(0x1000, 1) + 0x1fff);
  CHECK(memory.contiguous(0xfff, 1) == nullptr);
  CHECK(memory.contiguous(0x1000, 0x2001) == nullptr);
  CHECK(memory.contiguous(0x2fff, 2) == nullptr);
  CHECK(memory.contiguous(0x4000, 1) == nullptr);
  CHECK(memory.contiguous(0x8fff, 2) == nullptr);
  CHECK(memory.contiguous(0x1000, 0) == nullptr);
}

TEST_CASE("sums that wrap around are no way in") {
  TwoRegions regions;
  const GuestMemory& memory = *regions.memory;
  CHECK(memory.contiguous(0x1000, kTop) == nullptr);
  CHECK(memory.contiguous(kTop, 0x2000) == nullptr);
  CHECK(memory.contiguous(kTop - 0xfff, 0x3000) == nullptr);
  std::size_t pieces = 0;
  CHECK(translated(memory, 0x1000, kTop - 0xfff, pieces) == kTop);
  CHECK(translated(memory, kTop, 1, pieces) == kTop);
}

TEST_CASE("a range may span regions that adjoin, and no gap") {
  TwoRegions regions;
  std::size_t pieces = 0;
  CHECK(translated(*regions.memory, 0x1800, 0x2800, pieces) == 0x2800);
  CHECK(pieces == 2);
  CHECK(translated(*regions.memory, 0x1800, 0x2801, pieces) == kTop);
  CHECK(translated(*regions.memory, 0x3fff, 0x4002, pieces) == kTop);
  CHECK(translated(*regions.memory, 0x9000, 0, pieces) == 0);
  CHECK(pieces == 0);
}

TEST_CASE("a region's file offset is honoured") {
  TwoRegions regions;
  *regions.memory->contiguous(0x1005, 1) = std::byte{0x5a};
  std::byte seen{};
  REQUIRE(::pread(regions.fd, &seen, 1, 0x2005) == 1);
  CHECK(seen == std::byte{0x5a});
}

TEST_CASE("impossible regions are refused") {
  const int fd = ::memfd_create("regions", MFD_CLOEXEC);
  REQUIRE(::ftruncate(fd, 0x2000) == 0);
  const auto refused = [&](std::vector<RegionSource> sources) {
    const auto mapped = GuestMemory::map(sources);
    return !mapped && mapped.status().code() == ErrorCode::invalid_argument;
  };
  CHECK(refused({{0x1000, 0, 0, fd}}));                              // empty
  CHECK(refused({{0x1000, 0x2001, 0, fd}}));                         // past the end of the file
  CHECK(refused({{0x1000, 0x1000, kTop - 0xfff, fd}}));              // offset wraps
  CHECK(refused({{kTop - 0xfff, 0x1001, 0, fd}}));                   // addresses wrap
  CHECK(refused({{0x1000, 0x1000, 0, fd}, {0x1fff, 0x10, 0, fd}}));  // overlap
  int pipes[2];
  REQUIRE(::pipe2(pipes, O_CLOEXEC) == 0);
  CHECK(refused({{0x1000, 0x1000, 0, pipes[0]}}));  // nothing that can be mapped
  for (const int open : {fd, pipes[0], pipes[1]}) ::close(open);
}

}  // namespace
}  // namespace cairn::virtio
