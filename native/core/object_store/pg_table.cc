// PG logs in segments.
#include "object_store/pg_table.hh"

#include <algorithm>
#include <iterator>

#include "object_store/varint.hh"

namespace cairn::object_store {

void LogSegment::append(ByteSpan entry) {
  const auto length = static_cast<std::uint32_t>(entry.size());
  const std::size_t at = bytes.size();
  bytes.resize(at + sizeof length + entry.size());
  store_le(bytes.data() + at, length);
  if (!entry.empty()) std::memcpy(bytes.data() + at + sizeof length, entry.data(), entry.size());
  ++count;
  is_dirty = true;
}

void LogSegment::cut(std::uint64_t number) {
  if (number >= first + count) return;
  Reader from(bytes);
  const std::uint64_t kept = number > first ? number - first : 0;
  for (std::uint64_t i = 0; i < kept; ++i) from.blob32();
  bytes.resize(bytes.size() - from.remaining());
  count = static_cast<std::uint32_t>(kept);
  is_dirty = true;
}

std::string LogSegment::encode() const {
  std::string value;
  value.reserve(bytes.size() + 16);
  put_varint(value, first);
  put_varint(value, count);
  value.append(as_text(bytes));
  return value;
}

bool LogSegment::decode(std::string_view value, LogSegment& segment) {
  ValueReader reader(value);
  segment.first = reader.varint();
  segment.count = static_cast<std::uint32_t>(reader.varint());
  if (!reader.ok() || segment.count > kSegmentEntries) return false;
  std::string head;
  put_varint(head, segment.first);
  put_varint(head, segment.count);
  if (head.size() > value.size()) return false;
  const ByteSpan rest = as_bytes(value.substr(head.size()));
  Reader entries(rest);
  for (std::uint32_t i = 0; i < segment.count; ++i) entries.blob32();
  segment.bytes.assign(rest.begin(), rest.end());
  segment.is_dirty = false;
  return entries.at_end();
}

void LogSegment::list(std::uint64_t from, std::uint64_t to,
                      std::vector<LogEntryBytes>& into) const {
  Reader entries(bytes);
  for (std::uint64_t number = first; number < first + count; ++number) {
    const ByteSpan entry = entries.blob32();
    if (number >= from && number < to)
      into.push_back({number, std::vector<std::byte>(entry.begin(), entry.end())});
  }
}

// varint collection, object count, log_first, log_next - log_first, and the data blocks when they
// are known; then what changed of the log.
void PgEntry::encode(kv::WriteBatch& batch) {
  for (const std::uint64_t segment : erased_) batch.erase(keys::log_segment(collection, segment));
  erased_.clear();
  if (!exists) return batch.erase(keys::pg(id_));
  std::string value;
  put_varint(value, collection);
  put_varint(value, object_count);
  put_varint(value, log_first);
  put_varint(value, log_next - log_first);
  if (data_blocks) put_varint(value, *data_blocks);
  batch.put(keys::pg(id_), value);
  for (auto& [number, segment] : segments) {
    if (!segment.is_dirty) continue;
    batch.put(keys::log_segment(collection, number), segment.encode());
    segment.is_dirty = false;
  }
}

void PgEntry::begin_period() {
  is_new = false;
  std::erase_if(segments, [this](const auto& item) {
    return !item.second.is_dirty && item.first != log_next / kSegmentEntries;
  });
}

bool PgEntry::decode(std::string_view value) {
  ValueReader reader(value);
  exists = true;
  collection = reader.varint();
  object_count = reader.varint();
  log_first = reader.varint();
  log_next = log_first + reader.varint();
  data_blocks.reset();
  if (!reader.at_end()) data_blocks = reader.varint();
  return reader.at_end() && collection != 0 && log_next >= log_first;
}

void PgEntry::append(std::uint64_t number, ByteSpan entry) {
  CAIRN_ASSERT(number == log_next);
  // It is the last one, or becomes that: no walk through the tree.
  auto last = segments.empty() ? segments.end() : std::prev(segments.end());
  if (last == segments.end() || last->first != number / kSegmentEntries)
    last = segments.try_emplace(segments.end(), number / kSegmentEntries);
  LogSegment& segment = last->second;
  if (segment.count == 0) segment.first = number;
  CAIRN_ASSERT(segment.first + segment.count == number);
  segment.append(entry);
  log_next = number + 1;
}

void PgEntry::erase_segments(std::uint64_t first, std::uint64_t end) {
  for (std::uint64_t segment = first; segment < end; ++segment) erased_.push_back(segment);
  segments.erase(segments.lower_bound(first), segments.lower_bound(end));
}

void PgEntry::trim(std::uint64_t up_to_number) {
  const std::uint64_t first = std::min(std::max(up_to_number + 1, log_first), log_next);
  erase_segments(log_first / kSegmentEntries, first / kSegmentEntries);
  log_first = first;
}

std::optional<std::uint64_t> PgEntry::segment_to_rewind(std::uint64_t to_number) const {
  const std::uint64_t next = to_number + 1;
  const std::uint64_t segment = next / kSegmentEntries;
  if (next <= log_first || next >= log_next || next % kSegmentEntries == 0) return std::nullopt;
  if (segments.contains(segment)) return std::nullopt;
  return segment;
}

void PgEntry::rewind(std::uint64_t to_number) {
  const std::uint64_t next = to_number + 1;
  if (next >= log_next) return;
  if (next <= log_first) return reset(next);
  const std::uint64_t segment = next / kSegmentEntries;
  const bool is_cut = next % kSegmentEntries != 0;
  erase_segments(is_cut ? segment + 1 : segment, log_next / kSegmentEntries + 1);
  if (is_cut) segments.at(segment).cut(next);
  log_next = next;
}

void PgEntry::reset(std::uint64_t first_number) {
  erase_segments(log_first / kSegmentEntries, log_next / kSegmentEntries + 1);
  log_first = first_number;
  log_next = first_number;
}

void PgEntry::forget() {
  exists = false;
  segments.clear();
  erased_.clear();
}

PgEntry* PgTable::find(const PgId& id) {
  if (last_found_ == nullptr || last_found_->id() != id) {
    const std::unique_ptr<PgEntry>* const found = entries_.find(id);
    if (found == nullptr) return nullptr;
    last_found_ = found->get();
  }
  return last_found_->exists ? last_found_ : nullptr;
}

PgEntry& PgTable::entry(const PgId& id) {
  if (last_found_ != nullptr && last_found_->id() == id) return *last_found_;
  std::unique_ptr<PgEntry>& entry = entries_[id];
  if (!entry) entry = std::make_unique<PgEntry>(id);
  last_found_ = entry.get();
  return *entry;
}

}  // namespace cairn::object_store
