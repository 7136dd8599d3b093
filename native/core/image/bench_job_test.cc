// The load generator over memory: how much it does, and of what.
#include "image/bench_job.hh"

#include <doctest/doctest.h>

#include <optional>

#include "../../test/memory_device.hh"
#include "image/metered_device.hh"
#include "io/sim_executor.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;

struct Rig {
  io::SimExecutor executor;
  MeteredDevice device{executor, std::make_shared<test::MemoryDevice>(executor, kMebibyte)};

  BenchReport run(const BenchSpec& spec) {
    REQUIRE(BenchJob::check(device, spec).is_ok());
    std::optional<BenchReport> report;
    BenchJob::start(executor, device, spec, [&report](BenchReport found) {
      REQUIRE_FALSE(report.has_value());
      report = std::move(found);
    });
    executor.run_for(60'000'000'000);
    REQUIRE(report.has_value());
    return std::move(*report);
  }
};

}  // namespace

TEST_CASE("bench: ends when it has done its bytes, however many are in flight") {
  for (const std::uint32_t depth : {1U, 7U, 64U}) {
    Rig rig;
    BenchSpec spec;
    spec.type = BenchSpec::Type::write;
    spec.queue_depth = depth;
    spec.duration_ns = 3600'000'000'000;
    spec.total_bytes = 20 * spec.io_bytes - 1;
    const BenchReport report = rig.run(spec);
    CHECK(report.operations == 20);
    CHECK(report.bytes == 20 * spec.io_bytes);
    CHECK(rig.device.counters().writes == 20);
  }
}

TEST_CASE("bench: reads as large a share as it is told") {
  for (const std::uint32_t percent : {0U, 30U, 100U}) {
    Rig rig;
    BenchSpec spec;
    spec.type = BenchSpec::Type::mixed;
    spec.read_percent = percent;
    spec.duration_ns = 3600'000'000'000;
    spec.total_bytes = 2000 * spec.io_bytes;
    rig.run(spec);
    const DeviceCounters& counters = rig.device.counters();
    CHECK(counters.reads + counters.writes == 2000);
    CHECK(counters.reads >= 2000 * percent / 100 - (percent % 100 == 0 ? 0 : 100));
    CHECK(counters.reads <= 2000 * percent / 100 + (percent % 100 == 0 ? 0 : 100));
  }
  Rig rig;
  BenchSpec spec;
  spec.read_percent = 101;
  CHECK(BenchJob::check(rig.device, spec).code() == ErrorCode::invalid_argument);
}

}  // namespace cairn::image
