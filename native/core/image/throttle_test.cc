// Limits of a device in virtual time: rates, bursts, debts, order, changes on the way; and what the
// statistics in front of a device say.
#include "image/throttle.hh"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "../../test/memory_device.hh"
#include "image/metered_device.hh"
#include "io/sim_executor.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMillisecond;

QosLimits iops_limit(std::uint64_t per_second, std::uint64_t burst = 0) {
  QosLimits limits;
  limits.iops = {per_second, burst};
  return limits;
}

// Requests as they go.
struct Requests {
  void submit(IoDirection direction, std::uint64_t bytes, char name) {
    throttle.admit(direction, bytes, [this, name] { went += name; });
  }
  io::SimExecutor executor;
  Throttle throttle{executor};
  std::string went;
};

}  // namespace

TEST_CASE("throttle: a rate holds over time, whatever the size of the requests") {
  for (const std::uint64_t request_bytes :
       {std::uint64_t{512}, std::uint64_t{4096}, std::uint64_t{1} << 20, std::uint64_t{7} << 20}) {
    INFO("requests of ", request_bytes);
    Requests requests;
    QosLimits limits;
    limits.bytes = {std::uint64_t{4} << 20, std::uint64_t{1} << 20};
    requests.throttle.set(limits);
    const std::uint64_t total = std::uint64_t{84} << 20;
    for (std::uint64_t i = 0; i < total / request_bytes; ++i)
      requests.submit(IoDirection::read, request_bytes, '.');
    requests.executor.run_for(10 * kSecond);
    const std::uint64_t moved = requests.went.size() * request_bytes;
    // The rate for ten seconds, the burst, and what the last request may owe.
    CHECK(moved >= (std::uint64_t{40} << 20));
    CHECK(moved <= (std::uint64_t{41} << 20) + request_bytes);
  }
}

TEST_CASE("throttle: a burst goes at once, and is saved up while nothing goes") {
  Requests requests;
  requests.throttle.set(iops_limit(10, 5));
  for (int i = 0; i < 8; ++i) requests.submit(IoDirection::write, 0, '.');
  CHECK(requests.went.size() == 5);
  CHECK(requests.throttle.counters().throttled == 3);
  requests.executor.run_for(300 * kMillisecond);
  CHECK(requests.went.size() == 8);
  CHECK(requests.throttle.counters().throttled_ns == (100 + 200 + 300) * kMillisecond);
  requests.executor.run_for(100 * kSecond);
  for (int i = 0; i < 8; ++i) requests.submit(IoDirection::write, 0, '.');
  CHECK(requests.went.size() == 13);
}

TEST_CASE(
    "throttle: reads pass writes that lack tokens of their own, but take none of the shared") {
  Requests requests;
  QosLimits limits;
  limits.write_iops = {1, 1};
  requests.throttle.set(limits);
  requests.submit(IoDirection::write, 0, 'a');
  requests.submit(IoDirection::write, 0, 'b');
  requests.submit(IoDirection::read, 0, 'c');
  requests.submit(IoDirection::write, 0, 'd');
  CHECK(requests.went == "ac");
  requests.executor.run_for(2 * kSecond);
  CHECK(requests.went == "acbd");

  Requests shared;
  limits = {};
  limits.bytes = {1000, 1000};
  shared.throttle.set(limits);
  shared.submit(IoDirection::write, 1000, 'a');
  shared.submit(IoDirection::write, 1000, 'b');
  shared.submit(IoDirection::read, 1, 'c');  // would go on forever if it passed b
  shared.executor.run_for(500 * kMillisecond);
  CHECK(shared.went == "a");
  shared.executor.run_for(600 * kMillisecond);
  CHECK(shared.went == "abc");
}

TEST_CASE("throttle: new limits count for those that wait; without limits all go, in order") {
  Requests requests;
  requests.throttle.set(iops_limit(1, 1));
  for (const char name : {'a', 'b', 'c', 'd'}) requests.submit(IoDirection::read, 1, name);
  CHECK(requests.went == "a");
  CHECK_FALSE(requests.throttle.idle());
  requests.throttle.set(iops_limit(1000, 1));
  requests.executor.run_for(kMillisecond);
  CHECK(requests.went == "ab");
  requests.throttle.set({});
  CHECK(requests.went == "abcd");
  CHECK(requests.throttle.idle());
}

TEST_CASE("throttle: a request that comes while another is started keeps its place") {
  Requests requests;
  requests.throttle.set(iops_limit(1, 2));
  requests.throttle.admit(IoDirection::read, 0, [&requests] {
    requests.went += 'a';
    requests.submit(IoDirection::read, 0, 'b');
    requests.submit(IoDirection::read, 0, 'c');
  });
  CHECK(requests.went == "ab");
  requests.executor.run_for(kSecond);
  CHECK(requests.went == "abc");
}

TEST_CASE("metered device: counts what succeeded, and throttles in front of the device") {
  io::SimExecutor executor;
  auto inner = std::make_shared<test::MemoryDevice>(executor, 1 << 20);
  MeteredDevice device(executor, inner);
  Buffer data = Buffer::allocate(4096);
  std::memset(data.data(), 1, data.size());
  int done = 0;
  const auto ok = [&done](const Status& status) { done += status ? 1 : 0; };
  device.write(0, data, ok);
  device.write(1 << 20, data, ok);  // past the end
  device.write_zeroes(4096, 4096, true, ok);
  device.discard(0, 4096, ok);
  device.flush(ok);
  device.read(0, 512, [&done](const Status& status, Buffer bytes) {
    done += status && bytes.size() == 512 ? 1 : 0;
  });
  CHECK(device.counters().in_flight == 6);
  executor.run_until_idle();
  CHECK(done == 5);
  const DeviceCounters& counters = device.counters();
  CHECK(counters.writes == 2);
  CHECK(counters.write_bytes == 4096);
  CHECK(counters.errors == 1);
  CHECK(counters.discards == 1);
  CHECK(counters.flushes == 1);
  CHECK(counters.reads == 1);
  CHECK(counters.read_bytes == 512);
  CHECK(counters.read_ns.count() == 1);
  CHECK(counters.write_ns.count() == 2);
  CHECK(counters.in_flight == 0);
  CHECK(device.throttled().throttled == 0);

  device.set_limits(iops_limit(10, 1));
  done = 0;
  for (int i = 0; i < 3; ++i) device.write(0, data, ok);
  executor.run_for(50 * kMillisecond);
  CHECK(done == 1);
  CHECK(device.waiting() == 2);
  CHECK(inner->writes == 3);  // two from before: the throttled ones have not reached it
  executor.run_for(200 * kMillisecond);
  CHECK(done == 3);
  CHECK(device.throttled().throttled == 2);
}

}  // namespace cairn::image
