// HistoryJob over a device in memory: what it records, and what it takes for garbage.
#include "image/history_job.hh"

#include <doctest/doctest.h>

#include <cstring>
#include <set>

#include "../../test/memory_device.hh"
#include "base/ids.hh"
#include "io/sim_executor.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kStride = 3 * kBlockBytes;

struct Bench {
  io::SimExecutor executor;
  test::MemoryDevice device{executor, 64 * kStride};

  History run(const HistorySpec& spec) {
    REQUIRE(HistoryJob::check(device, spec).is_ok());
    History outcome;
    bool finished = false;
    HistoryJob::start(executor, device, spec, [&](History history) {
      outcome = std::move(history);
      finished = true;
    });
    executor.run_until_idle();
    REQUIRE(finished);
    return outcome;
  }
};

HistorySpec mixed() {
  HistorySpec spec;
  spec.blocks = 8;
  spec.stride_bytes = kStride;
  spec.queue_depth = 4;
  spec.pause_ns = 1'000'000;
  spec.duration_ns = 1'000'000'000;
  return spec;
}

}  // namespace

TEST_CASE("history: values are unique, and reads see those that were written") {
  Bench bench;
  const History history = bench.run(mixed());
  CHECK(history.records.size() > 1000);
  CHECK(history.unanswered == 0);
  std::set<std::uint64_t> written{0};
  std::uint64_t reads = 0;
  for (const HistoryRecord& record : history.records) {
    CHECK(record.end_ns >= record.start_ns);
    if (record.is_write) CHECK(written.insert(record.value).second);
  }
  for (const HistoryRecord& record : history.records) {
    reads += record.is_write ? 0U : 1U;
    CHECK(written.contains(record.value));
  }
  CHECK(reads > 300);
}

TEST_CASE("history: a sweep reads each block once") {
  Bench bench;
  bench.run(mixed());
  HistorySpec sweep = mixed();
  sweep.mode = HistorySpec::Mode::sweep;
  const History history = bench.run(sweep);
  std::set<std::uint32_t> blocks;
  for (const HistoryRecord& record : history.records) {
    CHECK_FALSE(record.is_write);
    CHECK(record.value != 0);
    blocks.insert(record.block);
  }
  CHECK(history.records.size() == 8);
  CHECK(blocks.size() == 8);
}

TEST_CASE("history: what is not answered in time is pending, and its late answer changes nothing") {
  Bench bench;
  HistorySpec spec = mixed();
  spec.write_percent = 100;
  spec.drain_ns = 1'000'000;
  bench.device.hold(true);
  History outcome;
  bool finished = false;
  HistoryJob::start(bench.executor, bench.device, spec, [&](History history) {
    outcome = std::move(history);
    finished = true;
  });
  bench.executor.run_for(2'000'000'000);
  REQUIRE(finished);
  CHECK(outcome.records.size() == 4);
  CHECK(outcome.unanswered == 4);
  for (const HistoryRecord& record : outcome.records) {
    CHECK(record.end_ns == HistoryRecord::kPending);
  }
  bench.device.hold(false);
  bench.executor.run_until_idle();
}

TEST_CASE("history: it ends when a fence refuses, and tells the refused writes from the others") {
  Bench bench;
  bench.executor.run_after(100'000'000, [&bench] {
    bench.device.fail_with(Status(ErrorCode::fenced, "another client has taken the image over"));
  });
  HistorySpec spec = mixed();
  spec.write_percent = 90;
  const History history = bench.run(spec);
  CHECK(history.is_fenced);
  CHECK(history.failed_reads + history.failed_writes + history.unanswered == 0);
  std::uint64_t refused = 0;
  for (const HistoryRecord& record : history.records) {
    CHECK(record.end_ns >= record.start_ns);
    if (!record.was_fenced) continue;
    CHECK(record.is_write);
    CHECK(record.end_ns != HistoryRecord::kPending);
    ++refused;
  }
  CHECK(refused > 0);
  CHECK(history.end_ns - history.start_ns < mixed().duration_ns);
}

TEST_CASE("history: zeros are 0; torn, misplaced and changed blocks are garbage") {
  const Buffer block = HistoryJob::block_of(3, 77);
  CHECK(HistoryJob::value_of(3, block.span()) == 77);
  CHECK(HistoryJob::value_of(3, Buffer::zeroed(kBlockBytes).span()) == 0);
  CHECK(HistoryJob::value_of(4, block.span()) == HistoryRecord::kGarbage);
  Buffer torn = HistoryJob::block_of(3, 78);
  std::memcpy(torn.data(), block.data(), 512);
  CHECK(HistoryJob::value_of(3, torn.span()) == HistoryRecord::kGarbage);
  Buffer flipped = HistoryJob::block_of(3, 77);
  flipped.data()[4095] ^= std::byte{1};
  CHECK(HistoryJob::value_of(3, flipped.span()) == HistoryRecord::kGarbage);
}

TEST_CASE("history: a spec that does not fit is refused") {
  Bench bench;
  HistorySpec spec = mixed();
  spec.blocks = 65;
  CHECK(HistoryJob::check(bench.device, spec).code() == ErrorCode::invalid_argument);
  spec = mixed();
  spec.client = 0;
  CHECK(HistoryJob::check(bench.device, spec).code() == ErrorCode::invalid_argument);
  spec = mixed();
  spec.stride_bytes = 512;
  CHECK(HistoryJob::check(bench.device, spec).code() == ErrorCode::invalid_argument);
}

}  // namespace cairn::image
