// Fuzzes one virtio-blk queue: the input is the guest's memory, rings and all. Nothing that a guest
// writes may crash the device, keep it busy for ever, or leave a request behind.
//
//   byte 0  log2 of the queue size, 0 to 7
//   byte 1  bit 0 EVENT_IDX, bit 1 indirect, bit 2 deferred completion, bit 3 a second thread
//           rewrites the memory during the walk
//   byte 2, 3  where the indices start
//   from 4  the memory: descriptor table at 0, available ring at kAvailable, used ring at kUsed
#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "virtio/block_queue.hh"
#include "virtio/test_support.hh"

namespace {

using namespace cairn;
using namespace cairn::virtio;

constexpr std::uint64_t kBase = 0x1000;
constexpr std::uint64_t kMemoryBytes = 0x10000;
constexpr std::uint64_t kAvailable = 0x800;
constexpr std::uint64_t kUsed = 0xa00;
constexpr std::size_t kHeaderBytes = 4;
// The rings and the first buffers.
constexpr std::size_t kRewrittenBytes = 0x1000;
// The most that a ring of 128 can hold, twice over; the fuzzer's memory does not refill itself.
constexpr int kMaxTurns = 1024;

// Rewrites the rings, and what lies behind them, with words of the input until it is destroyed:
// what a hostile guest does from another processor.
class Rewriter {
 public:
  Rewriter(std::byte* memory, const std::uint8_t* words, std::size_t length)
      : thread_([this, memory, words, length] {
          const std::size_t positions = length - 7;
          for (std::size_t i = 0; !stop_.load(std::memory_order_relaxed); i = (i + 3) % positions) {
            const auto value = load_le<std::uint64_t>(words + i);
            const std::size_t at = (value >> 5) % kRewrittenBytes & ~std::size_t{7};
            store_shared<std::uint64_t>(memory + at, value);
            has_begun_.store(true, std::memory_order_release);
          }
        }) {
    // Else the walk is over before the thread has started.
    while (!has_begun_.load(std::memory_order_acquire)) std::this_thread::yield();
  }
  ~Rewriter() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<bool> has_begun_{false};
  std::thread thread_;
};

void drain(BlockQueue& queue, test::MemoryDevice& device, test::ManualExecutor& executor) {
  bool stopped = false;
  queue.stop([&](std::uint16_t) { stopped = true; });
  device.complete_all();
  executor.turn();
  CAIRN_ASSERT(stopped && queue.in_flight() == 0 && queue.in_flight_bytes() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kHeaderBytes + 8) return 0;
  static test::TestMemory memory(kMemoryBytes, kBase);
  static const std::string serial = "fuzz";
  const std::uint8_t mode = data[1];
  const auto first = load_le<std::uint16_t>(data + 2);
  const std::size_t length = std::min<std::size_t>(size - kHeaderBytes, kMemoryBytes);
  std::memset(memory.data, 0, kMemoryBytes);
  std::memcpy(memory.data, data + kHeaderBytes, length);

  const std::uint64_t features = ((mode & 1) != 0 ? kFeatureEventIdx : 0) |
                                 ((mode & 2) != 0 ? kFeatureIndirectDescriptors : 0);
  auto ring = SplitQueue::make(memory.memory, 1U << (data[0] % 8),
                               {kBase, kBase + kAvailable, kBase + kUsed}, first, features);
  CAIRN_ASSERT(ring.is_ok());
  test::MemoryDevice device(kMemoryBytes, (mode & 4) == 0);
  test::ManualExecutor executor;
  LogFunction log = [](LogLevel, std::string_view) {};
  BlockQueue queue({&device, &executor, &serial, &log}, std::move(*ring), 0, -1, -1);
  {
    std::optional<Rewriter> rewriter;
    if ((mode & 8) != 0) rewriter.emplace(memory.data, data + kHeaderBytes, size - kHeaderBytes);
    for (int turn = 0; turn < kMaxTurns && queue.process(); ++turn) {
      if (device.waiting() > 0) device.complete_one(device.waiting() / 2);
      executor.turn();
      queue.enable_notifications();
    }
    drain(queue, device, executor);
  }
  return 0;
}
