// Which chunks are asked for, and who is answered when.
#include "qcow2/remote_ranges.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <utility>

namespace cairn::qcow2 {

namespace {

constexpr std::uint64_t kChunk = 100;

struct Rig {
  explicit Rig(std::vector<std::uint64_t> file_bytes, std::uint64_t max_kept_bytes = 1 << 20) {
    RemoteRanges::Hooks hooks;
    hooks.wanted = [this](std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
      wanted.push_back(std::to_string(source) + ":" + std::to_string(offset) + "+" +
                       std::to_string(length));
    };
    hooks.closed = [this] { closed = true; };
    ranges.emplace(kChunk, std::move(file_bytes), max_kept_bytes, std::move(hooks));
    ranges->drop_with([this](std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
      dropped.push_back(std::to_string(source) + ":" + std::to_string(offset) + "+" +
                        std::to_string(length));
    });
  }
  // Its place in `answers`.
  std::size_t ensure(std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
    const std::size_t index = answers.size();
    answers.emplace_back();
    ranges->ensure(source, offset, length,
                   [this, index](const Status& status) { answers[index] = status.to_string(); });
    return index;
  }

  std::vector<std::string> wanted, dropped;
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

TEST_CASE("remote ranges: what nobody holds is dropped, the least recently used one first") {
  Rig rig({1050, 40}, 300);
  const auto load = [&rig](std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
    const std::size_t index = rig.ensure(source, offset, length);
    rig.ranges->fetched(source, offset, length, Status::ok());
    CHECK(rig.answers[index] == "ok");
  };
  load(0, 0, 300);
  load(0, 300, 100);
  CHECK(rig.dropped.empty());  // all of it is held
  CHECK(rig.ranges->kept_bytes() == 400);
  rig.ranges->release(0, 0, 300);
  CHECK(rig.dropped == Texts{"0:0+100"});
  rig.ranges->release(0, 300, 100);
  CHECK(rig.dropped.size() == 1);
  // Used again: another one goes.
  CHECK(rig.answers[rig.ensure(0, 100, 100)] == "ok");
  rig.ranges->release(0, 100, 100);
  load(1, 0, 40);
  rig.ranges->release(1, 0, 40);
  CHECK(rig.dropped == Texts{"0:0+100", "0:200+100"});
  CHECK(rig.ranges->kept_bytes() == 240);
  // What was dropped is asked for again.
  rig.wanted.clear();
  const std::size_t again = rig.ensure(0, 0, 200);
  CHECK(rig.wanted == Texts{"0:0+100"});
  CHECK(!rig.answers[again].has_value());
  rig.ranges->fetched(0, 0, 100, {ErrorCode::io_error, "away"});
  CHECK(rig.answers[again] == "io_error: away");
  // Nobody holds it: it may go.
  load(0, 400, 100);
  rig.ranges->release(0, 400, 100);
  CHECK(rig.ranges->kept_bytes() <= 300);
}

TEST_CASE("remote ranges: held chunks stay, and the bound holds, whatever comes") {
  std::mt19937_64 random(3);
  Rig rig({1050}, 400);
  struct Held {
    std::uint64_t offset, length;
    std::size_t answer;
  };
  std::vector<Held> held;
  std::vector<bool> here(11);
  const auto chunks = [](std::uint64_t offset, std::uint64_t length, auto visit) {
    for (std::uint64_t chunk = offset / kChunk;
         chunk * kChunk < std::min<std::uint64_t>(offset + length, 1050); ++chunk)
      visit(chunk);
  };
  for (int round = 0; round < 3000; ++round) {
    if (random() % 2 == 0 && held.size() < 4) {
      const std::uint64_t offset = random() % 1050, length = 1 + random() % 250;
      held.push_back({offset, length, rig.ensure(0, offset, length)});
    } else if (!held.empty()) {
      const std::size_t at = random() % held.size();
      if (rig.answers[held[at].answer].has_value()) {
        if (rig.answers[held[at].answer] == "ok")
          rig.ranges->release(0, held[at].offset, held[at].length);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    if (!rig.wanted.empty() && random() % 2 == 0) {
      const std::string want = std::exchange(rig.wanted.front(), rig.wanted.back());
      rig.wanted.pop_back();
      const std::uint64_t offset = std::stoull(want.substr(2));
      const std::uint64_t length = std::stoull(want.substr(want.find('+') + 1));
      const bool good = random() % 4 != 0;
      if (good) chunks(offset, length, [&](std::uint64_t chunk) { here[chunk] = true; });
      rig.ranges->fetched(0, offset, length,
                          good ? Status::ok() : Status(ErrorCode::io_error, "away"));
    }
    for (const std::string& drop : std::exchange(rig.dropped, {}))
      here[std::stoull(drop.substr(2)) / kChunk] = false;
    std::uint64_t held_chunks = 0;
    for (const Held& range : held) {
      if (rig.answers[range.answer] != "ok") continue;
      chunks(range.offset, range.length, [&](std::uint64_t chunk) { REQUIRE(here[chunk]); });
    }
    for (const Held& range : held) chunks(range.offset, range.length, [&](auto) { ++held_chunks; });
    REQUIRE(rig.ranges->kept_bytes() <= 400 + held_chunks * kChunk);
  }
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
