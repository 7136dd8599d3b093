// Rows of devices for the PGs of a pool.
#include "crush/pg_placement.hh"

#include <string>

#include "crush/hash.hh"
#include "crush/mapper.hh"
#include "crush/object_hash.hh"

namespace cairn::crush {

std::uint32_t raw_pg_to_pps(std::uint32_t seed, std::uint32_t pool_id, std::uint32_t pg_num) {
  return hash32_2(stable_mod(seed, pg_num, stable_mod_mask(pg_num)), pool_id);
}

Result<std::vector<ItemId>> map_pgs(const Map& map, std::uint32_t rule_id, std::uint32_t pool_id,
                                    std::uint32_t pg_num, std::uint32_t size,
                                    std::span<const std::uint32_t> osd_weights) {
  const Rule* rule = map.find_rule(rule_id);
  if (rule == nullptr)
    return Status(ErrorCode::not_found, "the CRUSH map has no rule " + std::to_string(rule_id));
  if (pg_num == 0 || pg_num > kMaxPgNum)
    return Status(ErrorCode::out_of_range, "pg_num " + std::to_string(pg_num));
  if (size == 0 || size > kMaxResultSize)
    return Status(ErrorCode::out_of_range, "pool size " + std::to_string(size));
  std::vector<ItemId> rows(std::size_t{pg_num} * size, kItemNone);
  for (std::uint32_t seed = 0; seed < pg_num; ++seed) {
    do_rule(map, *rule, raw_pg_to_pps(seed, pool_id, pg_num), osd_weights,
            std::span(rows).subspan(std::size_t{seed} * size, size));
  }
  return rows;
}

}  // namespace cairn::crush
