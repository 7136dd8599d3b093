// The in-memory PG log.
#include "pg/pg_log.hh"

#include <doctest/doctest.h>

namespace cairn::pg {

namespace {

net::LogEntry entry(std::uint64_t number, Epoch epoch = 1) {
  return {{epoch, number}, {9, 1000 + number}, "object" + std::to_string(number), false};
}

PgLog log_of(std::uint64_t count) {
  PgLog log;
  for (std::uint64_t number = 1; number <= count; ++number) log.append(entry(number));
  return log;
}

}  // namespace

TEST_CASE("pg log: an empty log begins at 1") {
  PgLog log;
  CHECK(log.head_number() == 0);
  CHECK(log.tail_number() == 0);
  CHECK(log.head() == Version{});
  log.append(entry(1));
  CHECK(log.head() == Version{1, 1});
}

TEST_CASE("pg log: entries are found by number and by request") {
  const PgLog log = log_of(5);
  CHECK(log.at(3).object == "object3");
  REQUIRE(log.find({9, 1004}) != nullptr);
  CHECK(log.find({9, 1004})->version.number == 4);
  CHECK(log.find({9, 1006}) == nullptr);
  CHECK(log.find({8, 1004}) == nullptr);
}

TEST_CASE("pg log: entries_after respects tail and limit") {
  PgLog log = log_of(10);
  log.trim(4);
  CHECK(log.entries_after(0, 100).size() == 6);
  CHECK(log.entries_after(0, 100).front().version.number == 5);
  CHECK(log.entries_after(7, 2).back().version.number == 9);
  CHECK(log.entries_after(10, 100).empty());
}

TEST_CASE("pg log: trimming forgets the oldest; the head stays known when all went") {
  PgLog log = log_of(5);
  log.trim(2);
  CHECK(log.tail_number() == 2);
  CHECK(log.size() == 3);
  CHECK(log.find({9, 1002}) == nullptr);
  CHECK(log.find({9, 1003}) != nullptr);
  log.trim(100);
  CHECK(log.tail_number() == 5);
  CHECK(log.head() == Version{1, 5});
  log.append(entry(6, 2));
  CHECK(log.head() == Version{2, 6});
}

TEST_CASE("pg log: rewinding forgets the newest and their requests") {
  PgLog log = log_of(5);
  log.rewind(3);
  CHECK(log.head() == Version{1, 3});
  CHECK(log.find({9, 1004}) == nullptr);
  log.append(entry(4, 2));
  CHECK(log.at(4).version.epoch == 2);
  log.trim(2);
  log.rewind(2);
  CHECK(log.size() == 0);
  CHECK(log.head() == Version{1, 2});
}

TEST_CASE("pg log: a request is found also when a newer one of its client was logged and trimmed") {
  PgLog log;
  for (const std::uint64_t sequence : {1010, 1008, 1009}) {
    net::LogEntry next = entry(log.head_number() + 1);
    next.request.sequence = sequence;
    log.append(next);
  }
  log.trim(1);
  CHECK(log.find({9, 1010}) == nullptr);
  REQUIRE(log.find({9, 1008}) != nullptr);
  CHECK(log.find({9, 1008})->version.number == 2);
  log.rewind(2);
  CHECK(log.find({9, 1009}) == nullptr);
  CHECK(log.find({9, 1008}) != nullptr);
}

TEST_CASE("pg log: requests are found again after trims between which nobody asked") {
  PgLog log = log_of(6);
  CHECK(log.find({9, 1002}) != nullptr);
  log.append(entry(7));
  REQUIRE(log.find({9, 1007}) != nullptr);
  log.trim(1);
  log.trim(2);
  log.append(entry(8));
  CHECK(log.find({9, 1002}) == nullptr);
  REQUIRE(log.find({9, 1003}) != nullptr);
  CHECK(log.find({9, 1003})->version.number == 3);
  REQUIRE(log.find({9, 1008}) != nullptr);
  CHECK(log.find({9, 1008})->version.number == 8);
}

TEST_CASE("pg log: a reset begins behind its base") {
  PgLog log = log_of(5);
  log.reset({3, 40});
  CHECK(log.head() == Version{3, 40});
  CHECK(log.find({9, 1004}) == nullptr);
  log.append(entry(41, 3));
  CHECK(log.head_number() == 41);
  CHECK(log.tail_number() == 40);
}

TEST_CASE("pg log: entries without a client are not indexed") {
  PgLog log;
  net::LogEntry internal = entry(1);
  internal.request = {};
  log.append(internal);
  CHECK(log.find({}) == nullptr);
}

}  // namespace cairn::pg
