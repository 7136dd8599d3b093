// The checks that make a Map safe to walk.
#include "crush/map.hh"

#include <algorithm>
#include <string>

namespace cairn::crush {
namespace {

Status corrupt(std::string message) {
  return {ErrorCode::corrupt, "CRUSH map: " + std::move(message)};
}
Status too_large(std::string message) {
  return {ErrorCode::too_large, "CRUSH map: " + std::move(message)};
}
std::string name_of(const Bucket& bucket) { return "bucket " + std::to_string(bucket.id); }
std::string name_of(const Rule& rule) { return "rule " + std::to_string(rule.id); }

}  // namespace

Status Map::finish() {
  CAIRN_RETURN_IF_ERROR(check_numbers());
  CAIRN_RETURN_IF_ERROR(index_buckets());
  CAIRN_RETURN_IF_ERROR(check_items());
  CAIRN_RETURN_IF_ERROR(check_depth());
  return check_rules();
}

const Rule* Map::find_rule(std::uint32_t id) const {
  const auto found =
      std::find_if(rules.begin(), rules.end(), [id](const Rule& rule) { return rule.id == id; });
  return found == rules.end() ? nullptr : &*found;
}

Status Map::check_numbers() const {
  if (max_devices > kMaxDevices) return too_large("more than 2^20 devices");
  if (buckets.size() > kMaxBuckets) return too_large("more than 2^20 buckets");
  if (items.size() > kMaxItemsTotal) return too_large("more than 2^22 items");
  if (rules.size() > kMaxRules) return too_large("more than 256 rules");
  if (items.size() != weights.size()) return corrupt("items and weights differ in number");
  if (tunables.choose_total_tries >= kMaxTries) return too_large("choose_total_tries");
  if (tunables.chooseleaf_vary_r > kMaxVaryR) return too_large("chooseleaf_vary_r");
  if (tunables.chooseleaf_descend_once > 1) return corrupt("chooseleaf_descend_once");
  if (tunables.chooseleaf_stable > 1) return corrupt("chooseleaf_stable");
  return Status::ok();
}

Status Map::index_buckets() {
  bucket_slots_.clear();
  for (std::uint32_t slot = 0; slot < buckets.size(); ++slot) {
    const Bucket& bucket = buckets[slot];
    const std::int64_t position = -1 - static_cast<std::int64_t>(bucket.id);
    if (position < 0 || position >= kMaxBuckets) return too_large(name_of(bucket) + ": the id");
    if (bucket.type == 0) return corrupt(name_of(bucket) + " has type 0, which is for devices");
    if (bucket.type > kMaxTypeId) return too_large(name_of(bucket) + ": the type");
    if (bucket.size > kMaxBucketSize) return too_large(name_of(bucket) + ": its items");
    if (bucket.first > items.size() || bucket.size > items.size() - bucket.first)
      return corrupt(name_of(bucket) + " has items beyond the list");
    const auto index = static_cast<std::size_t>(position);
    if (index >= bucket_slots_.size()) bucket_slots_.resize(index + 1, kNoSlot);
    if (bucket_slots_[index] != kNoSlot) return corrupt(name_of(bucket) + " stands twice");
    bucket_slots_[index] = slot;
  }
  return Status::ok();
}

Status Map::check_items() {
  for (Bucket& bucket : buckets) {
    const std::span<const std::uint32_t> bucket_weights = weights_of(bucket);
    for (const ItemId item : items_of(bucket)) {
      const bool known =
          item >= 0 ? static_cast<std::uint32_t>(item) < max_devices : find_bucket(item) != nullptr;
      if (!known)
        return corrupt(name_of(bucket) + " holds item " + std::to_string(item) +
                       ", which doesn't exist");
    }
    for (const std::uint32_t weight : bucket_weights) {
      if (weight > kMaxWeight) return too_large(name_of(bucket) + ": a weight above 32767.99");
    }
    bucket.equal_weights = bucket.size != 0 && bucket_weights[0] != 0 &&
                           std::all_of(bucket_weights.begin(), bucket_weights.end(),
                                       [&](std::uint32_t w) { return w == bucket_weights[0]; });
  }
  return Status::ok();
}

// Depth-first with an explicit stack of at most kMaxDepth frames; the height of a bucket is known
// once it is left, so a bucket under several parents is walked once.
Status Map::check_depth() const {
  struct Frame {
    std::uint32_t slot;
    std::uint32_t next_item;
    std::uint32_t height;
  };
  constexpr std::uint32_t kUnknown = 0;
  constexpr std::uint32_t kOpen = 0xffffffff;
  std::vector<std::uint32_t> heights(buckets.size(), kUnknown);
  std::vector<Frame> stack;
  for (std::uint32_t start = 0; start < buckets.size(); ++start) {
    if (heights[start] != kUnknown) continue;
    stack.push_back({start, 0, 1});
    heights[start] = kOpen;
    while (!stack.empty()) {
      Frame& frame = stack.back();
      const Bucket& bucket = buckets[frame.slot];
      if (frame.next_item == bucket.size) {
        const std::uint32_t height = frame.height;
        heights[frame.slot] = height;
        stack.pop_back();
        if (!stack.empty()) stack.back().height = std::max(stack.back().height, height + 1);
        continue;
      }
      const ItemId item = items[bucket.first + frame.next_item++];
      if (item >= 0) continue;
      const auto child = bucket_slots_[static_cast<std::size_t>(-1 - item)];
      if (heights[child] == kOpen) return corrupt(name_of(bucket) + " is in a cycle");
      if (heights[child] != kUnknown) {
        frame.height = std::max(frame.height, heights[child] + 1);
      } else {
        if (stack.size() == kMaxDepth) return too_large("buckets nested deeper than 16");
        heights[child] = kOpen;
        stack.push_back({child, 0, 1});
      }
    }
    if (heights[start] > kMaxDepth) return too_large("buckets nested deeper than 16");
  }
  return Status::ok();
}

Status Map::check_rules() const {
  std::vector<bool> seen(kMaxRules, false);
  for (const Rule& rule : rules) {
    if (rule.id >= kMaxRules) return too_large(name_of(rule) + ": the id");
    if (seen[rule.id]) return corrupt(name_of(rule) + " stands twice");
    seen[rule.id] = true;
    if (rule.steps.size() > kMaxSteps) return too_large(name_of(rule) + ": its steps");
    for (const Step& step : rule.steps) CAIRN_RETURN_IF_ERROR(check_step(rule, step));
  }
  return Status::ok();
}

Status Map::check_step(const Rule& rule, const Step& step) const {
  const auto in_range = [&](std::int32_t value, std::int64_t low, std::int64_t high) {
    if (value >= low && value <= high) return Status::ok();
    return too_large(name_of(rule) + ": an argument of " + std::to_string(value));
  };
  switch (step.op) {
    case StepOp::take:
      if (step.arg1 >= 0 ? static_cast<std::uint32_t>(step.arg1) < max_devices
                         : find_bucket(step.arg1) != nullptr)
        return Status::ok();
      return corrupt(name_of(rule) + " takes item " + std::to_string(step.arg1) +
                     ", which doesn't exist");
    case StepOp::choose_firstn:
    case StepOp::choose_indep:
    case StepOp::chooseleaf_firstn:
    case StepOp::chooseleaf_indep:
      CAIRN_RETURN_IF_ERROR(in_range(step.arg2, 0, kMaxTypeId));
      return in_range(step.arg1, -std::int64_t{kMaxResultSize}, kMaxResultSize);
    case StepOp::emit:
      return Status::ok();
    case StepOp::set_choose_tries:
    case StepOp::set_chooseleaf_tries:
      return in_range(step.arg1, 0, kMaxTries);
    case StepOp::set_chooseleaf_vary_r:
      return in_range(step.arg1, 0, kMaxVaryR);
    case StepOp::set_chooseleaf_stable:
      return in_range(step.arg1, 0, 1);
  }
  return corrupt(name_of(rule) + " has an unknown step " +
                 std::to_string(static_cast<std::uint32_t>(step.op)));
}

}  // namespace cairn::crush
