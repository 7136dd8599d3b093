// What a sparsify makes of an object's blocks.
#include "pg/zero_blocks.hh"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

namespace cairn::pg {

using net::Step;
using net::StepCode;
using object_store::BlockInfo;
using object_store::BlockState;

namespace {

// One letter a block: d data, 0 data that was found to hold zeros, n the same but written since,
// z explicit zeros, . absent.
ZeroPlan plan(const std::string& letters, std::uint64_t shown_blocks, std::uint64_t unit_blocks,
              bool with_omap = false) {
  object_store::ObjectInfo object;
  object.exists = true;
  ZeroBlocks found;
  for (std::uint32_t i = 0; i < letters.size(); ++i) {
    const char letter = letters[i];
    const BlockState state = letter == '.'   ? BlockState::absent
                             : letter == 'z' ? BlockState::zero
                                             : BlockState::data;
    object.blocks.push_back({state, 0, {1, 7}});
    if (letter == '0') found.push_back({i, {1, 7}});
    if (letter == 'n') found.push_back({i, {1, 6}});
  }
  if (with_omap) object.omap.emplace_back("key", "value");
  const Step step{
      StepCode::sparsify, shown_blocks * kBlockBytes, unit_blocks * kBlockBytes, {}, {}};
  return plan_sparsify(step, object, found);
}

std::string text_of(const ZeroPlan& plan) {
  std::string text;
  for (const Step& step : plan.steps) {
    if (!text.empty()) text += " ";
    if (step.code == StepCode::remove) {
      text += "remove";
      continue;
    }
    text += (step.code == StepCode::punch ? "punch " : "zero ") +
            std::to_string(step.offset / kBlockBytes) + "+" +
            std::to_string(step.length / kBlockBytes);
  }
  return text;
}

std::string steps(const std::string& letters, std::uint64_t shown_blocks = 0,
                  std::uint64_t unit_blocks = 1) {
  return text_of(plan(letters, shown_blocks, unit_blocks));
}

}  // namespace

TEST_CASE("sparsify: blocks of zeros go, and others stay") {
  CHECK(steps("d00d0z.0") == "punch 1+2 punch 4+1 punch 7+1");
  CHECK(steps("dddd").empty());
  CHECK(steps("d.z.").empty());
  // Written since they were found.
  const ZeroPlan written = plan("dn0n", 0, 1);
  CHECK(text_of(written) == "punch 2+1");
  CHECK(written.met_changes);
  CHECK_FALSE(plan("d00", 0, 1).met_changes);
  // Gone since then.
  CHECK(steps("dn").empty());
}

TEST_CASE("sparsify: an object of which no data is left goes, where no parent can show") {
  CHECK(steps("0000") == "remove");
  CHECK(plan("0000", 0, 1).freed.size() == 1);
  CHECK(steps("z0.z") == "remove");
  CHECK(steps("0000", 1) == "zero 0+1 punch 1+3");
  CHECK(text_of(plan("0000", 0, 1, true)) == "punch 0+4");
  CHECK(steps("zz") == "remove");
  CHECK(steps("zz", 1).empty());
}

TEST_CASE("sparsify: zeros stay explicit where a parent may show, and what it shows is no zeros") {
  CHECK(steps("d000d", 3) == "zero 1+2 punch 3+1");
  CHECK(steps("d000", 9) == "zero 1+3");
  // The absent block in the unit shows the parent; behind the overlap it is zeros.
  CHECK(steps("d.0.ddd0.0dd", 0, 2) == "punch 2+1 punch 9+1");
  CHECK(steps("dd0.", 4, 2).empty());
  CHECK(steps("dd0.", 3, 2) == "zero 2+1");
  CHECK(steps("dd0z", 4, 2) == "zero 2+1");
}

TEST_CASE("sparsify: units that hold anything else stay whole") {
  CHECK(steps("0000d000", 0, 4) == "punch 0+4");
  CHECK(steps("0000d000", 0, 8).empty());
  CHECK(steps("d0000000", 0, 4) == "punch 4+4");
  // A unit that reaches behind the last block, and behind the overlap.
  CHECK(steps("dddd0", 0, 4) == "punch 4+1");
  CHECK(steps("dddd0", 5, 4) == "zero 4+1");
  CHECK(steps("dddd0", 6, 4).empty());
  CHECK(plan("d0000000", 0, 4).freed[0].offset == 4 * kBlockBytes);
}

TEST_CASE("sparsify: zeros are found block by block") {
  object_store::ReadResult read;
  read.data = Buffer::zeroed(4 * kBlockBytes);
  read.data.data()[2 * kBlockBytes - 1] = std::byte{1};
  const BlockInfo data{BlockState::data, 0, {1, 3}};
  read.blocks = {data, data, {BlockState::zero, 0, {1, 2}}, data};
  ZeroBlocks found;
  add_zero_blocks(10, read, found);
  REQUIRE(found.size() == 2);
  CHECK(found[0].index == 10);
  CHECK(found[1].index == 13);
  CHECK(found[1].version == Version{1, 3});
}

}  // namespace cairn::pg
