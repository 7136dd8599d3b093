// Which copies count, case by case.
#include "pg/scrub_verdict.hh"

#include <doctest/doctest.h>

namespace cairn::pg {

namespace {

net::ScrubObject copy(std::uint64_t number, std::uint32_t digest) {
  net::ScrubObject object;
  object.name = "o";
  object.exists = true;
  object.version = {1, number};
  object.data_blocks = 4;
  object.blocks_digest = digest;
  return object;
}

net::ScrubObject absent() {
  net::ScrubObject object;
  object.name = "o";
  return object;
}

net::ScrubObject with_bad(net::ScrubObject object, std::vector<std::uint32_t> blocks) {
  object.bad_blocks = std::move(blocks);
  return object;
}

// "good [0 1] 2:differs" and so on.
std::string text(const std::map<OsdId, net::ScrubObject>& copies,
                 const net::LogEntry* newest = nullptr) {
  const ObjectVerdict verdict = judge("o", copies, newest);
  std::string result = "good";
  for (const OsdId osd : verdict.good) result += " " + std::to_string(osd);
  for (const BadCopy& bad : verdict.bad) {
    result += ", " + std::to_string(bad.osd) + " " + std::string(name_of(bad.problem));
    if (!bad.bad_blocks.empty()) result += "+" + std::to_string(bad.bad_blocks.size());
  }
  return result + "; " + std::to_string(verdict.error_count());
}

net::LogEntry logged(std::uint64_t number, bool removes = false) {
  net::LogEntry entry;
  entry.version = {1, number};
  entry.object = "o";
  entry.removes = removes;
  return entry;
}

}  // namespace

TEST_CASE("scrub verdict: equal copies are good") {
  CHECK(text({{0, copy(5, 1)}, {1, copy(5, 1)}, {2, copy(5, 1)}}) == "good 0 1 2; 0");
  CHECK(text({{0, absent()}, {1, absent()}}) == "good 0 1; 0");
}

TEST_CASE("scrub verdict: bad blocks count one by one") {
  CHECK(
      text({{0, with_bad(copy(5, 1), {1, 2})}, {1, copy(5, 1)}, {2, with_bad(copy(5, 1), {3})}}) ==
      "good 1, 0 none+2, 2 none+1; 3");
  CHECK(text({{0, with_bad(copy(5, 1), {1})}, {1, with_bad(copy(5, 1), {1})}}) ==
        "good, 0 none+1, 1 none+1; 2");
}

TEST_CASE("scrub verdict: at equal versions the majority counts") {
  CHECK(text({{0, copy(5, 2)}, {1, copy(5, 1)}, {2, copy(5, 1)}}) == "good 1 2, 0 differs; 1");
  CHECK(text({{0, copy(5, 1)}, {1, absent()}, {2, copy(5, 1)}}) == "good 0 2, 1 missing; 1");
  CHECK(text({{0, absent()}, {1, absent()}, {2, copy(5, 1)}}) == "good 0 1, 2 extra; 1");
}

TEST_CASE("scrub verdict: the newest version counts, and before it what the log says") {
  CHECK(text({{0, copy(6, 1)}, {1, copy(5, 1)}, {2, copy(5, 1)}}) ==
        "good 0, 1 differs, 2 differs; 2");
  const net::LogEntry five = logged(5);
  CHECK(text({{0, copy(6, 1)}, {1, copy(5, 1)}, {2, copy(4, 1)}}, &five) ==
        "good 1, 0 differs, 2 differs; 2");
  const net::LogEntry removed = logged(7, true);
  CHECK(text({{0, copy(6, 1)}, {1, copy(6, 1)}, {2, absent()}}, &removed) ==
        "good 2, 0 extra, 1 extra; 2");
  // A log entry that no copy fits decides nothing.
  const net::LogEntry nine = logged(9);
  CHECK(text({{0, copy(6, 1)}, {1, copy(6, 1)}, {2, absent()}}, &nine) == "good 0 1, 2 missing; 1");
}

TEST_CASE("scrub verdict: of two copies the whole one counts; else neither") {
  CHECK(text({{0, with_bad(copy(5, 2), {1})}, {1, copy(5, 1)}}) == "good 1, 0 differs+1; 2");
  CHECK(text({{0, copy(5, 2)}, {1, copy(5, 1)}}) == "good, 0 differs, 1 differs; 2");
  CHECK(text({{0, copy(5, 2)}, {1, absent()}}) == "good, 0 differs, 1 differs; 2");
}

TEST_CASE("scrub verdict: a copy whose metadata can't be read has no say") {
  net::ScrubObject unreadable = absent();
  unreadable.code = ErrorCode::corrupt;
  CHECK(text({{0, unreadable}, {1, copy(5, 1)}}) == "good 1, 0 unreadable; 1");
  CHECK(text({{0, unreadable}, {1, unreadable}}) == "good, 0 unreadable, 1 unreadable; 2");
}

}  // namespace cairn::pg
