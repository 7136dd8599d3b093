// Which chunks are asked for, and who is answered when.
#include "qcow2/remote_ranges.hh"

#include <doctest/doctest.h>

#include <optional>
#include <random>
#include <string>
#include <utility>

namespace cairn::qcow2 {

namespace {

constexpr std::uint64_t kChunk = 100;

struct Rig {
  explicit Rig(std::vector<std::uint64_t> file_bytes) {
    RemoteRanges::Hooks hooks;
    hooks.wanted = [this](std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
      wanted.push_back(std::to_string(source) + ":" + std::to_string(offset) + "+" +
                       std::to_string(length));
    };
    hooks.closed = [this] { closed = true; };
    ranges.emplace(kChunk, std::move(file_bytes), std::move(hooks));
  }
  // Its place in `answers`.
  std::size_t ensure(std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
    const std::size_t index = answers.size();
    answers.emplace_back();
    ranges->ensure(source, offset, length,
                   [this, index](const Status& status) { answers[index] = status.to_string(); });
    return index;
  }

  std::vector<std::string> wanted;
  std::vector<std::optional<std::string>> answers;
  bool closed = false;
  std::optional<RemoteRanges> ranges;
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("remote ranges: a chunk is asked for once, its readers are answered when all has come") {
  Rig rig({1050, 40});
  const std::size_t first = rig.ensure(0, 150, 10);
  const std::size_t around = rig.ensure(0, 0, 400);
  const std::size_t last = rig.ensure(0, 1020, 1000);
  const std::size_t other = rig.ensure(1, 0, 40);
  CHECK(rig.wanted == Texts{"0:100+100", "0:0+100", "0:200+200", "0:1000+50", "1:0+40"});
  rig.ranges->fetched(0, 100, 100, Status::ok());
  CHECK(rig.answers[first] == "ok");
  rig.ranges->fetched(0, 0, 100, Status::ok());
  CHECK(!rig.answers[around].has_value());
  rig.ranges->fetched(0, 200, 200, Status::ok());
  CHECK(rig.answers[around] == "ok");
  CHECK(!rig.answers[last].has_value());
  rig.ranges->fetched(0, 1000, 50, Status::ok());
  rig.ranges->fetched(1, 0, 40, Status::ok());
  CHECK(rig.answers[last] == "ok");
  CHECK(rig.answers[other] == "ok");
  CHECK(rig.answers[rig.ensure(0, 0, 400)] == "ok");
  CHECK(rig.answers[rig.ensure(0, 5000, 10)] == "ok");  // behind the end: the reader sees that
  CHECK(rig.wanted.size() == 5);
  rig.ranges.reset();
  CHECK(rig.closed);
}

TEST_CASE("remote ranges: a failure is told to those who wait, and asked for again by the next") {
  Rig rig({1000});
  const std::size_t one = rig.ensure(0, 0, 300);
  const std::size_t two = rig.ensure(0, 200, 300);
  rig.ranges->fetched(0, 0, 300, {ErrorCode::io_error, "away"});
  CHECK(rig.answers[one] == "io_error: away");
  CHECK(rig.answers[two] == "io_error: away");
  rig.wanted.clear();
  const std::size_t again = rig.ensure(0, 100, 400);
  CHECK(rig.wanted == Texts{"0:100+200"});  // the rest is still under way
  rig.ranges->fetched(0, 300, 200, Status::ok());
  CHECK(!rig.answers[again].has_value());
  rig.ranges->fetched(0, 100, 200, Status::ok());
  CHECK(rig.answers[again] == "ok");
}

TEST_CASE("remote ranges: a reader may ask for more when it is answered") {
  Rig rig({1000});
  std::optional<std::size_t> more;
  rig.ranges->ensure(0, 0, 100, [&](const Status&) { more = rig.ensure(0, 500, 100); });
  rig.ranges->fetched(0, 0, 100, Status::ok());
  REQUIRE(more.has_value());
  rig.ranges->fetched(0, 500, 100, Status::ok());
  CHECK(rig.answers[*more] == "ok");
}

}  // namespace cairn::qcow2
