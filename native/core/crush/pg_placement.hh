// Placement of placement groups (PGs): the CRUSH input of a PG and the mapping of a whole pool.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.hh"
#include "crush/map.hh"

namespace cairn::crush {

inline constexpr std::uint32_t kMaxPgNum = 1u << 20;

// The CRUSH input of a PG: Ceph's raw_pg_to_pps for a pool with flag HASHPSPOOL. seed: the PG's
// number or the full hash of an object's name. pg_num: Ceph's pgp_num, from 1.
std::uint32_t raw_pg_to_pps(std::uint32_t seed, std::uint32_t pool_id, std::uint32_t pg_num);

// All PGs of a pool: pg_num rows of size device ids, kItemNone where there is no device (a hole, or
// the end of a row of a firstn rule that found fewer). osd_weights: as for do_rule.
// Errors: not_found (the rule), out_of_range (pg_num outside 1 .. kMaxPgNum, size outside
// 1 .. kMaxResultSize).
Result<std::vector<ItemId>> map_pgs(const Map& map, std::uint32_t rule_id, std::uint32_t pool_id,
                                    std::uint32_t pg_num, std::uint32_t size,
                                    std::span<const std::uint32_t> osd_weights);

}  // namespace cairn::crush
