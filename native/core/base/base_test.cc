// Bytes, buffers, statuses, checksums, histograms and callables.
#include <doctest/doctest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include "base/buffer.hh"
#include "base/crc32c.hh"
#include "base/histogram.hh"
#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "base/status.hh"
#include "base/unique_function.hh"

namespace cairn {

TEST_CASE("crc32c: the check value, and a seed continues") {
  const ByteSpan digits = as_bytes("123456789");
  CHECK(crc32c(digits) == 0xe3069283U);
  CHECK(crc32c(digits.subspan(4), crc32c(digits.first(4))) == 0xe3069283U);
  CHECK(crc32c({}) == 0U);
}

TEST_CASE("histogram: every value lies in its bucket, with an error below 1/16") {
  for (std::uint64_t value = 0; value < 100000; value = value * 5 / 4 + 1) {
    const std::uint32_t bucket = Histogram::bucket_of(value);
    CHECK(value <= Histogram::upper_edge(bucket));
    if (bucket > 0) CHECK(value > Histogram::upper_edge(bucket - 1));
    CHECK(Histogram::upper_edge(bucket) - value <= value / 16 + 1);
  }
  CHECK(Histogram::bucket_of(~std::uint64_t{0}) == Histogram::kBuckets - 1);
  Histogram histogram;
  for (std::uint64_t i = 1; i <= 1000; ++i) histogram.record(i * 1000);
  CHECK(histogram.percentile_ns(0.5) >= 500000);
  CHECK(histogram.percentile_ns(0.5) <= 540000);
  CHECK(histogram.percentile_ns(1.0) == 1000000);
}

TEST_CASE("buffer: slices share the memory, which is aligned") {
  Buffer buffer = Buffer::zeroed(10000);
  CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % Buffer::kAlignment == 0);
  Buffer part = buffer.slice(4096, 100);
  buffer.data()[4096] = std::byte{7};
  buffer = Buffer();
  CHECK(part.span()[0] == std::byte{7});
}

TEST_CASE("buffer: memory that was released comes back as memory") {
  std::vector<Buffer> held;
  for (int i = 0; i < 300; ++i) held.push_back(Buffer::zeroed(4096));
  held.clear();
  Buffer::release_unused();
  Buffer::release_unused();
  for (int i = 0; i < 300; ++i) {
    held.push_back(Buffer::allocate(4096));
    held.back().data()[4095] = static_cast<std::byte>(i);
  }
  for (int i = 0; i < 300; ++i) {
    CHECK(held[static_cast<std::size_t>(i)].data()[4095] == static_cast<std::byte>(i));
  }
}

TEST_CASE("buffer: what one release does not give back, the next one does") {
  // The first round ends by what was needed before it.
  for (int round = 0; round < 2; ++round)
    while (Buffer::release_unused()) {
    }
  std::vector<Buffer> held;
  for (std::size_t i = 0; i < 2 * Buffer::kMaxReleasedPages + 10; ++i)
    held.push_back(Buffer::zeroed(4096));
  held.clear();
  CHECK(!Buffer::release_unused());  // they were needed since the call before
  CHECK(Buffer::release_unused());
  // What is needed meanwhile is not given back.
  held.push_back(Buffer::zeroed(4096));
  CHECK(Buffer::release_unused());
  CHECK(!Buffer::release_unused());
}

TEST_CASE("buffer: large memory that was freed serves the next of its size, also after a release") {
  constexpr std::size_t kBytes = Buffer::kMinLargeBytes + 1;
  std::vector<Buffer> held;
  for (int i = 0; i < 3; ++i) held.push_back(Buffer::zeroed(kBytes));
  const std::byte* const last = held.back().data();
  held.pop_back();
  held.push_back(Buffer::allocate(2 * Buffer::kMinLargeBytes));  // rounded up, they are the same
  CHECK(held.back().data() == last);
  held.clear();
  for (int i = 0; i < 4; ++i) Buffer::release_unused();
  for (int i = 0; i < 3; ++i) {
    held.push_back(Buffer::allocate(kBytes));
    std::memset(held.back().data(), i + 1, kBytes);
  }
  for (int i = 0; i < 3; ++i) {
    const ByteSpan bytes = held[static_cast<std::size_t>(i)].span();
    CHECK(bytes.front() == static_cast<std::byte>(i + 1));
    CHECK(bytes.back() == static_cast<std::byte>(i + 1));
  }
}

TEST_CASE("unique function: inline and heap callables move and run") {
  auto number = std::make_unique<int>(5);
  UniqueFunction<int(int)> small = [number = std::move(number)](int x) { return *number + x; };
  UniqueFunction<int(int)> moved = std::move(small);
  CHECK(!small);
  CHECK(moved(2) == 7);
  struct Large {
    char bytes[500] = {1};
  };
  UniqueFunction<int()> large = [l = Large{}] { return int{l.bytes[0]}; };
  UniqueFunction<int()> large_moved = std::move(large);
  CHECK(large_moved() == 1);
}

TEST_CASE("reader: never past the end, the first failure sticks") {
  Writer writer;
  writer.put<std::uint32_t>(7);
  writer.text16("abc");
  Reader reader(writer.span());
  CHECK(reader.get<std::uint32_t>() == 7);
  CHECK(reader.text16() == "abc");
  CHECK(reader.at_end());
  CHECK(reader.get<std::uint8_t>() == 0);
  CHECK(!reader.ok());
}

TEST_CASE("status: errno keeps its meaning") {
  CHECK(Status::from_errno(ENOSPC, "write").code() == ErrorCode::no_space);
  CHECK(Status::from_errno(EIO, "write").to_string() == "io_error: write: Input/output error");
}

CAIRN_DEFINE_PROBE(probe_of_base_test);

TEST_CASE("probe: listed before its first hit, and counted") {
  const auto hits = [] {
    for (const auto& [name, count] : Probe::all()) {
      if (name == "probe_of_base_test") return count;
    }
    return ~std::uint64_t{0};
  };
  CHECK(hits() == 0);
  probe_of_base_test.hit();
  CHECK(hits() == 1);
}

TEST_CASE("planted bugs: each has a name of its own, and none is live unless it is chosen") {
  std::set<std::string_view> names;
  for (int bug = 1; bug <= static_cast<int>(PlantedBug::double_fetch); ++bug) {
    const auto value = static_cast<PlantedBug>(bug);
    CHECK(!name_of(value).empty());
    CHECK(names.insert(name_of(value)).second);
    if (!kPlantedBugsBuilt) CHECK(!planted(value));
  }
}

}  // namespace cairn
