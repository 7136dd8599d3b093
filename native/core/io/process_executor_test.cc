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
