// One virtqueue over a disk in memory: contents, batching, back-pressure, draining, broken rings.
#include "virtio/block_queue.hh"

#include <doctest/doctest.h>
#include <sys/eventfd.h>

#include <map>
#include <optional>
#include <random>

#include "virtio/driver_queue.hh"
#include "virtio/spin_window.hh"
#include "virtio/test_support.hh"

namespace cairn::virtio {
namespace {

constexpr std::uint32_t kSize = 64;
constexpr std::uint64_t kDiskBytes = 1U << 20;
constexpr std::uint64_t kFeatures = kFeatureEventIdx | kFeatureVersion1;
constexpr std::uint64_t kSlotBytes = 0x3000;

struct Fixture {
  explicit Fixture(bool inline_completion, std::uint64_t disk_bytes = kDiskBytes)
      : memory(0x1000000),
        driver(memory.data, memory.base, kSize, kFeatures),
        device(disk_bytes, inline_completion),
        call(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
        error(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
        log([this](LogLevel, std::string_view) { ++log_lines; }) {
    auto ring = SplitQueue::make(memory.memory, kSize, driver.addresses(), 0, kFeatures);
    REQUIRE(ring.is_ok());
    queue.emplace(BlockQueue::Surroundings{&device, &executor, &serial, &log}, std::move(*ring), 0,
                  call, error);
  }
  ~Fixture() {
    device.complete_all();
    executor.turn();
    queue.reset();
    ::close(call);
    ::close(error);
  }

  // Request memory of slot i: header, status, data.
  std::uint64_t slot(std::uint32_t i) const { return memory.base + 0x20000 + kSlotBytes * i; }
  std::uint64_t data(std::uint32_t i) const { return slot(i) + 0x1000; }
  std::uint8_t status(std::uint32_t i) {
    return std::to_integer<std::uint8_t>(*memory.at(slot(i) + 16));
  }
  std::uint16_t add(std::uint32_t i, BlockRequestType type, std::uint64_t sector,
                    std::uint32_t length, std::uint64_t address = 0) {
    store_le(memory.at(slot(i)), static_cast<std::uint32_t>(type));
    store_le(memory.at(slot(i) + 8), sector);
    *memory.at(slot(i) + 16) = std::byte{0xee};
    const bool to_guest = type == BlockRequestType::in || type == BlockRequestType::get_id;
    std::vector<DriverQueue::Piece> pieces = {{slot(i), 16, false}};
    if (length > 0) pieces.push_back({address == 0 ? data(i) : address, length, to_guest});
    pieces.push_back({slot(i) + 16, 1, true});
    const auto head = driver.add(pieces);
    REQUIRE(head.has_value());
    driver.publish();
    return *head;
  }
  std::uint64_t signals(int fd) {
    std::uint64_t count = 0;
    return ::read(fd, &count, sizeof count) == sizeof count ? count : 0;
  }
  void process_all() {
    while (queue->process()) {
    }
    executor.turn();
  }
  int take_all() {
    int count = 0;
    while (driver.take_used()) ++count;
    return count;
  }

  test::TestMemory memory;
  DriverQueue driver;
  test::MemoryDevice device;
  test::ManualExecutor executor;
  std::string serial = "a-serial-of-more-than-20-bytes";
  int call;
  int error;
  int log_lines = 0;
  LogFunction log;
  std::optional<BlockQueue> queue;
};

TEST_CASE("random reads, writes, zeroes and discards agree with a model") {
  for (const bool inline_completion : {true, false}) {
    Fixture f(inline_completion);
    std::mt19937 random(7);
    std::vector<std::byte> model(kDiskBytes);
    for (int round = 0; round < 3000; ++round) {
      const std::uint64_t sector = random() % (kDiskBytes / 512 - 16);
      const auto length = static_cast<std::uint32_t>(512 * (1 + random() % 16));
      std::byte* data = f.memory.at(f.data(0));
      std::byte* place = &model[sector * 512];
      const auto which = random() % 4;
      if (which == 0) {
        f.add(0, BlockRequestType::in, sector, length);
      } else if (which == 1) {
        for (std::uint32_t i = 0; i < length; ++i) data[i] = static_cast<std::byte>(random());
        std::memcpy(place, data, length);
        f.add(0, BlockRequestType::out, sector, length);
      } else {
        store_le(data, sector);
        store_le(data + 8, length / 512);
        store_le(data + 12, which == 2 ? 0U : 1U);
        std::memset(place, 0, length);
        f.add(0, which == 2 ? BlockRequestType::discard : BlockRequestType::write_zeroes, 0, 16);
      }
      f.process_all();
      // The payload was copied out: what the guest does to it now is its own affair.
      if (which == 1) std::memset(data, 0x77, length);
      f.device.complete_all();
      f.executor.turn();
      REQUIRE(f.take_all() == 1);
      REQUIRE(f.status(0) == 0);
      if (which == 0) REQUIRE(std::memcmp(data, place, length) == 0);
    }
    CHECK(f.device.bytes == model);
    CHECK(f.device.aligned_writes > 0);
    CHECK(f.device.unmapping_writes > 0);
    CHECK(f.queue->in_flight() == 0);
    CHECK(f.queue->in_flight_bytes() == 0);
  }
}

TEST_CASE("completions of one turn share one call") {
  Fixture f(false);
  for (std::uint32_t i = 0; i < 10; ++i) f.add(i, BlockRequestType::in, i, 512);
  f.process_all();
  CHECK(f.device.waiting() == 10);
  CHECK(f.signals(f.call) == 0);
  f.device.complete_all();
  CHECK_FALSE(f.driver.has_used());
  f.executor.turn();
  CHECK(f.signals(f.call) == 1);
  CHECK(f.take_all() == 10);
}

TEST_CASE("inline completions are shown with one call too") {
  Fixture f(true);
  for (std::uint32_t i = 0; i < 10; ++i) f.add(i, BlockRequestType::flush, 0, 0);
  f.process_all();
  CHECK(f.signals(f.call) == 1);
  CHECK(f.take_all() == 10);
  CHECK(f.device.flushes == 10);
}

TEST_CASE("GET_ID gives the serial, cut to 20 bytes") {
  Fixture f(true);
  f.add(0, BlockRequestType::get_id, 0, 32);
  f.process_all();
  REQUIRE(f.take_all() == 1);
  CHECK(as_text({f.memory.at(f.data(0)), 20}) == "a-serial-of-more-tha");
  CHECK(*f.memory.at(f.data(0) + 20) == std::byte{0});
}

TEST_CASE("errors of the device and of the request end in the status byte") {
  Fixture f(true);
  f.device.next_status = {ErrorCode::io_error, "broken disk"};
  f.add(0, BlockRequestType::in, 0, 512);
  f.process_all();
  CHECK(f.status(0) == 1);
  f.device.next_status = {ErrorCode::unsupported_feature, "cannot"};
  f.add(0, BlockRequestType::flush, 0, 0);
  f.process_all();
  CHECK(f.status(0) == 2);
  f.add(0, BlockRequestType::in, kDiskBytes / 512, 512);
  f.process_all();
  CHECK(f.status(0) == 1);
  f.add(0, static_cast<BlockRequestType>(99), 0, 0);
  f.process_all();
  CHECK(f.status(0) == 2);
  CHECK(f.take_all() == 4);
  CHECK(f.log_lines == 0);
}

TEST_CASE("one failed segment of many fails the request, once") {
  Fixture f(false);
  for (std::uint32_t i = 0; i < 3; ++i) {
    store_le(f.memory.at(f.data(0) + 16 * i), std::uint64_t{i});
    store_le(f.memory.at(f.data(0) + 16 * i + 8), std::uint32_t{1});
  }
  f.add(0, BlockRequestType::discard, 0, 48);
  f.process_all();
  REQUIRE(f.device.waiting() == 3);
  f.device.next_status = {ErrorCode::io_error, "broken disk"};
  f.device.complete_one(1);
  f.device.complete_one(0);
  f.executor.turn();
  CHECK(f.take_all() == 0);
  f.device.complete_all();
  f.executor.turn();
  CHECK(f.take_all() == 1);
  CHECK(f.status(0) == 1);
}

TEST_CASE("popping pauses at the limit of bytes in flight, and goes on by itself") {
  constexpr std::uint32_t kLarge = 8U << 20;
  Fixture f(false, 64U << 20);
  const std::uint64_t room = f.memory.base + 0x400000;
  for (std::uint32_t i = 0; i < 8; ++i) f.add(i, BlockRequestType::in, 0, kLarge, room);
  f.process_all();
  CHECK(f.queue->in_flight_bytes() == BlockQueue::kMaxInFlightBytes);
  CHECK(f.device.waiting() == 4);
  CHECK_FALSE(f.queue->has_work());
  f.device.complete_one(0);
  f.executor.turn();
  CHECK(f.device.waiting() == 4);
  CHECK(f.take_all() == 1);
  while (f.device.waiting() > 0) {
    f.device.complete_all();
    f.executor.turn();
  }
  CHECK(f.take_all() == 7);
}

TEST_CASE("stop drains: nothing new is popped, what is in flight is shown before done") {
  Fixture f(false);
  std::optional<std::uint16_t> base;
  for (std::uint32_t i = 0; i < 3; ++i) f.add(i, BlockRequestType::in, 0, 512);
  f.process_all();
  f.add(3, BlockRequestType::in, 0, 512);
  f.queue->stop([&](std::uint16_t next) { base = next; });
  f.process_all();
  CHECK_FALSE(base.has_value());
  f.device.complete_one(2);
  f.device.complete_one(0);
  f.executor.turn();
  CHECK_FALSE(base.has_value());
  f.device.complete_all();
  CHECK_FALSE(base.has_value());
  f.executor.turn();
  CHECK(base == 3);
  CHECK(f.take_all() == 3);
}

TEST_CASE("an idle queue stops too, and not inside the call") {
  Fixture f(true);
  bool stopped = false;
  f.queue->stop([&](std::uint16_t) { stopped = true; });
  CHECK_FALSE(stopped);
  f.executor.turn();
  CHECK(stopped);
}

TEST_CASE("a broken ring: one line, one signal, no more work, in-flight requests still end") {
  Fixture f(false);
  f.add(0, BlockRequestType::in, 0, 512);
  f.process_all();
  const DriverQueue::Piece no_status{f.slot(1), 16, false};
  REQUIRE(f.driver.add({&no_status, 1}).has_value());
  f.driver.publish();
  f.process_all();
  CHECK(f.queue->broken());
  CHECK(f.log_lines == 1);
  CHECK(f.signals(f.error) == 1);
  f.add(2, BlockRequestType::in, 0, 512);
  CHECK_FALSE(f.queue->has_work());
  CHECK_FALSE(f.queue->process());
  f.device.complete_all();
  f.executor.turn();
  CHECK(f.status(0) == 0);
  CHECK(f.log_lines == 1);
  bool stopped = false;
  f.queue->stop([&](std::uint16_t) { stopped = true; });
  f.executor.turn();
  CHECK(stopped);
}

TEST_CASE("the spin window grows with early kicks and goes to zero with late ones") {
  SpinWindow window;
  for (int i = 0; i < 10; ++i) window.on_kick(1'000);
  CHECK(window.ns() == SpinWindow::kMaxNs);
  CHECK_FALSE(window.on_kick(1'000));
  for (int i = 0; i < 4; ++i) window.on_kick(1'000'000);
  CHECK(window.ns() == 0);
  CHECK(window.on_kick(1'000));
  CHECK(window.ns() == SpinWindow::kMinNs);
}

}  // namespace
}  // namespace cairn::virtio
