// Map: a CRUSH map as the mapper walks it: straw2 buckets, rules, tunables, no names.
// Invariants after finish(): every item refers to a device below max_devices or to a bucket of the
// map, the buckets form an acyclic graph no deeper than kMaxDepth, every number is within the
// limits below. The mapper relies on them, so a Map that hasn't passed finish() must not reach it;
// map_codec.hh makes finished ones from bytes. Immutable afterwards: any thread may read it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/status.hh"

namespace cairn::crush {

// Item ids: devices (OSDs) from 0 up, buckets from -1 down.
using ItemId = std::int32_t;
inline constexpr ItemId kItemNone = 0x7fffffff;   // a hole in a result: no device found
inline constexpr ItemId kItemUndef = 0x7ffffffe;  // not chosen yet

inline constexpr std::uint32_t kMaxDevices = 1u << 20;
inline constexpr std::uint32_t kMaxBuckets = 1u << 20;     // ids -1 to -2^20
inline constexpr std::uint32_t kMaxBucketSize = 1u << 16;  // items in one bucket
inline constexpr std::uint32_t kMaxItemsTotal = 1u << 22;  // over all buckets
inline constexpr std::uint32_t kMaxTypeId = 0xffff;        // Ceph keeps it in 16 bits
inline constexpr std::uint32_t kMaxRules = 256;            // Ceph's CRUSH_MAX_RULES
inline constexpr std::uint32_t kMaxSteps = 64;             // in one rule
inline constexpr std::uint32_t kMaxDepth = 16;             // Ceph's CRUSH_MAX_DEPTH is 10
inline constexpr std::uint32_t kMaxTries = 10000;          // choose tries and chooseleaf tries
inline constexpr std::uint32_t kMaxVaryR = 31;             // a shift by vary_r - 1
inline constexpr std::uint32_t kMaxResultSize = 64;        // devices in one mapping
// 16.16 fixed point. Ceph divides by the weight as a signed 32-bit number: from 32768.0 up its
// draws change their sign and placement is nonsense, so such weights are refused.
inline constexpr std::uint32_t kMaxWeight = 0x7fffffff;
inline constexpr std::uint32_t kWeightOne = 0x10000;

struct Tunables {
  std::uint32_t choose_total_tries = 50;
  std::uint32_t chooseleaf_descend_once = 1;
  std::uint32_t chooseleaf_vary_r = 1;
  std::uint32_t chooseleaf_stable = 1;
};

// Items first .. first + size - 1 of Map::items and Map::weights.
struct Bucket {
  ItemId id = 0;
  std::uint32_t type = 0;
  std::uint32_t first = 0;
  std::uint32_t size = 0;
  bool equal_weights = false;  // set by finish(): all weights equal and not zero
};

// The numbers are those of Ceph's binary map.
enum class StepOp : std::uint32_t {
  take = 1,               // arg1: item
  choose_firstn = 2,      // arg1: count (0: the result size, negative: that many fewer), arg2: type
  choose_indep = 3,       // as choose_firstn
  emit = 4,               // no argument
  chooseleaf_firstn = 6,  // as choose_firstn
  chooseleaf_indep = 7,   // as choose_firstn
  set_choose_tries = 8,   // arg1: tries; 0 changes nothing
  set_chooseleaf_tries = 9,    // arg1: tries; 0 changes nothing
  set_chooseleaf_vary_r = 12,  // arg1
  set_chooseleaf_stable = 13,  // arg1
};

struct Step {
  StepOp op = StepOp::emit;
  std::int32_t arg1 = 0;
  std::int32_t arg2 = 0;
};

struct Rule {
  std::uint32_t id = 0;
  std::vector<Step> steps;
};

struct Map {
  std::uint32_t max_devices = 0;  // device ids are below
  Tunables tunables;
  std::vector<Bucket> buckets;
  std::vector<ItemId> items;
  std::vector<std::uint32_t> weights;  // 16.16, beside items
  std::vector<Rule> rules;

  // Checks everything that the mapper relies on and builds the indexes below. Errors: corrupt
  // (a reference to nothing, a double id, a cycle), too_large (a limit above is exceeded).
  Status finish();

  // The bucket with that id; nullptr when there is none. Needs finish().
  const Bucket* find_bucket(ItemId id) const {
    const auto slot = static_cast<std::uint32_t>(-1 - static_cast<std::int64_t>(id));
    if (id >= 0 || slot >= bucket_slots_.size() || bucket_slots_[slot] == kNoSlot) return nullptr;
    return &buckets[bucket_slots_[slot]];
  }
  const Rule* find_rule(std::uint32_t id) const;

  std::span<const ItemId> items_of(const Bucket& bucket) const {
    return std::span(items).subspan(bucket.first, bucket.size);
  }
  std::span<const std::uint32_t> weights_of(const Bucket& bucket) const {
    return std::span(weights).subspan(bucket.first, bucket.size);
  }

 private:
  static constexpr std::uint32_t kNoSlot = 0xffffffff;

  Status check_numbers() const;
  Status index_buckets();
  Status check_items();
  Status check_depth() const;
  Status check_rules() const;
  Status check_step(const Rule& rule, const Step& step) const;

  std::vector<std::uint32_t> bucket_slots_;  // by -1 - id: position in buckets, or kNoSlot
};

}  // namespace cairn::crush
