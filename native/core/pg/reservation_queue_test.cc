// The order of waiting operations in virtual time.
#include "pg/reservation_queue.hh"

#include <doctest/doctest.h>

namespace cairn::pg {

namespace {

using Queue = ReservationQueue<int>;
constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMs;
constexpr StreamId kImage{1, 7};

// Of a second in which the queue gives per_second and never runs empty: how many the image gets.
int image_gets(const net::Reservation& reservation, int per_second, int flood) {
  Queue queue;
  int gets = 0;
  for (int i = 0; i < flood; ++i) queue.push({2, 0}, {}, 0, 0);
  for (int i = 0; i < 8; ++i) queue.push(kImage, reservation, 1, 0);
  for (int i = 0; i < per_second; ++i) {
    const std::uint64_t now_ns =
        kSecond / static_cast<std::uint64_t>(per_second) * static_cast<std::uint64_t>(i);
    const std::optional<int> item = queue.pop(now_ns);
    REQUIRE(item);
    gets += *item;
    // Each comes again at once.
    if (*item == 1) {
      queue.push(kImage, reservation, 1, now_ns);
    } else {
      queue.push({2, 0}, {}, 0, now_ns);
    }
  }
  return gets;
}

}  // namespace

TEST_CASE("reservation queue: without reservations the order is that of arrival") {
  Queue queue;
  for (int i = 0; i < 100; ++i) {
    queue.push({static_cast<ClientId>(i % 3), 0}, {}, i, static_cast<std::uint64_t>(i));
  }
  CHECK_FALSE(queue.reserves());
  for (int i = 0; i < 100; ++i) CHECK(queue.pop(1000) == std::optional(i));
  CHECK_FALSE(queue.pop(1000));
}

TEST_CASE("reservation queue: an image gets what is reserved, and hardly more than its share") {
  CHECK(image_gets({}, 10'000, 1000) < 100);
  const int gets = image_gets({500, 7, 1}, 10'000, 1000);
  CHECK(gets >= 500);
  CHECK(gets <= 600);
}

TEST_CASE("reservation queue: what other OSDs have served counts") {
  const int gets = image_gets({600, 7, 3}, 10'000, 1000);
  CHECK(gets >= 200);
  CHECK(gets <= 300);
}

TEST_CASE("reservation queue: more is reserved than there is: all that reserve get a part") {
  Queue queue;
  int gets[3] = {0, 0, 0};
  const auto push = [&queue](int who, std::uint64_t now_ns) {
    queue.push({static_cast<ClientId>(who), 0}, {who == 0 ? 0U : 1000U, 0, 1}, who, now_ns);
  };
  for (int i = 0; i < 30; ++i) push(i % 3, 0);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::optional<int> who = queue.pop(i * kMs);
    REQUIRE(who);
    ++gets[*who];
    push(*who, i * kMs);
  }
  CHECK(gets[1] >= 450);
  CHECK(gets[2] >= 450);
}

TEST_CASE("reservation queue: silence saves nothing up, and is forgotten") {
  Queue queue;
  queue.push(kImage, {100, 7, 1}, 1, 0);
  CHECK(queue.pop(0) == std::optional(1));
  // After five seconds, not 500 at once: one is due, the next one 10 ms later.
  const std::uint64_t now_ns = 5 * kSecond;
  queue.push({2, 0}, {}, 0, now_ns);
  queue.push(kImage, {100, 7, 1}, 1, now_ns);
  queue.push(kImage, {100, 7, 1}, 2, now_ns);
  CHECK(queue.pop(now_ns) == std::optional(1));
  CHECK(queue.pop(now_ns) == std::optional(0));
  CHECK(queue.pop(now_ns) == std::optional(2));  // nothing else waits
  queue.forget_silent(now_ns + Queue::kForgottenAfterNs);
  CHECK(queue.reserves());
  queue.forget_silent(now_ns + Queue::kForgottenAfterNs + 1);
  CHECK_FALSE(queue.reserves());
}

}  // namespace cairn::pg
