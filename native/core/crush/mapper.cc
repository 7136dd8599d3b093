// Straw2 draws and the interpreter of rules.
//
// One attempt is a descent: from the bucket in hand, draw an item, and while it isn't of the type
// wanted, draw again inside it. firstn and indep differ in how the attempt number r grows and in
// what a failed attempt leaves behind; see each.
#include "crush/mapper.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "crush/hash.hh"
#include "crush/ln_table.hh"

namespace cairn::crush {
namespace {

// Items are drawn in chunks, eight hashes at a time: the hash is most of the work.
constexpr std::size_t kDrawChunk = 64;
constexpr std::size_t kLaneCount = 8;
using HashLanes = std::uint32_t __attribute__((vector_size(kLaneCount * sizeof(std::uint32_t))));
static_assert(kDrawChunk % kLaneCount == 0);

constexpr std::uint64_t kLnTop = std::uint64_t{1} << 48;

using DrawChunk = std::array<std::uint64_t, kDrawChunk>;

// How far below its top the logarithm of each item's 16 random bits lies: 1 to 2^48. An item's
// straw is as long as this is small; dividing by the weight makes it an exponential variable.
__attribute__((always_inline)) inline void draw_lanes(std::span<const ItemId> items,
                                                      std::uint32_t x, std::uint32_t r,
                                                      DrawChunk& below_top) {
  const HashLanes zero{};
  HashLanes ids{};
  HashLanes hashes;
  for (std::size_t first = 0; first < items.size(); first += kLaneCount) {
    const std::size_t count = std::min(kLaneCount, items.size() - first);
    if (count == kLaneCount) {
      std::memcpy(&ids, &items[first], sizeof ids);
    } else {
      std::memcpy(&ids, &items[first], count * sizeof(ItemId));
    }
    hash32_3_to(hashes, zero + x, ids, zero + r);
    for (std::size_t lane = 0; lane < count; ++lane)
      below_top[first + lane] = kLnTop - crush_ln(hashes[lane] & 0xffff);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void draw_chunk_avx2(std::span<const ItemId> items, std::uint32_t x,
                                                     std::uint32_t r, DrawChunk& below_top) {
  draw_lanes(items, x, r, below_top);
}
#endif

void draw_chunk(std::span<const ItemId> items, std::uint32_t x, std::uint32_t r,
                DrawChunk& below_top) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return draw_chunk_avx2(items, x, r, below_top);
#endif
  draw_lanes(items, x, r, below_top);
}

// n / weight, rounded down, by a floating-point division, which is several times faster than the
// 64-bit integer one. Exact: n <= 2^48 and weight < 2^31 are doubles, and a quotient that isn't
// whole is at least 1/weight away from the next integer, while half an ulp of it is at most
// 2^48/weight * 2^-53, so rounding never reaches that integer.
inline std::uint64_t divide(std::uint64_t n, std::uint32_t weight) {
  return static_cast<std::uint64_t>(
      static_cast<std::int64_t>(static_cast<double>(static_cast<std::int64_t>(n)) / weight));
}

// All weights equal: only the smallest draw needs a division. The first item whose quotient equals
// the smallest one wins, as it would when every item were divided.
ItemId choose_equal(std::span<const ItemId> items, std::uint32_t weight, std::uint32_t x,
                    std::uint32_t r) {
  std::uint64_t bound = std::numeric_limits<std::uint64_t>::max();  // draws below it win
  ItemId winner = items[0];
  DrawChunk below_top;
  for (std::size_t first = 0; first < items.size(); first += kDrawChunk) {
    const auto chunk = items.subspan(first, std::min(kDrawChunk, items.size() - first));
    draw_chunk(chunk, x, r, below_top);
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      if (below_top[i] >= bound) continue;
      winner = chunk[i];
      bound = divide(below_top[i], weight) * weight;  // below: a strictly smaller quotient
    }
  }
  return winner;
}

ItemId choose_weighted(std::span<const ItemId> items, std::span<const std::uint32_t> weights,
                       std::uint32_t x, std::uint32_t r) {
  std::uint64_t shortest = std::numeric_limits<std::uint64_t>::max();
  ItemId winner = items[0];
  DrawChunk below_top;
  for (std::size_t first = 0; first < items.size(); first += kDrawChunk) {
    const auto chunk = items.subspan(first, std::min(kDrawChunk, items.size() - first));
    draw_chunk(chunk, x, r, below_top);
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      const std::uint32_t weight = weights[first + i];
      if (weight == 0) continue;  // never wins against an item with a weight
      const std::uint64_t quotient = divide(below_top[i], weight);
      if (quotient >= shortest) continue;
      shortest = quotient;
      winner = chunk[i];
    }
  }
  return winner;
}

// What stays the same during one do_rule, or changes only between its steps.
struct Context {
  const Map& map;
  std::span<const std::uint32_t> osd_weights;
  std::uint32_t x;
  std::uint32_t choose_tries;
  std::uint32_t chooseleaf_tries;  // 0: the default of the mode
  std::uint32_t vary_r;
  bool stable;
};

// An out device is refused for the share of inputs that its weight leaves out.
bool is_out(const Context& context, ItemId device) {
  const auto index = static_cast<std::uint32_t>(device);
  if (index >= context.osd_weights.size()) return true;
  const std::uint32_t weight = context.osd_weights[index];
  if (weight >= kWeightOne) return false;
  if (weight == 0) return true;
  return (hash32_2(context.x, index) & 0xffff) >= weight;
}

enum class Descent { found, empty_bucket, wrong_type };

struct DescentResult {
  Descent outcome;
  ItemId item;
};

// wrong_type: ended at a device while a bucket of another type was wanted; trying again is useless
// by Ceph's rules. Ends because the buckets are acyclic.
DescentResult descend(const Context& context, const Bucket& from, std::uint32_t type,
                      std::uint32_t r) {
  const Bucket* bucket = &from;
  for (;;) {
    if (bucket->size == 0) return {Descent::empty_bucket, kItemNone};
    const ItemId item = straw2_choose(context.map, *bucket, context.x, r);
    if (item >= 0) return {type == 0 ? Descent::found : Descent::wrong_type, item};
    bucket = context.map.find_bucket(item);
    if (bucket->type == type) return {Descent::found, item};
  }
}

bool contains(std::span<const ItemId> chosen, ItemId item) {
  return std::find(chosen.begin(), chosen.end(), item) != chosen.end();
}

// firstn, the leaf under a bucket that chooseleaf picked: a device that isn't out and isn't among
// the leaves so far; kItemNone when the tries run out. Replica: its number when not stable, and the
// number of leaves so far.
ItemId leaf_firstn(const Context& context, const Bucket& bucket, std::uint32_t parent_r,
                   std::uint32_t tries, std::span<const ItemId> leaves) {
  const std::uint32_t replica = context.stable ? 0 : static_cast<std::uint32_t>(leaves.size());
  for (std::uint32_t failures = 0; failures < tries; ++failures) {
    const DescentResult drawn = descend(context, bucket, 0, replica + parent_r + failures);
    if (drawn.outcome == Descent::wrong_type) return kItemNone;
    if (drawn.outcome == Descent::found && !contains(leaves, drawn.item) &&
        !is_out(context, drawn.item))
      return drawn.item;
  }
  return kItemNone;
}

struct Choice {
  std::uint32_t replica_count;  // numrep: how many are wanted
  std::uint32_t type;
  bool to_leaf;  // chooseleaf
};

// firstn: the replicas one after another, each at r = replica + failures; a replica that finds
// nothing is left out, and the later ones move up. items: where the chosen items go; leaves: beside
// them, one device under each (chooseleaf only). Returns how many were chosen.
std::uint32_t choose_firstn(const Context& context, const Bucket& bucket, const Choice& choice,
                            std::span<ItemId> items, std::span<ItemId> leaves) {
  const Tunables& tunables = context.map.tunables;
  const std::uint32_t leaf_tries = context.chooseleaf_tries != 0      ? context.chooseleaf_tries
                                   : tunables.chooseleaf_descend_once ? 1
                                                                      : context.choose_tries;
  std::uint32_t count = 0;
  for (std::uint32_t replica = 0; replica < choice.replica_count && count < items.size();
       ++replica) {
    for (std::uint32_t failures = 0; failures < context.choose_tries; ++failures) {
      const std::uint32_t r = replica + failures;
      const DescentResult drawn = descend(context, bucket, choice.type, r);
      if (drawn.outcome == Descent::wrong_type) break;
      if (drawn.outcome == Descent::empty_bucket || contains(items.first(count), drawn.item))
        continue;
      ItemId leaf = drawn.item;
      if (choice.to_leaf && drawn.item < 0) {
        const std::uint32_t leaf_r = context.vary_r == 0 ? 0 : r >> (context.vary_r - 1);
        leaf = leaf_firstn(context, *context.map.find_bucket(drawn.item), leaf_r, leaf_tries,
                           leaves.first(count));
        if (leaf == kItemNone) continue;
      }
      if (choice.type == 0 && is_out(context, drawn.item)) continue;
      items[count] = drawn.item;
      leaves[count] = leaf;
      ++count;
      break;
    }
  }
  return count;
}

// indep, the leaf under a bucket: r grows by the number of replicas with each failure. Leaves of
// other positions aren't looked at: the buckets above them differ.
ItemId leaf_indep(const Context& context, const Bucket& bucket, std::uint32_t position,
                  std::uint32_t parent_r, std::uint32_t replica_count) {
  const std::uint32_t tries = context.chooseleaf_tries != 0 ? context.chooseleaf_tries : 1;
  for (std::uint32_t failures = 0; failures < tries; ++failures) {
    const DescentResult drawn =
        descend(context, bucket, 0, position + parent_r + replica_count * failures);
    if (drawn.outcome == Descent::wrong_type) return kItemNone;
    if (drawn.outcome == Descent::found && !is_out(context, drawn.item)) return drawn.item;
  }
  return kItemNone;
}

// indep: all positions in rounds; a position keeps its place, and one that stays empty becomes
// kItemNone. A leaf that was drawn for a position stays noted there even when the position itself
// remains empty: that is what Ceph gives back from chooseleaf of devices when the tries run out.
void choose_indep(const Context& context, const Bucket& bucket, const Choice& choice,
                  std::span<ItemId> items, std::span<ItemId> leaves) {
  std::fill(items.begin(), items.end(), kItemUndef);
  std::fill(leaves.begin(), leaves.end(), kItemUndef);
  std::size_t open = items.size();
  for (std::uint32_t failures = 0; open > 0 && failures < context.choose_tries; ++failures) {
    for (std::uint32_t position = 0; position < items.size(); ++position) {
      if (items[position] != kItemUndef) continue;
      const std::uint32_t r = position + choice.replica_count * failures;
      const DescentResult drawn = descend(context, bucket, choice.type, r);
      if (drawn.outcome == Descent::empty_bucket) continue;
      if (drawn.outcome == Descent::wrong_type) {
        items[position] = kItemNone;
        leaves[position] = kItemNone;
        --open;
        continue;
      }
      if (contains(items, drawn.item)) continue;
      if (choice.to_leaf) {
        leaves[position] = drawn.item >= 0
                               ? drawn.item
                               : leaf_indep(context, *context.map.find_bucket(drawn.item), position,
                                            r, choice.replica_count);
        if (leaves[position] == kItemNone) continue;
      }
      if (choice.type == 0 && is_out(context, drawn.item)) continue;
      items[position] = drawn.item;
      --open;
    }
  }
  std::replace(items.begin(), items.end(), kItemUndef, kItemNone);
  std::replace(leaves.begin(), leaves.end(), kItemUndef, kItemNone);
}

// The items in hand between two steps, and room for the next step's.
struct Working {
  std::array<ItemId, kMaxResultSize> items;
  std::array<ItemId, kMaxResultSize> chosen;
  std::array<ItemId, kMaxResultSize> leaves;
  std::size_t size = 0;  // of items
};

// One choose or chooseleaf step: from every bucket in hand, replaced by what was chosen.
void run_choose(const Context& context, const Step& step, std::size_t result_max,
                Working& working) {
  const bool firstn = step.op == StepOp::choose_firstn || step.op == StepOp::chooseleaf_firstn;
  const bool to_leaf = step.op == StepOp::chooseleaf_firstn || step.op == StepOp::chooseleaf_indep;
  const std::int64_t wanted =
      step.arg1 > 0 ? step.arg1 : step.arg1 + static_cast<std::int64_t>(result_max);
  if (working.size == 0) return;
  std::size_t size = 0;
  for (std::size_t i = 0; i < working.size && wanted > 0; ++i) {
    const Bucket* bucket = context.map.find_bucket(working.items[i]);
    if (bucket == nullptr) continue;  // a device, or a hole that indep left
    const Choice choice{static_cast<std::uint32_t>(wanted), static_cast<std::uint32_t>(step.arg2),
                        to_leaf};
    const std::size_t room = result_max - size;
    const auto items = std::span(working.chosen).subspan(size, room);
    const auto leaves = std::span(working.leaves).subspan(size, room);
    if (firstn) {
      size += choose_firstn(context, *bucket, choice, items, leaves);
    } else {
      const std::size_t count = std::min(room, static_cast<std::size_t>(wanted));
      choose_indep(context, *bucket, choice, items.first(count), leaves.first(count));
      size += count;
    }
  }
  std::copy_n((to_leaf ? working.leaves : working.chosen).begin(), size, working.items.begin());
  working.size = size;
}

}  // namespace

ItemId straw2_choose(const Map& map, const Bucket& bucket, std::uint32_t x, std::uint32_t r) {
  const std::span<const ItemId> items = map.items_of(bucket);
  const std::span<const std::uint32_t> weights = map.weights_of(bucket);
  return bucket.equal_weights ? choose_equal(items, weights[0], x, r)
                              : choose_weighted(items, weights, x, r);
}

int do_rule(const Map& map, const Rule& rule, std::uint32_t x,
            std::span<const std::uint32_t> osd_weights, std::span<ItemId> result) {
  CAIRN_ASSERT(result.size() <= kMaxResultSize);
  const Tunables& tunables = map.tunables;
  // The tunable counts retries, so there is one try more.
  Context context{map,
                  osd_weights,
                  x,
                  tunables.choose_total_tries + 1,
                  0,
                  tunables.chooseleaf_vary_r,
                  tunables.chooseleaf_stable != 0};
  Working working;
  std::size_t result_count = 0;
  for (const Step& step : rule.steps) {
    const auto argument = static_cast<std::uint32_t>(step.arg1);
    switch (step.op) {
      case StepOp::take:
        working.items[0] = step.arg1;
        working.size = 1;
        break;
      case StepOp::set_choose_tries:
        if (argument > 0) context.choose_tries = argument;
        break;
      case StepOp::set_chooseleaf_tries:
        if (argument > 0) context.chooseleaf_tries = argument;
        break;
      case StepOp::set_chooseleaf_vary_r:
        context.vary_r = argument;
        break;
      case StepOp::set_chooseleaf_stable:
        context.stable = argument != 0;
        break;
      case StepOp::choose_firstn:
      case StepOp::choose_indep:
      case StepOp::chooseleaf_firstn:
      case StepOp::chooseleaf_indep:
        run_choose(context, step, result.size(), working);
        break;
      case StepOp::emit: {
        const std::size_t count = std::min(working.size, result.size() - result_count);
        std::copy_n(working.items.begin(), count, result.subspan(result_count).begin());
        result_count += count;
        working.size = 0;
        break;
      }
    }
  }
  return static_cast<int>(result_count);
}

int do_rule(const Map& map, std::uint32_t rule_id, std::uint32_t x,
            std::span<const std::uint32_t> osd_weights, std::span<ItemId> result) {
  const Rule* rule = map.find_rule(rule_id);
  return rule == nullptr ? 0 : do_rule(map, *rule, x, osd_weights, result);
}

}  // namespace cairn::crush
