// Random, TimerQueue and SimExecutor: order, time, cancellation, repetition from a seed.
#include "io/sim_executor.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "io/random.hh"
#include "io/timer_queue.hh"

namespace cairn::io {

TEST_CASE("random: the same numbers from the same seed, inside their bounds, evenly spread") {
  Random a(7);
  Random b(7);
  Random c(8);
  CHECK(a.next() == b.next());
  CHECK(a.next() != c.next());
  int counts[10] = {};
  int heads = 0;
  for (int i = 0; i < 100000; ++i) {
    ++counts[a.below(10)];
    if (a.chance(0.25)) ++heads;
    const std::uint64_t value = a.between(5, 7);
    CHECK((value >= 5 && value <= 7));
  }
  for (const int count : counts) CHECK((count > 9500 && count < 10500));
  CHECK((heads > 24000 && heads < 26000));
  CHECK_FALSE(a.chance(0));
  CHECK(a.chance(1));
  CHECK(a.below(1) == 0);
  CHECK(Random(7).fork().next() == Random(7).fork().next());
}

TEST_CASE("timer queue: against a sorted model, with cancellations and reused slots") {
  Random random(3);
  TimerQueue queue;
  std::map<std::pair<std::uint64_t, std::uint64_t>, TimerId> model;  // (due, rank)
  std::uint64_t ran = 0;
  std::vector<TimerId> gone;
  for (std::uint64_t rank = 0; rank < 20000; ++rank) {
    const std::uint64_t due = random.below(50);
    const TimerId id = queue.add(due, rank, [&ran, rank] { ran = rank; });
    model[{due, rank}] = id;
    while (!model.empty() && random.chance(0.5)) {
      auto victim = model.begin();
      if (random.chance(0.5)) {
        std::advance(victim,
                     static_cast<long>(random.below(std::min(model.size(), std::size_t{40}))));
        queue.cancel(victim->second);
        gone.push_back(victim->second);
      } else {
        CHECK(queue.next_due_ns() == victim->first.first);
        queue.pop()();
        CHECK(ran == victim->first.second);
        gone.push_back(victim->second);
      }
      model.erase(victim);
    }
    if (!gone.empty()) queue.cancel(gone[random.below(gone.size())]);  // nothing happens
    CHECK(queue.size() == model.size());
  }
}

TEST_CASE("timer queue: a task that owns the end of another timer") {
  struct Canceller {
    TimerQueue& queue;
    TimerId other;
    ~Canceller() { queue.cancel(other); }
  };
  TimerQueue queue;
  const TimerId inner = queue.add(1, 0, [] {});
  const TimerId outer =
      queue.add(1, 1, [owned = std::shared_ptr<Canceller>(new Canceller{queue, inner})] {});
  queue.cancel(outer);
  CHECK(queue.empty());
}

TEST_CASE("sim executor: time jumps to the next timer and stands still for tasks") {
  SimExecutor executor;
  const std::uint64_t start = executor.now_ns();
  std::vector<int> order;
  executor.run_after(3'600'000'000'000, [&] { order.push_back(3); });
  executor.run_after(10, [&] {
    order.push_back(2);
    CHECK(executor.now_ns() == start + 10);
  });
  const TimerId dead = executor.run_after(5, [&] { order.push_back(9); });
  executor.post([&] {
    order.push_back(1);
    executor.cancel(dead);
    CHECK(executor.now_ns() == start);
  });
  CHECK(order.empty());
  executor.run_for(9);
  CHECK(order == std::vector<int>{1});
  CHECK(executor.now_ns() == start + 9);
  executor.run_for(1);
  CHECK(order == std::vector<int>{1, 2});
  CHECK(executor.run_until_idle() == 1);
  CHECK(executor.now_ns() == start + 3'600'000'000'000);
  CHECK(order == std::vector<int>{1, 2, 3});
  CHECK_FALSE(executor.step());
  CHECK(executor.steps() == 3);
}

TEST_CASE("sim executor: run_until stops at the condition, at its limit, or when idle") {
  SimExecutor executor;
  int ticks = 0;
  UniqueFunction<void()> tick;
  tick = [&] {
    ++ticks;
    executor.run_after(100, [&] { tick(); });
  };
  executor.run_after(100, [&] { tick(); });
  CHECK(executor.run_until([&] { return ticks == 5; }, 1000));
  const std::uint64_t before = executor.now_ns();
  CHECK_FALSE(executor.run_until([&] { return ticks == 50; }, 1000));
  CHECK(executor.now_ns() == before + 1000);
  CHECK(executor.run_until_idle(7) == 7);
  SimExecutor empty;
  CHECK_FALSE(empty.run_until([] { return false; }, 1000));
}

TEST_CASE("sim executor: the seed decides the order at one time, but posts stay in order") {
  const auto run = [](bool shuffle, std::uint64_t seed) {
    SimExecutor executor({seed, shuffle, 0});
    std::vector<int> order;
    for (int i = 0; i < 8; ++i) {
      executor.run_after(0, [&order, i] { order.push_back(i); });
      executor.post([&order, i] { order.push_back(100 + i); });
    }
    executor.run_until_idle();
    return order;
  };
  const std::vector<int> plain = run(false, 1);
  CHECK(plain == run(false, 2));
  CHECK(std::is_sorted(plain.begin(), plain.begin() + 8));
  std::set<std::vector<int>> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<int> order = run(true, seed);
    CHECK(order == run(true, seed));
    std::vector<int> posts;
    for (const int value : order)
      if (value >= 100) posts.push_back(value);
    CHECK(posts.size() == 8);
    CHECK(std::is_sorted(posts.begin(), posts.end()));
    seen.insert(order);
  }
  CHECK(seen.size() > 15);
}

}  // namespace cairn::io
