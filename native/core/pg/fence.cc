// Judging fencing tokens: see fence.hh.
#include "pg/fence.hh"

#include <algorithm>

#include "base/planted_bug.hh"
#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_stale_token_refused);
CAIRN_DEFINE_PROBE(pg_stale_token_refused_before_durable);

std::string encode_token(std::uint64_t token) {
  Writer writer;
  writer.put(token);
  return std::string(as_text(writer.span()));
}

Result<std::uint64_t> decode_token(const std::string& bytes) {
  Reader reader(as_bytes(bytes));
  const auto token = reader.get<std::uint64_t>();
  if (reader.at_end() && token != 0) return token;
  return Status(ErrorCode::corrupt, "a fencing token of this PG is malformed");
}

FenceTable::Verdict FenceTable::judge(const net::Fence& fence) const {
  const auto found = entries_.find(fence.key);
  if (found == entries_.end()) return Verdict::load;
  const Entry& entry = found->second;
  if (entry.loading) return Verdict::wait;
  if (superseded(fence)) {
    if (planted(PlantedBug::no_fencing_check)) return Verdict::serve;
    pg_stale_token_refused.hit();
    if (fence.token >= entry.durable) pg_stale_token_refused_before_durable.hit();
    return Verdict::refuse;
  }
  if (fence.token == entry.durable) return Verdict::serve;
  // A raise to a lower token ends first: its operations were sent before ours.
  return entry.raising != 0 ? Verdict::wait : Verdict::raise;
}

bool FenceTable::superseded(const net::Fence& fence) const {
  const auto found = entries_.find(fence.key);
  if (found == entries_.end() || fence.token == 0) return false;
  return fence.token < std::max(found->second.durable, found->second.raising);
}

void FenceTable::load_started(const std::string& key) { entries_[key].loading = true; }

void FenceTable::loaded(const std::string& key, std::uint64_t token) {
  Entry& entry = entries_[key];
  CAIRN_ASSERT(entry.loading);
  entry.loading = false;
  entry.durable = token;
}

void FenceTable::load_failed(const std::string& key) { entries_.erase(key); }

void FenceTable::raise_started(const net::Fence& fence) {
  Entry& entry = entries_[fence.key];
  CAIRN_ASSERT(!entry.loading && entry.raising == 0 && fence.token > entry.durable);
  entry.raising = fence.token;
}

void FenceTable::raised(const net::Fence& fence) {
  Entry& entry = entries_[fence.key];
  CAIRN_ASSERT(entry.raising == fence.token);
  entry.durable = fence.token;
  entry.raising = 0;
}

}  // namespace cairn::pg
