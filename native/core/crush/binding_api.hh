// What the Node binding calls: compiled map and plain numbers in, one vector of device ids out.
// Each call decodes the map anew, so nothing of it is kept between calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.hh"
#include "base/status.hh"

namespace cairn::crush {

// One call of crush_test answers at most this many entries (rows times num_rep): 64 MiB.
inline constexpr std::uint64_t kMaxTestEntries = std::uint64_t{1} << 24;

// native.crushMapPgs: decode_map, then map_pgs; their errors.
Result<std::vector<std::int32_t>> crush_map_pgs(ByteSpan compiled, std::uint32_t rule_id,
                                                std::uint32_t pool_id, std::uint32_t pg_num,
                                                std::uint32_t size,
                                                std::span<const std::uint32_t> osd_weights);

// native.crushTest: one row of num_rep entries for each input from min_x to max_x, both included,
// as crushtool --test. A row that ends early is filled with kItemUndef (0x7ffffffe), so that it can
// be told from a hole (kItemNone). Errors: those of decode_map, not_found (the rule), out_of_range
// (num_rep outside 1 .. kMaxResultSize, min_x above max_x), too_large (above kMaxTestEntries).
Result<std::vector<std::int32_t>> crush_test(ByteSpan compiled, std::uint32_t rule_id,
                                             std::uint32_t num_rep, std::uint32_t min_x,
                                             std::uint32_t max_x,
                                             std::span<const std::uint32_t> osd_weights);

}  // namespace cairn::crush
