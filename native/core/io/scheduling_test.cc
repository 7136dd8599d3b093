// What a thread's scheduling is before and after it has asked, and that others' choices stay.
#include "io/scheduling.hh"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

namespace cairn::io {

namespace {

// By their places in struct sched_attr, so that a wrong struct there does not agree with one here.
struct Scheduling {
  std::uint32_t policy = 0;
  std::int32_t nice = 0;
  std::uint64_t runtime_ns = 0;
};

Scheduling of_this_thread() {
  std::array<char, 48> bytes{};
  const long result = ::syscall(SYS_sched_getattr, 0, bytes.data(), bytes.size(), 0);
  REQUIRE(result == 0);
  Scheduling found;
  std::memcpy(&found.policy, bytes.data() + 4, sizeof found.policy);
  std::memcpy(&found.nice, bytes.data() + 16, sizeof found.nice);
  std::memcpy(&found.runtime_ns, bytes.data() + 24, sizeof found.runtime_ns);
  return found;
}

// The tests of a program share its first thread, which may have asked already.
void set_turn(std::uint64_t runtime_ns) {
  std::array<char, 48> bytes{};
  REQUIRE(::syscall(SYS_sched_getattr, 0, bytes.data(), bytes.size(), 0) == 0);
  std::memcpy(bytes.data() + 24, &runtime_ns, sizeof runtime_ns);
  REQUIRE(::syscall(SYS_sched_setattr, 0, bytes.data(), 0) == 0);
}

bool kernel_has_turns() {
  utsname name;
  REQUIRE(::uname(&name) == 0);
  int major = 0;
  int minor = 0;
  REQUIRE(std::sscanf(name.release, "%d.%d", &major, &minor) == 2);
  return major > 6 || (major == 6 && minor >= 12);
}

}  // namespace

TEST_CASE("short turns: the thread has them, so have those that it makes; the rest stays") {
  std::thread([] {
    set_turn(2'000'000);
    const Scheduling before = of_this_thread();
    ask_for_short_turns();
    const Scheduling after = of_this_thread();
    CHECK(after.policy == before.policy);
    CHECK(after.nice == before.nice);
    if (!kernel_has_turns()) {
      MESSAGE("only partly run: turns take Linux 6.12");
      return;
    }
    CHECK(before.runtime_ns == 2'000'000);
    CHECK(after.runtime_ns == 300'000);
    std::thread([] {
      CHECK(of_this_thread().runtime_ns == 300'000);
      give_short_turns_back();
      CHECK(of_this_thread().runtime_ns > 300'000);
    }).join();
    set_turn(100'000);
    ask_for_short_turns();
    CHECK(of_this_thread().runtime_ns == 100'000);
  }).join();
}

TEST_CASE("short turns: a thread whose policy somebody has chosen keeps it") {
  std::thread([] {
    const sched_param parameters{};
    REQUIRE(::sched_setscheduler(0, SCHED_BATCH, &parameters) == 0);
    const Scheduling before = of_this_thread();
    ask_for_short_turns();
    const Scheduling after = of_this_thread();
    CHECK(after.policy == SCHED_BATCH);
    CHECK(after.runtime_ns == before.runtime_ns);
  }).join();
}

TEST_CASE("a thread has the name that it was given") {
  std::thread([] {
    name_this_thread("cairn-test");
    char name[16] = {};
    REQUIRE(::prctl(PR_GET_NAME, name) == 0);
    CHECK(std::string(name) == "cairn-test");
  }).join();
}

}  // namespace cairn::io
