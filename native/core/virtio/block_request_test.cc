// Requests as drivers make them, and as they should not.
#include "virtio/block_request.hh"

#include <doctest/doctest.h>

#include "virtio/test_support.hh"

namespace cairn::virtio {
namespace {

constexpr std::uint64_t kDiskBytes = 1U << 20;
constexpr std::uint64_t kDiskSectors = kDiskBytes / kSectorBytes;
constexpr std::uint64_t kData = 0x11'0000;
constexpr std::uint64_t kStatus = 0x12'0000;

struct Fixture {
  Fixture() : memory(0x80000) {}

  void header(BlockRequestType type, std::uint64_t sector) {
    store_le(memory.at(memory.base), static_cast<std::uint32_t>(type));
    store_le(memory.at(memory.base + 8), sector);
    chain.readable = {{memory.base, 16}};
    chain.writable = {{kStatus, 1}};
  }
  void in(std::uint64_t sector, std::uint32_t length) {
    header(BlockRequestType::in, sector);
    chain.writable = {{kData, length}, {kStatus, 1}};
  }
  void out(std::uint64_t sector, std::uint32_t length) {
    header(BlockRequestType::out, sector);
    chain.readable.push_back({kData, length});
  }
  struct Segment {
    std::uint64_t sector;
    std::uint32_t count;
    std::uint32_t flags;
  };
  void segments(BlockRequestType type, const std::vector<Segment>& list) {
    header(type, 0);
    std::byte* at = memory.at(kData);
    for (const Segment& segment : list) {
      store_le(at, segment.sector);
      store_le(at + 8, segment.count);
      store_le(at + 12, segment.flags);
      at += 16;
    }
    chain.readable.push_back({kData, static_cast<std::uint32_t>(16 * list.size())});
  }
  ParseOutcome parse() {
    return parse_block_request(chain, *memory.memory, {kDiskBytes, read_only}, request);
  }
  bool ready() { return parse().result == ParseResult::ready; }
  bool answered(BlockStatus status) {
    const ParseOutcome outcome = parse();
    return outcome.result == ParseResult::answer && outcome.status == status;
  }

  test::TestMemory memory;
  Chain chain;
  BlockRequest request;
  bool read_only = false;
};

TEST_CASE("a read and a write in the usual framing") {
  Fixture f;
  f.in(8, 4096);
  REQUIRE(f.ready());
  CHECK(f.request.type == BlockRequestType::in);
  CHECK(f.request.offset == 4096);
  CHECK(f.request.data_bytes == 4096);
  CHECK(f.request.written_bytes == 4097);
  CHECK(f.request.data.size() == 1);
  CHECK(f.request.data[0].data() == f.memory.at(kData));
  CHECK(f.request.status == f.memory.at(kStatus));
  f.out(kDiskSectors - 1, 512);
  REQUIRE(f.ready());
  CHECK(f.request.offset == kDiskBytes - 512);
  CHECK(f.request.data_bytes == 512);
  CHECK(f.request.written_bytes == 1);
}

TEST_CASE("framing does not matter: a header in pieces, data behind it, status in one with data") {
  Fixture f;
  f.header(BlockRequestType::out, 3);
  f.chain.readable = {{f.memory.base, 1}, {f.memory.base + 1, 0}, {f.memory.base + 1, 15 + 512}};
  REQUIRE(f.ready());
  CHECK(f.request.offset == 3 * 512);
  CHECK(f.request.data_bytes == 512);
  CHECK(f.request.data[0].data() == f.memory.at(f.memory.base + 16));
  f.header(BlockRequestType::in, 0);
  f.chain.writable = {{kData, 513}};
  REQUIRE(f.ready());
  CHECK(f.request.data_bytes == 512);
  CHECK(f.request.status == f.memory.at(kData + 512));
  CHECK(f.request.data[0].size() == 512);
}

TEST_CASE("what is past the end, not whole sectors, too large or outside memory is an I/O error") {
  Fixture f;
  f.in(kDiskSectors - 1, 1024);
  CHECK(f.answered(BlockStatus::io_error));
  f.in(kDiskSectors + 1, 512);
  CHECK(f.answered(BlockStatus::io_error));
  f.in(~std::uint64_t{0}, 512);
  CHECK(f.answered(BlockStatus::io_error));
  f.in(~std::uint64_t{0} / 512, 512);
  CHECK(f.answered(BlockStatus::io_error));
  f.in(0, 100);
  CHECK(f.answered(BlockStatus::io_error));
  f.in(0, 4096);
  f.chain.writable[0].address = 0x1000;
  CHECK(f.answered(BlockStatus::io_error));
  f.chain.writable[0].address = ~std::uint64_t{0} - 100;
  CHECK(f.answered(BlockStatus::io_error));
  f.out(0, 4096);
  f.chain.readable[1].address = f.memory.base + f.memory.length - 4095;
  CHECK(f.answered(BlockStatus::io_error));
  f.out(0, 0x7000);
  f.chain.readable.resize(1 + 2048, {kData, 0x7000});  // 57 MiB, all of it guest memory
  CHECK(f.answered(BlockStatus::io_error));
}

TEST_CASE("no data at all is done at once") {
  Fixture f;
  f.in(kDiskSectors, 0);
  CHECK(f.answered(BlockStatus::ok));
}

TEST_CASE("a short header is an I/O error, no status byte is unanswerable") {
  Fixture f;
  f.in(0, 512);
  f.chain.readable = {{f.memory.base, 15}};
  CHECK(f.answered(BlockStatus::io_error));
  f.chain.readable.clear();
  CHECK(f.answered(BlockStatus::io_error));
  f.in(0, 512);
  f.chain.writable.clear();
  CHECK(f.parse().result == ParseResult::unanswerable);
  f.chain.writable = {{kData, 0}};
  CHECK(f.parse().result == ParseResult::unanswerable);
  f.chain.writable = {{kData, 512}, {0x10, 1}};
  CHECK(f.parse().result == ParseResult::unanswerable);
  f.chain.writable = {{~std::uint64_t{0}, 0xffff'ffff}};
  CHECK(f.parse().result == ParseResult::unanswerable);
}

TEST_CASE("unknown types are unsupported, SCSI and the legacy barrier bit among them") {
  Fixture f;
  for (const std::uint32_t type : {2U, 3U, 14U, 0x8000'0001U, 0xffff'ffffU}) {
    f.header(static_cast<BlockRequestType>(type), 0);
    CHECK(f.answered(BlockStatus::unsupported));
  }
}

TEST_CASE("discard and write zeroes: segments, limits and flags") {
  Fixture f;
  f.segments(BlockRequestType::discard, {{8, 8, 0}, {100, 1, 0}, {5, 0, 0}});
  REQUIRE(f.ready());
  REQUIRE(f.request.ranges.size() == 2);
  CHECK(f.request.ranges[0].offset == 4096);
  CHECK(f.request.ranges[0].length_bytes == 4096);
  f.segments(BlockRequestType::write_zeroes, {{0, 1, 1}});
  REQUIRE(f.ready());
  CHECK(f.request.ranges[0].may_unmap);
  f.segments(BlockRequestType::write_zeroes, {{0, 0, 0}});
  CHECK(f.answered(BlockStatus::ok));
  f.segments(BlockRequestType::discard, {{0, 1, 1}});
  CHECK(f.answered(BlockStatus::unsupported));
  f.segments(BlockRequestType::write_zeroes, {{0, 1, 2}});
  CHECK(f.answered(BlockStatus::unsupported));
  f.segments(BlockRequestType::discard, {{kDiskSectors, 1, 0}});
  CHECK(f.answered(BlockStatus::io_error));
  f.segments(BlockRequestType::discard, {{0, kMaxDiscardSectors + 1, 0}});
  CHECK(f.answered(BlockStatus::io_error));
  f.segments(BlockRequestType::discard, {});
  CHECK(f.answered(BlockStatus::io_error));
  f.segments(BlockRequestType::discard, std::vector<Fixture::Segment>(17, {0, 1, 0}));
  CHECK(f.answered(BlockStatus::io_error));
  f.segments(BlockRequestType::discard, {{0, 1, 0}});
  f.chain.readable[1].length_bytes = 15;
  CHECK(f.answered(BlockStatus::io_error));
}

TEST_CASE("a read-only disk takes no write of any kind") {
  Fixture f;
  f.read_only = true;
  f.out(0, 512);
  CHECK(f.answered(BlockStatus::io_error));
  f.segments(BlockRequestType::discard, {{0, 1, 0}});
  CHECK(f.answered(BlockStatus::io_error));
  f.segments(BlockRequestType::write_zeroes, {{0, 1, 0}});
  CHECK(f.answered(BlockStatus::io_error));
  f.in(0, 512);
  CHECK(f.ready());
  CHECK((block_features({kDiskBytes, 1, true}) & kBlockReadOnly) != 0);
  CHECK((block_features({kDiskBytes, 1, true}) & kBlockDiscard) == 0);
}

TEST_CASE("the configuration space, byte for byte") {
  const BlockConfig config = block_config({kDiskBytes + 511, 4, false});
  CHECK(load_le<std::uint64_t>(&config[0]) == kDiskSectors);
  CHECK(load_le<std::uint32_t>(&config[8]) == 256 * 1024);
  CHECK(load_le<std::uint32_t>(&config[12]) == 126);
  CHECK(load_le<std::uint32_t>(&config[20]) == 512);
  CHECK(config[24] == std::byte{3});
  CHECK(load_le<std::uint16_t>(&config[26]) == 8);
  CHECK(load_le<std::uint16_t>(&config[34]) == 4);
  CHECK(load_le<std::uint32_t>(&config[36]) == kMaxDiscardSectors);
  CHECK(load_le<std::uint32_t>(&config[40]) == 16);
  CHECK(config[56] == std::byte{1});
}

}  // namespace
}  // namespace cairn::virtio
