// Processes that are stopped, resumed and killed in virtual time.
#include "io/process_executor.hh"

#include <doctest/doctest.h>

#include <string>

#include "io/sim_executor.hh"

namespace cairn::io {

TEST_CASE("what falls due in a stopped process runs after it is resumed, in order") {
  SimExecutor world;
  ProcessExecutor process(world);
  std::string order;
  process.run_after(1000, [&] { order += 'a'; });
  process.run_after(2000, [&] { order += 'b'; });
  world.run_after(3000, [&] { order += 'w'; });
  process.run_after(9000, [&] { order += 'c'; });
  process.stop();
  world.run_for(5000);
  CHECK(order == "w");
  process.resume();
  world.run_for(1);
  CHECK(order == "wab");
  world.run_for(10'000);
  CHECK(order == "wabc");
}

TEST_CASE("a clock that drifts shows its own time, and its timers go by it") {
  SimExecutor world;
  constexpr std::uint64_t kSecond = 1'000'000'000;
  for (const int drift_ppm : {-45'000, 200, 45'000}) {
    ProcessExecutor process(world, drift_ppm);
    const std::uint64_t own_ns = process.now_ns();
    const std::uint64_t world_ns = world.now_ns();
    std::uint64_t due_ns = 0;
    process.run_after(kSecond, [&] { due_ns = process.now_ns(); });
    world.run_for(2 * kSecond);
    CHECK(due_ns >= own_ns + kSecond);
    CHECK(due_ns <= own_ns + kSecond + 10);
    const auto passed = static_cast<double>(process.now_ns() - own_ns);
    const auto in_world = static_cast<double>(world.now_ns() - world_ns);
    CHECK(passed / in_world == doctest::Approx(1 + drift_ppm / 1e6).epsilon(1e-8));
  }
}

TEST_CASE("posted tasks stay first in, first out across a stop") {
  SimExecutor world({.seed = 3, .shuffle = true});
  ProcessExecutor process(world);
  std::string order;
  process.post([&order] { order += 'a'; });
  process.stop();
  for (const char name : {'b', 'c'}) process.post([&order, name] { order += name; });
  world.run_for(10);
  process.post([&order] { order += 'd'; });
  process.resume();
  process.post([&order] { order += 'e'; });
  world.run_for(10);
  CHECK(order == "abcde");
}

TEST_CASE("an ended process does nothing any more and keeps nothing") {
  SimExecutor world;
  bool ran = false;
  const auto held = std::make_shared<int>(1);
  {
    ProcessExecutor process(world);
    process.run_after(10, [&ran, held] { ran = true; });
    process.post([&ran, held] { ran = true; });
    CHECK(held.use_count() == 3);
    process.end();
    CHECK(held.use_count() == 1);
    process.post([&ran] { ran = true; });
    CHECK(process.run_after(1, [&ran] { ran = true; }) == 0);
  }
  world.run_for(100);
  CHECK_FALSE(ran);
}

TEST_CASE("a timer can be cancelled before it falls due and while it is held") {
  SimExecutor world;
  ProcessExecutor process(world);
  int runs = 0;
  const TimerId early = process.run_after(10, [&] { ++runs; });
  const TimerId late = process.run_after(20, [&] { ++runs; });
  process.run_after(30, [&] { ++runs; });
  process.cancel(early);
  process.cancel(0);
  process.stop();
  world.run_for(100);
  process.cancel(late);
  process.resume();
  world.run_for(100);
  CHECK(runs == 1);
}

}  // namespace cairn::io
