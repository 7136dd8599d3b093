// The ring: order, wrap-around, notification arithmetic, and everything a driver can get wrong.
#include "virtio/split_queue.hh"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "virtio/driver_queue.hh"
#include "virtio/test_support.hh"

namespace cairn::virtio {
namespace {

constexpr std::uint32_t kSize = 8;
constexpr std::uint64_t kAllRing = kFeatureIndirectDescriptors | kFeatureEventIdx;
constexpr std::uint64_t kRingRoom = 0x10000;

struct Fixture {
  explicit Fixture(std::uint32_t size = kSize, std::uint64_t features = kAllRing,
                   std::uint16_t first = 0)
      : memory(0x80000),
        driver(memory.data, memory.base, size, features, first),
        made(SplitQueue::make(memory.memory, size, driver.addresses(), first, features)) {
    REQUIRE(made.is_ok());
  }
  SplitQueue& queue() { return *made; }
  std::uint64_t room(std::uint64_t offset = 0) const { return memory.base + kRingRoom + offset; }
  void raw(std::uint32_t index, std::uint64_t address, std::uint32_t length, std::uint16_t flags,
           std::uint16_t next) {
    store_le(driver.descriptor(index), address);
    store_le(driver.descriptor(index) + 8, length);
    store_le(driver.descriptor(index) + 12, flags);
    store_le(driver.descriptor(index) + 14, next);
  }
  void make_available(std::uint16_t head) {
    const auto index = load_le<std::uint16_t>(driver.available() + kAvailableIndexAt);
    store_le(driver.available() + kAvailableRingAt + 2 * (index % queue().size()), head);
    store_le(driver.available() + kAvailableIndexAt, static_cast<std::uint16_t>(index + 1));
  }
  test::TestMemory memory;
  DriverQueue driver;
  Result<SplitQueue> made;
  Chain chain;
};

TEST_CASE("chains come out as they were put in, over many laps and the 65535 wrap") {
  for (const std::uint16_t first : {std::uint16_t{0}, std::uint16_t{65530}}) {
    Fixture f(kSize, kAllRing, first);
    for (std::uint32_t lap = 0; lap < 70'000; ++lap) {
      const DriverQueue::Piece pieces[] = {{f.room(lap), 16, false}, {f.room(lap + 16), 7, true}};
      const auto head = f.driver.add(pieces);
      REQUIRE(head.has_value());
      f.driver.publish();
      REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
      REQUIRE(f.chain.head == *head);
      REQUIRE(f.chain.readable.size() == 1);
      REQUIRE(f.chain.readable[0].address == f.room(lap));
      REQUIRE(f.chain.writable.size() == 1);
      REQUIRE(f.chain.writable[0].length_bytes == 7);
      REQUIRE(f.queue().pop(f.chain) == PopResult::empty);
      f.queue().push(*head, lap);
      REQUIRE_FALSE(f.driver.has_used());  // not before publish
      f.queue().publish();
      const auto used = f.driver.take_used();
      REQUIRE(used.has_value());
      REQUIRE(used->head == *head);
      REQUIRE(used->written_bytes == lap);
    }
  }
}

TEST_CASE("a full ring, answered out of order") {
  Fixture f;
  std::vector<std::uint16_t> heads;
  for (std::uint32_t i = 0; i < kSize; ++i) {
    const DriverQueue::Piece piece{f.room(i), 1, true};
    heads.push_back(f.driver.add({&piece, 1}).value());
  }
  const DriverQueue::Piece piece{f.room(), 1, true};
  CHECK_FALSE(f.driver.add({&piece, 1}).has_value());
  f.driver.publish();
  for (std::uint32_t i = 0; i < kSize; ++i) REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
  CHECK(f.queue().outstanding() == kSize);
  for (std::size_t i = heads.size(); i > 0; --i) f.queue().push(heads[i - 1], 0);
  f.queue().publish();
  for (std::size_t i = heads.size(); i > 0; --i)
    CHECK(f.driver.take_used().value().head == heads[i - 1]);
  CHECK(f.queue().outstanding() == 0);
}

TEST_CASE("indirect chains, also behind ordinary descriptors and longer than the queue") {
  Fixture f;
  std::vector<DriverQueue::Piece> pieces;
  for (std::uint32_t i = 0; i < 100; ++i) pieces.push_back({f.room(i), i, i >= 50});
  REQUIRE(f.driver.add_indirect(pieces, f.memory.at(f.room(0x1000)), f.room(0x1000)).has_value());
  f.driver.publish();
  REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
  CHECK(f.chain.readable.size() == 50);
  CHECK(f.chain.writable.size() == 50);
  CHECK(f.chain.writable[49].length_bytes == 99);
  // 2.6.5.3.2: zero or more ordinary descriptors, then one indirect
  f.raw(6, f.room(), 16, kDescriptorNext, 7);
  f.raw(7, f.room(0x1000), 16 * 100, kDescriptorIndirect, 0);
  f.make_available(6);
  REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
  CHECK(f.chain.readable.size() == 51);
}

// Breaks the ring by one descriptor setting and returns what the queue says.
using Breaker = void (*)(Fixture&);
struct Broken {
  const char* name;
  Breaker breaker;
};
const Broken kBroken[] = {
    {"loop of one", [](Fixture& f) { f.raw(0, f.room(), 1, kDescriptorNext, 0); }},
    {"loop of two",
     [](Fixture& f) {
       f.raw(0, f.room(), 1, kDescriptorNext, 1);
       f.raw(1, f.room(), 1, kDescriptorNext, 0);
     }},
    {"next outside", [](Fixture& f) { f.raw(0, f.room(), 1, kDescriptorNext, kSize); }},
    {"readable after writable",
     [](Fixture& f) {
       f.raw(0, f.room(), 1, kDescriptorNext | kDescriptorWrite, 1);
       f.raw(1, f.room(), 1, 0, 0);
     }},
    {"indirect and next",
     [](Fixture& f) { f.raw(0, f.room(), 16, kDescriptorIndirect | kDescriptorNext, 1); }},
    {"indirect table empty", [](Fixture& f) { f.raw(0, f.room(), 0, kDescriptorIndirect, 0); }},
    {"indirect table of 15 bytes",
     [](Fixture& f) { f.raw(0, f.room(), 15, kDescriptorIndirect, 0); }},
    {"indirect table outside memory",
     [](Fixture& f) { f.raw(0, 0x1000, 16, kDescriptorIndirect, 0); }},
    {"indirect table that wraps",
     [](Fixture& f) { f.raw(0, ~std::uint64_t{15}, 32, kDescriptorIndirect, 0); }},
    {"indirect table not aligned",
     [](Fixture& f) { f.raw(0, f.room(4), 16, kDescriptorIndirect, 0); }},
    {"indirect table of 2^28 entries",
     [](Fixture& f) { f.raw(0, f.room(), 0xffff'fff0, kDescriptorIndirect, 0); }},
    {"indirect in indirect",
     [](Fixture& f) {
       f.raw(0, f.room(), 16, kDescriptorIndirect, 0);
       store_le(f.memory.at(f.room()), f.room(0x100));
       store_le(f.memory.at(f.room(8)), std::uint64_t{kDescriptorIndirect} << 32 | 16);
     }},
    {"indirect next outside its table",
     [](Fixture& f) {
       f.raw(0, f.room(), 16, kDescriptorIndirect, 0);
       store_le(f.memory.at(f.room(8)),
                std::uint64_t{1} << 48 | std::uint64_t{kDescriptorNext} << 32 | 1);
     }},
};

TEST_CASE("a chain that no driver may make breaks the ring, for good") {
  for (const Broken& broken : kBroken) {
    CAPTURE(broken.name);
    Fixture f;
    broken.breaker(f);
    f.make_available(0);
    CHECK(f.queue().pop(f.chain) == PopResult::broken);
    CHECK(f.queue().error() != nullptr);
    CHECK(f.queue().pop(f.chain) == PopResult::broken);
  }
}

TEST_CASE("an indirect descriptor that was not negotiated breaks the ring") {
  Fixture f(kSize, kFeatureEventIdx);
  f.raw(0, f.room(), 16, kDescriptorIndirect, 0);
  f.make_available(0);
  CHECK(f.queue().pop(f.chain) == PopResult::broken);
}

TEST_CASE("indices and heads out of range break the ring") {
  SUBCASE("head") {
    Fixture f;
    f.make_available(kSize);
    CHECK(f.queue().pop(f.chain) == PopResult::broken);
  }
  SUBCASE("index ahead by more than the size") {
    Fixture f;
    store_le(f.driver.available() + kAvailableIndexAt, std::uint16_t{kSize + 1});
    CHECK(f.queue().pop(f.chain) == PopResult::broken);
  }
  SUBCASE("index behind") {
    Fixture f(kSize, kAllRing, 5);
    store_le(f.driver.available() + kAvailableIndexAt, std::uint16_t{4});
    CHECK(f.queue().pop(f.chain) == PopResult::broken);
  }
  SUBCASE("the same chain again and again") {
    Fixture f;
    f.raw(0, f.room(), 1, kDescriptorWrite, 0);
    for (std::uint32_t i = 0; i < kSize; ++i) {
      f.make_available(0);
      REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
    }
    f.make_available(0);
    CHECK(f.queue().pop(f.chain) == PopResult::broken);
  }
}

TEST_CASE("a ring that is not in memory, not aligned or not of a possible size is refused") {
  test::TestMemory memory(0x10000);
  const auto refused = [&](std::uint32_t size, const RingAddresses& addresses) {
    return !SplitQueue::make(memory.memory, size, addresses, 0, 0);
  };
  const std::uint64_t base = memory.base;
  const RingAddresses good{base, base + 0x1000, base + 0x2000};
  CHECK_FALSE(refused(8, good));
  for (const std::uint32_t size : {0U, 3U, 65536U}) CHECK(refused(size, good));
  CHECK(refused(32768, good));  // does not fit
  CHECK(refused(8, {base + 8, good.available, good.used}));
  CHECK(refused(8, {base, good.available + 1, good.used}));
  CHECK(refused(8, {base, good.available, good.used + 2}));
  CHECK(refused(8, {base, good.available, base + 0x10000 - 64}));
  CHECK(refused(8, {base, ~std::uint64_t{1}, good.used}));
}

TEST_CASE("event_needed is the window arithmetic of the specification") {
  CHECK(event_needed(0, 1, 0));
  CHECK_FALSE(event_needed(1, 1, 0));
  CHECK(event_needed(4, 8, 3));
  CHECK(event_needed(3, 8, 3));
  CHECK_FALSE(event_needed(2, 8, 3));
  CHECK_FALSE(event_needed(8, 8, 3));
  CHECK(event_needed(65535, 1, 65533));
  CHECK_FALSE(event_needed(1, 1, 65533));
  CHECK_FALSE(event_needed(7, 7, 7));
}

// One request there and back; whether the device calls.
bool round_trip(Fixture& f) {
  const DriverQueue::Piece piece{f.room(), 1, true};
  f.driver.add({&piece, 1});
  f.driver.publish();
  REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
  f.queue().push(f.chain.head, 1);
  return f.queue().publish();
}

TEST_CASE("calls are made when the driver asks, by EVENT_IDX or by flag, across the wrap") {
  for (const std::uint64_t features : {kAllRing, std::uint64_t{0}}) {
    Fixture f(kSize, features, 65533);
    CHECK(round_trip(f));  // the first one always calls
    f.driver.take_used();
    for (int i = 0; i < 10; ++i) {
      f.driver.disable_calls();
      CHECK_FALSE(round_trip(f));
      CHECK(f.driver.take_used().has_value());
      CHECK_FALSE(f.driver.enable_calls());
      CHECK(round_trip(f));
      CHECK(f.driver.enable_calls());  // one is there
      CHECK(f.driver.take_used().has_value());
    }
  }
}

TEST_CASE("kicks are wanted while enabled and not while disabled") {
  for (const std::uint64_t features : {kAllRing, std::uint64_t{0}}) {
    Fixture f(kSize, features, 65533);
    for (int i = 0; i < 10; ++i) {
      const DriverQueue::Piece piece{f.room(), 1, true};
      CHECK_FALSE(f.queue().enable_notifications());
      f.driver.add({&piece, 1});
      CHECK(f.driver.publish());
      CHECK(f.queue().enable_notifications());  // one is there
      REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
      f.queue().push(f.chain.head, 0);
      f.queue().disable_notifications();
      f.driver.add({&piece, 1});
      CHECK_FALSE(f.driver.publish());
      REQUIRE(f.queue().pop(f.chain) == PopResult::chain);
      f.queue().push(f.chain.head, 0);
      f.queue().publish();
      while (f.driver.take_used()) {
      }
    }
  }
}

TEST_CASE("a driver that rewrites descriptors during the walk gets one of its versions, whole") {
  // Two versions of descriptor 0, each consistent in itself: address and length belong together
  // only by accident (16 bytes are two loads), but flags, next and length are one.
  Fixture f;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      // A loop and an end, an indirect one and a head outside: everything that is checked changes.
      const std::uint64_t versions[] = {
          std::uint64_t{kDescriptorWrite} << 32 | 512,
          std::uint64_t{7} << 48 | std::uint64_t{kDescriptorNext} << 32 | 16,
          std::uint64_t{0xffff} << 48 | std::uint64_t{kDescriptorNext} << 32 | 16,
          std::uint64_t{kDescriptorIndirect} << 32 | 0xffff'fff0,
          std::uint64_t{kDescriptorIndirect} << 32 | 64};
      store_shared<std::uint64_t>(f.driver.descriptor(0) + 8, versions[i % 5]);
      store_shared<std::uint64_t>(f.driver.descriptor(0), i % 2 == 0 ? f.room() : ~i);
    }
  });
  f.raw(7, f.room(), 33, kDescriptorWrite, 0);
  int chains = 0;
  // On a loaded machine the writer may stand still for long, on a version that makes no chain.
  for (int round = 0; round < 100'000 || (chains == 0 && round < 100'000'000); ++round) {
    auto queue = SplitQueue::make(f.memory.memory, kSize, f.driver.addresses(), 0, kAllRing);
    REQUIRE(queue.is_ok());
    store_shared<std::uint16_t>(f.driver.available() + kAvailableIndexAt, 1);
    store_shared<std::uint16_t>(f.driver.available() + kAvailableRingAt, 0);
    if (queue->pop(f.chain) != PopResult::chain) continue;
    ++chains;
    for (const GuestRange& range : f.chain.readable) REQUIRE(range.length_bytes <= 16);
    for (const GuestRange& range : f.chain.writable)
      REQUIRE((range.length_bytes == 512 || range.length_bytes == 33));
  }
  stop = true;
  writer.join();
  CHECK(chains > 0);
}

}  // namespace
}  // namespace cairn::virtio
