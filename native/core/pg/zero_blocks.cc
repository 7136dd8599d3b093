// Planning a sparsify: see zero_blocks.hh.
#include "pg/zero_blocks.hh"

#include <algorithm>

#include "base/planted_bug.hh"
#include "base/zeros.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;
using object_store::BlockInfo;
using object_store::BlockState;

namespace {

std::vector<bool> still_zero(const std::vector<BlockInfo>& blocks, const ZeroBlocks& found) {
  std::vector<bool> zero(blocks.size());
  for (const ZeroBlock& block : found) {
    if (block.index >= blocks.size()) break;
    const BlockInfo& now = blocks[block.index];
    const bool is_same = now.version == block.version || planted(PlantedBug::sparsify_blindly);
    zero[block.index] = now.state == BlockState::data && is_same;
  }
  return zero;
}

void add_freed(std::uint64_t offset, BlockState left, std::vector<net::ExtentRun>& freed) {
  const auto state = static_cast<std::uint8_t>(left);
  if (!freed.empty() && freed.back().state == state &&
      freed.back().offset + freed.back().length == offset) {
    freed.back().length += kBlockBytes;
  } else {
    freed.push_back({offset, kBlockBytes, state});
  }
}

}  // namespace

void add_zero_blocks(std::uint32_t first, const object_store::ReadResult& read, ZeroBlocks& found) {
  for (std::uint32_t i = 0; i < read.blocks.size(); ++i) {
    const BlockInfo& block = read.blocks[i];
    if (block.state != BlockState::data) continue;
    if (all_zero(read.data.span().subspan(i * kBlockBytes, kBlockBytes)))
      found.push_back({first + i, block.version});
  }
}

ZeroPlan plan_sparsify(const Step& sparsify, const object_store::ObjectInfo& object,
                       const ZeroBlocks& found) {
  const std::vector<BlockInfo>& blocks = object.blocks;
  const std::vector<bool> zero = still_zero(blocks, found);
  const std::uint64_t shown_blocks = sparsify.offset / kBlockBytes;
  const std::uint64_t unit_blocks = sparsify.length / kBlockBytes;
  const auto reads_as_zeros = [&](std::uint64_t index) {
    if (index >= blocks.size() || blocks[index].state == BlockState::absent)
      return index >= shown_blocks;
    return zero[index] || blocks[index].state == BlockState::zero;
  };
  ZeroPlan plan;
  plan.met_changes =
      static_cast<std::size_t>(std::count(zero.begin(), zero.end(), true)) != found.size();
  bool has_data = false;
  for (std::uint64_t unit = 0; unit < blocks.size(); unit += unit_blocks) {
    bool goes = true;
    for (std::uint64_t i = unit; goes && i < unit + unit_blocks; ++i) goes = reads_as_zeros(i);
    const std::uint64_t end = std::min<std::uint64_t>(unit + unit_blocks, blocks.size());
    for (std::uint64_t i = unit; i < end; ++i) {
      if (blocks[i].state != BlockState::data) continue;
      has_data = has_data || !goes;
      const BlockState left = i < shown_blocks ? BlockState::zero : BlockState::absent;
      if (goes) add_freed(i * kBlockBytes, left, plan.freed);
    }
  }
  if (!has_data && shown_blocks == 0 && object.omap.empty()) {
    plan.steps.push_back({StepCode::remove, 0, 0, {}, {}});
    return plan;
  }
  for (const net::ExtentRun& run : plan.freed) {
    const bool stays = run.state == static_cast<std::uint8_t>(BlockState::zero);
    const StepCode code = stays ? StepCode::write_zeroes : StepCode::punch;
    plan.steps.push_back({code, run.offset, run.length, {}, {}});
  }
  return plan;
}

}  // namespace cairn::pg
