// UringReactor against the kernel: timers, tasks, threads, watches, pollers, its beginning and end.
#include <doctest/doctest.h>

#include <unistd.h>
#include <algorithm>

#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "io/uring_test_support.hh"

namespace cairn::io {

namespace {

std::uint64_t thread_cpu_ns() {
  timespec used;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(used.tv_nsec);
}

}  // namespace

TEST_CASE("timers run in the order of their due times, not before them, and not once cancelled") {
  auto reactor = make_reactor();
  std::vector<int> order;
  const std::uint64_t start = reactor->now_ns();
  std::uint64_t ran_at = 0;
  reactor->run_after(6 * kMillisecond, [&] {
    order.push_back(3);
    reactor->stop();
  });
  reactor->run_after(2 * kMillisecond, [&] {
    order.push_back(1);
    ran_at = reactor->now_ns();
  });
  const TimerId dead = reactor->run_after(3 * kMillisecond, [&] { order.push_back(9); });
  reactor->run_after(4 * kMillisecond, [&] { order.push_back(2); });
  const TimerId late = reactor->run_after(5 * kMillisecond, [&] { order.push_back(9); });
  reactor->run_after(1 * kMillisecond, [&] { reactor->cancel(late); });
  reactor->cancel(dead);
  reactor->cancel(dead);
  reactor->cancel(0);
  reactor->run();
  CHECK(order == std::vector<int>{1, 2, 3});
  CHECK(ran_at - start >= 2 * kMillisecond);
  CHECK(reactor->now_ns() - start >= 6 * kMillisecond);
}

TEST_CASE("the id of a timer that ran does not cancel a newer one") {
  auto reactor = make_reactor();
  bool second = false;
  TimerId first_id = 0;
  first_id = reactor->run_after(0, [&] {
    reactor->run_after(0, [&] {
      second = true;
      reactor->stop();
    });
    reactor->cancel(first_id);
  });
  reactor->run_after(1000 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(second);
}

TEST_CASE("posted tasks run first in, first out, and never inside post") {
  auto reactor = make_reactor();
  std::vector<int> order;
  reactor->post([&] {
    reactor->post([&] {
      order.push_back(3);
      reactor->stop();
    });
    order.push_back(1);
  });
  reactor->post([&] { order.push_back(2); });
  CHECK(order.empty());
  reactor->run();
  CHECK(order == std::vector<int>{1, 2, 3});
}

TEST_CASE("tasks that post each other for ever do not keep timers or descriptors waiting") {
  auto reactor = make_reactor();
  SocketPair pair;
  UniqueFunction<void()> again;
  again = [&] { reactor->post([&] { again(); }); };
  again();
  bool timer = false;
  std::byte byte{};
  reactor->run_after(kMillisecond, [&] {
    timer = true;
    CHECK(::write(pair.ends[1], "x", 1) == 1);
  });
  reactor->recv(pair.ends[0], {&byte, 1}, [&](int result) {
    CHECK(result == 1);
    reactor->stop();
  });
  reactor->run();
  CHECK(timer);
}

TEST_CASE("stop before run makes that run return at once, and only that one") {
  auto reactor = make_reactor();
  bool ran = false;
  reactor->post([&] {
    ran = true;
    reactor->stop();
  });
  reactor->stop();
  reactor->run();
  CHECK_FALSE(ran);
  reactor->run();
  CHECK(ran);
}

TEST_CASE("tasks from another thread arrive in order and wake the sleeping loop") {
  auto reactor = make_reactor();
  constexpr int kTasks = 20000;
  int next = 0;
  std::thread other([&] {
    for (int i = 0; i < kTasks; ++i) {
      reactor->post_from_any_thread([&, i] {
        CHECK(next == i);
        if (++next == kTasks) reactor->stop();
      });
      if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  reactor->run();
  other.join();
  CHECK(next == kTasks);
}

TEST_CASE("stop from another thread wakes the sleeping loop") {
  auto reactor = make_reactor();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    reactor->stop();
  });
  reactor->run();
  other.join();
}

TEST_CASE("an idle reactor makes no system calls and uses no CPU") {
  auto reactor = make_reactor();
  SocketPair pair;
  reactor->watch_readable(pair.ends[0], [] {});
  int polls = 0;
  reactor->add_poller(kMillisecond, [&] {
    ++polls;
    return false;
  });
  std::uint64_t enters = 0;
  std::uint64_t cpu = 0;
  reactor->run_after(20 * kMillisecond, [&] {
    enters = reactor->enter_count();
    cpu = thread_cpu_ns();
    polls = 0;
    reactor->run_after(200 * kMillisecond, [&] {
      enters = reactor->enter_count() - enters;
      cpu = thread_cpu_ns() - cpu;
      reactor->stop();
    });
  });
  reactor->run();
  CHECK(enters == 1);
  CHECK(polls <= 2);
  CHECK(cpu < 2 * kMillisecond);
}

TEST_CASE("behind a load a reactor sleeps again, and takes what comes then") {
  auto reactor = make_reactor();
  std::vector<SocketPair> pairs(8);
  std::vector<std::byte> bytes(pairs.size());
  std::size_t rounds = 0;
  std::size_t received = 0;
  std::uint64_t enters = 0;
  std::uint64_t cpu = 0;
  const auto begin_pause = [&] {
    enters = reactor->enter_count();
    cpu = thread_cpu_ns();
    reactor->run_after(200 * kMillisecond, [&] {
      enters = reactor->enter_count() - enters;
      cpu = thread_cpu_ns() - cpu;
      reactor->recv(pairs[0].ends[0], {bytes.data(), 1}, [&](int) { reactor->stop(); });
      CHECK(::write(pairs[0].ends[1], "x", 1) == 1);
    });
  };
  UniqueFunction<void()> send = [&] {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      reactor->recv(pairs[i].ends[0], {&bytes[i], 1}, [&](int result) {
        CHECK(result == 1);
        if (++received % pairs.size() != 0) return;
        if (++rounds < 50)
          send();
        else
          reactor->run_after(20 * kMillisecond, [&] { begin_pause(); });
      });
      CHECK(::write(pairs[i].ends[1], "x", 1) == 1);
    }
  };
  send();
  reactor->run();
  CHECK(enters == 1);
  CHECK(cpu < 2 * kMillisecond);
  CHECK(reactor->yield_count() > 0);
}

TEST_CASE("at one message at a time a reactor never yields") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte byte{};
  int left = 100;
  UniqueFunction<void()> receive = [&] {
    reactor->recv(pair.ends[0], {&byte, 1}, [&](int) {
      if (--left == 0) return reactor->stop();
      receive();
      reactor->run_after(1000, [&] { CHECK(::write(pair.ends[1], "x", 1) == 1); });
    });
  };
  receive();
  CHECK(::write(pair.ends[1], "x", 1) == 1);
  reactor->run();
  CHECK(reactor->yield_count() == 0);
}

TEST_CASE("watch_readable is level-triggered: called again until the descriptor is drained") {
  auto reactor = make_reactor();
  SocketPair pair;
  REQUIRE(::write(pair.ends[1], "abc", 3) == 3);
  int calls = 0;
  WatchId id = 0;
  id = reactor->watch_readable(pair.ends[0], [&] {
    char byte;
    CHECK(::read(pair.ends[0], &byte, 1) == 1);
    ++calls;
    if (calls == 3) {  // drained: no call until there is more
      reactor->run_after(3 * kMillisecond, [&] {
        CHECK(calls == 3);
        CHECK(::write(pair.ends[1], "d", 1) == 1);
      });
    }
    if (calls == 4) {
      reactor->unwatch(id);
      CHECK(::write(pair.ends[1], "e", 1) == 1);
      reactor->run_after(3 * kMillisecond, [&] { reactor->stop(); });
    }
  });
  reactor->run();
  CHECK(calls == 4);
}

TEST_CASE("a watch that another callback of the same batch removed is not called") {
  auto reactor = make_reactor();
  SocketPair one;
  SocketPair two;
  WatchId ids[2] = {0, 0};
  int calls = 0;
  const auto first = [&](int other) {
    ++calls;
    reactor->unwatch(ids[other]);
    reactor->unwatch(ids[1 - other]);
    reactor->run_after(3 * kMillisecond, [&] { reactor->stop(); });
  };
  ids[0] = reactor->watch_readable(one.ends[0], [&] { first(1); });
  ids[1] = reactor->watch_readable(two.ends[0], [&] { first(0); });
  reactor->post([&] {
    CHECK(::write(one.ends[1], "x", 1) == 1);
    CHECK(::write(two.ends[1], "x", 1) == 1);
  });
  reactor->run();
  CHECK(calls == 1);
}

TEST_CASE("more operations than the submission queue has entries") {
  auto reactor = make_reactor();
  constexpr std::size_t kCount = 3000;
  std::vector<std::byte> into(kCount);
  std::vector<int> pipe_ends(2);
  REQUIRE(::pipe(pipe_ends.data()) == 0);
  std::size_t done = 0;
  const auto start_all = [&] {
    for (std::size_t i = 0; i < kCount; ++i) {
      const int value = static_cast<int>(i);
      reactor->watch_readable(pipe_ends[0], [value] { CHECK(value < 0); });
      reactor->fdatasync(-1, [&](int result) {
        CHECK(result == -EBADF);
        if (++done == kCount) reactor->stop();
      });
    }
  };
  SUBCASE("queued before run") { start_all(); }
  SUBCASE("from a callback") { reactor->post(start_all); }
  reactor->run();
  CHECK(done == kCount);
  for (const int fd : pipe_ends) ::close(fd);
}

TEST_CASE("operations go on in the next run, and their callbacks never run after destruction") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte byte{};
  int calls = 0;
  int watched = 0;
  SocketPair other;
  reactor->recv(pair.ends[0], {&byte, 1}, [&](int result) {
    CHECK(result == 1);
    ++calls;
  });
  reactor->watch_readable(other.ends[0], [&] {
    ++watched;
    CHECK(::read(other.ends[0], &byte, 1) == 1);
  });
  reactor->run_after(2 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(calls == 0);
  REQUIRE(::write(pair.ends[1], "x", 1) == 1);
  REQUIRE(::write(other.ends[1], "x", 1) == 1);
  reactor->run_after(2 * kMillisecond, [&] { reactor->stop(); });
  reactor->run();
  CHECK(calls == 1);
  CHECK(watched == 1);
  auto alive = std::make_shared<int>(0);
  reactor->recv(pair.ends[0], {&byte, 1}, [&calls, alive](int) { ++calls; });
  reactor->post_from_any_thread([alive] {});
  reactor->run_after(kMillisecond, [alive] {});
  reactor.reset();
  CHECK(calls == 1);
  CHECK(alive.use_count() == 1);
}

TEST_CASE("made here, run there, destroyed here with operations in flight") {
  auto reactor = make_reactor();
  SocketPair pair;
  auto into = std::make_unique<std::byte[]>(4096);
  int calls = 0;
  reactor->recv(pair.ends[0], {into.get(), 4096}, [&](int) { ++calls; });
  reactor->watch_readable(pair.ends[0], [&] { ++calls; });
  std::thread loop([&] { reactor->run(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  reactor->stop();
  loop.join();
  reactor.reset();
  into.reset();
  REQUIRE(::write(pair.ends[1], "x", 1) == 1);  // nobody may write into the freed memory now
  CHECK(calls == 0);
}

namespace {

// How long a poller of this spin time is asked after it has last found work.
std::uint64_t asked_after_work_ns(std::uint64_t spin_ns) {
  auto reactor = make_reactor();
  int left = 1000;
  int calls = 0;
  std::uint64_t last_call = 0;
  std::uint64_t last_found = 0;
  WatchId id = 0;
  id = reactor->add_poller(spin_ns, [&] {
    ++calls;
    last_call = reactor->now_ns();
    if (left == 0) return false;
    --left;
    last_found = last_call;
    return true;
  });
  reactor->run_after(300 * kMillisecond, [&] {
    CHECK(left == 0);
    reactor->remove_poller(id);
    calls = 0;
    reactor->run_after(kMillisecond, [&] { reactor->stop(); });
  });
  reactor->run();
  CHECK(calls == 0);
  return last_call - last_found;
}

}  // namespace

TEST_CASE("a poller is asked on and on while it finds work, then for its spin time, then not") {
  // The thread may stand still between the last call and the end of the spin, on a loaded machine:
  // then that round shows too little, and another one is tried.
  std::uint64_t longest = 0;
  for (int round = 0; round < 5 && longest < kMillisecond; ++round) {
    const std::uint64_t asked = asked_after_work_ns(2 * kMillisecond);
    CHECK(asked < 200 * kMillisecond);
    longest = std::max(longest, asked);
  }
  CHECK(longest >= kMillisecond);
}

TEST_CASE("completions and other threads are served while a poller spins; it may remove itself") {
  auto reactor = make_reactor();
  SocketPair pair;
  std::byte byte{};
  WatchId id = 0;
  bool received = false;
  bool posted = false;
  id = reactor->add_poller(1000 * kMillisecond, [&] {
    if (received && posted) {
      reactor->remove_poller(id);
      reactor->stop();
    }
    return true;
  });
  reactor->recv(pair.ends[0], {&byte, 1}, [&](int result) { received = result == 1; });
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(::write(pair.ends[1], "x", 1) == 1);
    reactor->post_from_any_thread([&] { posted = true; });
  });
  reactor->run();
  other.join();
  CHECK(received);
}

TEST_CASE("before_sleep is the last question before a sleep, and what it finds prevents it") {
  auto reactor = make_reactor();
  int polls = 0;
  int questions = 0;
  std::uint64_t enters_before = 0;
  reactor->add_poller(
      0,
      [&] {
        ++polls;
        return false;
      },
      [&] {
        CHECK(polls == questions + 1);  // asked after each poll that found nothing
        ++questions;
        if (questions == 1) enters_before = reactor->enter_count();
        if (questions == 3) {
          CHECK(reactor->enter_count() <= enters_before + 1);  // the first submission, no sleep
          reactor->run_after(kMillisecond, [&] { reactor->stop(); });
        }
        return questions < 3;
      });
  reactor->run();
  // Once more at most: the turn of the loop in which stop() came.
  CHECK((questions == 3 || questions == 4));
}

}  // namespace cairn::io
