// Glue between the compiled form and the mapper.
#include "crush/binding_api.hh"

#include <string>

#include "crush/map_codec.hh"
#include "crush/mapper.hh"
#include "crush/pg_placement.hh"

namespace cairn::crush {

Result<std::vector<std::int32_t>> crush_map_pgs(ByteSpan compiled, std::uint32_t rule_id,
                                                std::uint32_t pool_id, std::uint32_t pg_num,
                                                std::uint32_t size,
                                                std::span<const std::uint32_t> osd_weights) {
  const Result<Map> map = decode_map(compiled);
  if (!map) return map.status();
  return map_pgs(map.value(), rule_id, pool_id, pg_num, size, osd_weights);
}

Result<std::vector<std::int32_t>> crush_test(ByteSpan compiled, std::uint32_t rule_id,
                                             std::uint32_t num_rep, std::uint32_t min_x,
                                             std::uint32_t max_x,
                                             std::span<const std::uint32_t> osd_weights) {
  const Result<Map> map = decode_map(compiled);
  if (!map) return map.status();
  const Rule* rule = map.value().find_rule(rule_id);
  if (rule == nullptr)
    return Status(ErrorCode::not_found, "the CRUSH map has no rule " + std::to_string(rule_id));
  if (num_rep == 0 || num_rep > kMaxResultSize)
    return Status(ErrorCode::out_of_range, "num_rep " + std::to_string(num_rep));
  if (min_x > max_x) return Status(ErrorCode::out_of_range, "min_x is above max_x");
  const std::uint64_t row_count = std::uint64_t{max_x} - min_x + 1;
  if (row_count * num_rep > kMaxTestEntries)
    return Status(ErrorCode::too_large, "more than 2^24 entries in one crush test");
  std::vector<std::int32_t> rows(row_count * num_rep, kItemUndef);
  for (std::uint64_t row = 0; row < row_count; ++row) {
    do_rule(map.value(), *rule, static_cast<std::uint32_t>(min_x + row), osd_weights,
            std::span(rows).subspan(row * num_rep, num_rep));
  }
  return rows;
}

}  // namespace cairn::crush
