// Decoding of compiled maps: counts are checked against the bytes that are left before anything is
// allocated for them; Map::finish() checks the rest.
#include "crush/map_codec.hh"

#include <string>
#include <utility>

namespace cairn::crush {
namespace {

constexpr std::size_t kBucketHeaderLength = 12;  // id, type, item count
constexpr std::size_t kItemLength = 8;           // item, weight
constexpr std::size_t kRuleHeaderLength = 8;     // id, step count
constexpr std::size_t kStepLength = 12;          // op, two arguments

Status cut_short() { return {ErrorCode::corrupt, "compiled CRUSH map: cut short"}; }

bool fits(const Reader& reader, std::uint64_t count, std::size_t entry_length) {
  return reader.ok() && count * entry_length <= reader.remaining();
}

Status decode_bucket(Reader& reader, Map& map) {
  Bucket bucket;
  bucket.id = reader.get<std::int32_t>();
  bucket.type = reader.get<std::uint32_t>();
  bucket.size = reader.get<std::uint32_t>();
  bucket.first = static_cast<std::uint32_t>(map.items.size());
  if (!fits(reader, bucket.size, kItemLength)) return cut_short();
  for (std::uint32_t i = 0; i < bucket.size; ++i) {
    map.items.push_back(reader.get<std::int32_t>());
    map.weights.push_back(reader.get<std::uint32_t>());
  }
  map.buckets.push_back(bucket);
  return Status::ok();
}

Status decode_rule(Reader& reader, Map& map) {
  Rule rule;
  rule.id = reader.get<std::uint32_t>();
  const auto step_count = reader.get<std::uint32_t>();
  if (!fits(reader, step_count, kStepLength)) return cut_short();
  rule.steps.reserve(step_count);
  for (std::uint32_t i = 0; i < step_count; ++i) {
    Step step;
    step.op = static_cast<StepOp>(reader.get<std::uint32_t>());
    step.arg1 = reader.get<std::int32_t>();
    step.arg2 = reader.get<std::int32_t>();
    rule.steps.push_back(step);
  }
  map.rules.push_back(std::move(rule));
  return Status::ok();
}

}  // namespace

Result<Map> decode_map(ByteSpan bytes) {
  Reader reader(bytes);
  const auto magic = reader.get<std::uint32_t>();
  const auto version = reader.get<std::uint32_t>();
  if (!reader.ok() || magic != kMapMagic)
    return Status(ErrorCode::corrupt, "compiled CRUSH map: wrong magic");
  if (version != kMapVersion)
    return Status(ErrorCode::incompatible_version,
                  "compiled CRUSH map: version " + std::to_string(version) +
                      ", this program reads version " + std::to_string(kMapVersion));
  Map map;
  map.max_devices = reader.get<std::uint32_t>();
  map.tunables.choose_total_tries = reader.get<std::uint32_t>();
  map.tunables.chooseleaf_descend_once = reader.get<std::uint32_t>();
  map.tunables.chooseleaf_vary_r = reader.get<std::uint32_t>();
  map.tunables.chooseleaf_stable = reader.get<std::uint32_t>();
  const auto bucket_count = reader.get<std::uint32_t>();
  const auto rule_count = reader.get<std::uint32_t>();
  if (!fits(reader, bucket_count, kBucketHeaderLength)) return cut_short();
  map.buckets.reserve(bucket_count);
  for (std::uint32_t i = 0; i < bucket_count; ++i) {
    if (Status status = decode_bucket(reader, map); !status) return status;
  }
  if (!fits(reader, rule_count, kRuleHeaderLength)) return cut_short();
  map.rules.reserve(rule_count);
  for (std::uint32_t i = 0; i < rule_count; ++i) {
    if (Status status = decode_rule(reader, map); !status) return status;
  }
  if (!reader.ok()) return cut_short();
  if (!reader.at_end())
    return Status(ErrorCode::corrupt, "compiled CRUSH map: bytes after the last rule");
  if (Status status = map.finish(); !status) return status;
  return map;
}

}  // namespace cairn::crush
