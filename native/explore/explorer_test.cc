// The explorer with a small budget, and that it sees what it must see.
#include "explore/explorer.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>

#include "../test/budget.hh"
#include "explore/damage.hh"
#include "explore/report.hh"

using namespace cairn;
using namespace cairn::explore;

namespace {

class BudgetSink final : public ExplorerSink {
 public:
  BudgetSink(const Tally& tally, std::uint64_t most_states) : tally_(tally), most_(most_states) {}
  bool go_on(const StateId& next) override {
    last = next;
    return tally_.total() < most_ && findings.empty();
  }
  void found(const StateId& state, const std::string& text) override {
    findings.push_back(text + "\n" + replay_command(state, {}));
  }
  StateId last;
  std::vector<std::string> findings;

 private:
  const Tally& tally_;
  const std::uint64_t most_;
};

// Notes the names of all states, until there are so many.
class NamesSink final : public ExplorerSink {
 public:
  explicit NamesSink(std::uint64_t most) : most_(most) {}
  bool go_on(const StateId& next) override {
    names.push_back(next);
    return names.size() < most_;
  }
  void found(const StateId& state, const std::string& text) override {
    FAIL_CHECK(text, "\n", replay_command(state, {}));
  }
  std::vector<StateId> names;

 private:
  const std::uint64_t most_;
};

// Whole seeds, until so many states have been checked.
void explore_some(std::uint64_t seed, std::uint64_t states, Tally& tally) {
  BudgetSink sink(tally, states);
  Explorer explorer({}, tally, sink);
  for (; tally.total() < states && sink.findings.empty(); ++seed) explorer.explore(seed);
  for (const std::string& finding : sink.findings) FAIL_CHECK(finding);
}

// Its first life overwrites every other block of a large object.
constexpr std::uint64_t kWideSeed = 2;
constexpr std::uint64_t kMostReplays = 100;

bool run_nothing(const bool& flag) { return flag; }

}  // namespace

TEST_CASE("crash states of fixed seeds hold what the model says") {
  Tally tally;
  // Fewer would not have every kind of state and of damage.
  const std::uint64_t states = std::max<std::uint64_t>(cairn::test::budgeted(4000U), 800);
  explore_some(1, states, tally);
  CHECK(tally.total() >= states);
  for (const StateKind kind :
       {StateKind::subset, StateKind::tear, StateKind::recovery, StateKind::recovery_twice,
        StateKind::bit_flip, StateKind::lost_write, StateKind::misdirected_write}) {
    CAPTURE(std::string(name_of(kind)));
    CHECK(tally.states[static_cast<std::size_t>(kind)] > 0);
  }
  // Damage that is never noticed has hit nothing.
  CHECK(tally.refused > 0);
  CHECK(tally.reported > 0);
  CHECK(tally.writes_lost > 0);
  CHECK(tally.writes_torn > 0);
}

TEST_CASE("crash states of a fresh seed hold what the model says") {
  std::random_device entropy;
  const std::uint64_t seed = 1'000'000 + entropy() % 1'000'000'000;
  MESSAGE("seed ", seed);
  Tally tally;
  const std::uint64_t states = cairn::test::budgeted(1500U);
  explore_some(seed, states, tally);
  CHECK(tally.total() >= states);
}

TEST_CASE("a state is checked again by its name, and is the same") {
  Tally tally;
  BudgetSink sink(tally, 300);
  Explorer explorer({}, tally, sink);
  explorer.explore(5);
  const StateId at = sink.last;
  BudgetSink all(tally, ~std::uint64_t{0});
  Explorer first({}, tally, all);
  Explorer second({}, tally, all);
  const std::optional<std::string> once = first.replay(at);
  REQUIRE(once.has_value());
  CHECK(once == second.replay(at));
  CHECK(once->ends_with("as it must be"));
  CHECK(!first.replay({at.seed, at.step, 1'000'000}).has_value());
  CHECK(!first.replay({at.seed, 1'000'000, 0}).has_value());
}

TEST_CASE("some lives have more unflushed writes than are tried in all subsets: they are sampled") {
  Tally tally;
  BudgetSink all(tally, ~std::uint64_t{0});
  int moments = 0;
  for (std::uint64_t step = 0;; ++step) {
    const StateId first{kWideSeed, step, 0};
    const std::optional<std::string> text = Explorer({}, tally, all).replay(first);
    if (!text || tally.lives > kMostReplays) break;
    if (!text->starts_with("sample")) continue;
    CHECK(text->ends_with("as it must be"));
    // "power cut, 0 of N unflushed writes kept"
    const std::size_t of = text->find(" of ");
    REQUIRE(of != std::string::npos);
    CHECK(std::stoul(text->substr(of + 4)) > 10);
    ++moments;
  }
  CHECK(moments > 0);
  CHECK(tally.states[static_cast<std::size_t>(StateKind::sample)] > 0);
}

TEST_CASE("the power cut between two lives is a state with a name") {
  // The first life of this seed is short: all its states, and some of the second one.
  Tally tally;
  NamesSink sink(700);
  Explorer({}, tally, sink).explore(3);
  REQUIRE(tally.lives == 2);
  int ends = 0;
  for (std::size_t i = 0; i + 1 < sink.names.size(); ++i) {
    // The last state of each moment.
    if (sink.names[i].step == sink.names[i + 1].step) continue;
    CAPTURE(sink.names[i].to_string());
    NamesSink all(~std::uint64_t{0});
    const std::optional<std::string> text = Explorer({}, tally, all).replay(sink.names[i]);
    REQUIRE(text.has_value());
    CHECK(text->ends_with("as it must be"));
    ends += text->starts_with("the end of a life") ? 1 : 0;
  }
  CHECK(ends == 1);
}

TEST_CASE("a replay goes the way of the run, and further work has contents of its own") {
  // Two lives before it end in cuts of which nothing but the transactions counts. The work after
  // the recovery once drew what the first life had: the model took equal contents for shared ones.
  Tally tally;
  NamesSink sink(~std::uint64_t{0});
  const std::optional<std::string> text = Explorer({}, tally, sink).replay({8, 89, 0});
  REQUIRE(text.has_value());
  CHECK(text->starts_with("subset"));
  CHECK(text->ends_with("as it must be"));
}

TEST_CASE("names of states") {
  const StateId id{7, 123, 45};
  CHECK(id.to_string() == "7:123:45");
  const std::optional<StateId> parsed = StateId::parse("7:123:45");
  REQUIRE(parsed.has_value());
  CHECK(parsed->to_string() == id.to_string());
  for (const char* bad : {"", "7", "7:1", "7:1:", "7:1:2:3", "7:a:2", ":1:2", "7:1:2 "}) {
    CAPTURE(bad);
    CHECK(!StateId::parse(bad).has_value());
  }
}

TEST_CASE("each set of up to ten unflushed writes is a state, and each tear of the newest") {
  Result<io::SimDiskImage> image = formatted_image({});
  REQUIRE(image.is_ok());
  Moment moment{*image, 0, 0};
  moment.image = moment.image.crash(io::CrashChoice::lose_all());
  constexpr std::size_t kWrites = 5;
  for (std::size_t i = 0; i < kWrites; ++i)
    moment.image.start_write(i * kBlockBytes, Buffer::zeroed(kBlockBytes));
  std::array<std::size_t, kStateKinds> counts{};
  std::set<std::vector<bool>> subsets;
  std::set<std::pair<std::uint64_t, std::uint64_t>> tears;
  for (const StateSpec& spec : states_of(moment, true, 1)) {
    ++counts[static_cast<std::size_t>(spec.kind)];
    std::vector<bool> kept = spec.choice.kept;
    kept.resize(kWrites);
    if (spec.kind == StateKind::subset) subsets.insert(kept);
    for (const io::CrashChoice::Tear& tear : spec.choice.tears)
      if (spec.kind == StateKind::tear && tear.index == kWrites - 1)
        tears.insert({tear.from, tear.to});
  }
  CHECK(subsets.size() == 1 << kWrites);
  CHECK(tears.size() == 2 * (kBlockBytes / io::kSectorBytes - 1));
  CHECK(counts[static_cast<std::size_t>(StateKind::bit_flip)] == kFieldClasses);
  for (std::size_t i = kWrites; i < 20; ++i)
    moment.image.start_write(i * kBlockBytes, Buffer::zeroed(kBlockBytes));
  const std::vector<StateSpec> many = states_of(moment, true, 1);
  CHECK(std::none_of(many.begin(), many.end(),
                     [](const StateSpec& spec) { return spec.kind == StateKind::subset; }));
  CHECK(std::count_if(many.begin(), many.end(),
                      [](const StateSpec& spec) { return spec.kind == StateKind::sample; }) > 40);
}

TEST_CASE("the comparison sees each kind of difference") {
  Result<io::SimDiskImage> image = formatted_image({});
  REQUIRE(image.is_ok());
  Machine machine(*image, 1);
  REQUIRE(machine.open().is_ok());
  Model model;
  Random random(3);
  for (int i = 0; i < 60; ++i)
    REQUIRE(machine.submit(next_transaction(model, random, {.pgs = 1, .names = 2, .blocks = 8}))
                .is_ok());
  const auto difference = [&](const Model& wanted) {
    return compare(
               *machine.store, wanted, [&](const bool& flag) { return machine.run_until(flag); },
               Tolerance::exact)
        .difference;
  };
  CHECK(difference(model) == "");
  const auto changed = [&](auto change) {
    Model other = model;
    change(other.pgs.begin()->second);
    return difference(other);
  };
  const auto with_blocks = [](ModelPg& pg) -> ModelObject& {
    for (auto& [name, object] : pg.objects)
      for (auto& [index, block] : object.blocks)
        if (block.state == BlockState::data) return object;
    FAIL("no object has data");
    return pg.objects.begin()->second;
  };
  const auto data_block = [&](ModelPg& pg) -> ModelBlock& {
    for (auto& [index, block] : with_blocks(pg).blocks)
      if (block.state == BlockState::data) return block;
    return with_blocks(pg).blocks.begin()->second;
  };
  CHECK(changed([&](ModelPg& pg) { ++data_block(pg).content; }).find("content") !=
        std::string::npos);
  CHECK(changed([&](ModelPg& pg) { ++data_block(pg).version.number; }).find("version") !=
        std::string::npos);
  CHECK(changed([&](ModelPg& pg) { data_block(pg).state = BlockState::zero; }) != "");
  CHECK(changed([&](ModelPg& pg) { with_blocks(pg).omap["no such key"] = "x"; }).find("omap") !=
        std::string::npos);
  CHECK(changed([&](ModelPg& pg) { pg.objects.erase(pg.objects.begin()); }) != "");
  CHECK(changed([&](ModelPg& pg) { pg.log[pg.log_next] = "x"; }).find("log") != std::string::npos);
  CHECK(changed([&](ModelPg& pg) { pg.meta["no such key"] = "x"; }).find("metadata") !=
        std::string::npos);
  const Comparison unanswered = compare(*machine.store, model, run_nothing, Tolerance::exact);
  CHECK(unanswered.difference.find("no answer") != std::string::npos);
}
