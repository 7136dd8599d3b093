// Finds the parts of a store on its disk.
#include "explore/damage.hh"

#include <algorithm>
#include <charconv>

#include "base/crc32c.hh"
#include "object_store/kv/file_table.hh"
#include "object_store/wal_record.hh"

namespace cairn::explore {

using object_store::kRecordHeaderBytes;
using object_store::OpType;
using object_store::RecordHeader;

namespace {

constexpr std::array<std::string_view, kFieldClasses> kNames = {
    "superblock", "WAL header", "WAL transactions", "WAL image", "file table",
    "manifest",   "KV log",     "KV table",         "data"};
constexpr std::uint64_t kSuperblockFieldBytes = 152;

Buffer read(const io::SimDiskImage& image, std::uint64_t offset, std::uint64_t length) {
  Buffer bytes = Buffer::allocate(length);
  image.read(offset, bytes.span());
  return bytes;
}

FieldClass class_of_file(std::string_view name) {
  if (name.ends_with(".log")) return FieldClass::kv_log;
  if (name.ends_with(".ldb")) return FieldClass::kv_table;
  return FieldClass::kv_manifest;
}

bool any_overlap(const std::vector<ByteRange>& some, const std::vector<ByteRange>& others) {
  return std::any_of(some.begin(), some.end(), [&](const ByteRange& one) {
    return std::any_of(others.begin(), others.end(),
                       [&](const ByteRange& other) { return one.overlaps(other); });
  });
}

bool is_zero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

std::string_view name_of(FieldClass field) { return kNames[static_cast<std::size_t>(field)]; }

FieldMap::FieldMap(const io::SimDiskImage& image, const StoreGeometry& geometry) {
  Result<object_store::Layout> layout =
      object_store::make_layout(geometry.disk_bytes(), geometry.parts());
  CAIRN_ASSERT(layout.is_ok());
  layout_ = *layout;
  add(FieldClass::superblock, 0, kSuperblockFieldBytes);
  add(FieldClass::superblock, layout_.disk_bytes - kBlockBytes, kSuperblockFieldBytes);
  find_records(image);
  find_key_value_files(image);
  for (std::uint32_t block = 0; block < layout_.data_blocks; ++block) {
    const std::uint64_t offset = layout_.data_offset + block * kBlockBytes;
    if (!is_zero(read(image, offset, kBlockBytes).span()))
      add(FieldClass::data, offset, kBlockBytes);
  }
}

void FieldMap::add(FieldClass field, std::uint64_t offset, std::uint64_t length) {
  if (length > 0) ranges_[static_cast<std::size_t>(field)].push_back({offset, length});
}

void FieldMap::find_records(const io::SimDiskImage& image) {
  for (std::uint64_t at = 0; at < layout_.wal_bytes; at += kBlockBytes) add_record(image, at);
}

void FieldMap::add_record(const io::SimDiskImage& image, std::uint64_t at) {
  const Buffer front = read(image, layout_.wal_offset + at, kBlockBytes);
  const std::optional<RecordHeader> header = object_store::decode_record_header(front.span());
  if (!header || header->record_bytes() >= layout_.wal_bytes) return;
  Record record{header->sequence, header->generation, header->flushed_sequence, {}, {}, {}, {}};
  Buffer bytes = Buffer::allocate(header->record_bytes());
  for (std::uint64_t done = 0; done < bytes.size(); done += kBlockBytes) {
    const std::uint64_t offset = layout_.wal_offset + (at + done) % layout_.wal_bytes;
    image.read(offset, bytes.span().subspan(done, kBlockBytes));
    record.in_ring.push_back({offset, kBlockBytes});
    if (done == 0) add(FieldClass::wal_header, offset, kRecordHeaderBytes);
    const std::uint64_t used = kRecordHeaderBytes + header->metadata_bytes;
    const std::uint64_t first = done == 0 ? kRecordHeaderBytes : 0;
    if (done >= header->front_bytes())
      add(FieldClass::wal_image, offset, kBlockBytes);
    else if (used > done + first)
      add(FieldClass::wal_transactions, offset + first, std::min(used - done, kBlockBytes) - first);
  }
  const ByteSpan metadata =
      ByteSpan(bytes.span()).subspan(kRecordHeaderBytes, header->metadata_bytes);
  if (crc32c(metadata) != header->metadata_crc) return;
  const std::uint64_t end = header->front_bytes();
  auto transactions = object_store::decode_transactions(metadata, header->transaction_count,
                                                        bytes.slice(end, bytes.size() - end));
  if (!transactions) return;
  for (const object_store::Transaction& transaction : *transactions)
    for (const auto& op : transaction.ops()) {
      std::uint64_t number = 0;
      if (op.type == OpType::store_meta_set && op.key == "transaction") {
        std::from_chars(op.value.data(), op.value.data() + op.value.size(), number);
        record.transactions.push_back(number);
      }
      std::vector<ByteRange>& to = op.direct ? record.direct : record.images;
      for (std::uint32_t i = 0; i < op.placed.size(); ++i)
        if (op.block_state(i) == object_store::BlockState::data)
          to.push_back({layout_.data_offset + op.placed[i].physical * kBlockBytes, kBlockBytes});
    }
  records_.push_back(std::move(record));
}

void FieldMap::find_key_value_files(const io::SimDiskImage& image) {
  const kv::Geometry geometry{layout_.kv_bytes, layout_.kv_unit_bytes, 0};
  std::optional<kv::FileTable> newest;
  for (unsigned copy = 0; copy < 2; ++copy)
    for (unsigned parity = 0; parity < 2; ++parity) {
      const std::uint64_t offset = layout_.kv_offset + geometry.slot_offset(parity, copy);
      const Buffer slot = read(image, offset, geometry.slot_bytes());
      Result<kv::FileTable> table = kv::FileTable::decode(slot.span(), geometry);
      if (!table) continue;
      add(FieldClass::kv_file_table, offset, table->encode()->size());
      if (!newest || table->generation > newest->generation) newest = std::move(*table);
    }
  if (!newest) return;
  for (const auto& [name, file] : newest->files)
    for (const kv::Extent& extent : file.extents)
      add(class_of_file(name), layout_.kv_offset + geometry.unit_offset(extent.first_unit),
          extent.unit_count * geometry.unit_bytes);
}

Verdict FieldMap::verdict(const ByteRange& damaged) const {
  for (const FieldClass field : {FieldClass::superblock, FieldClass::kv_file_table})
    for (const ByteRange& range : ranges(field))
      if (range.overlaps(damaged)) return Verdict::must_heal;
  return Verdict::may_name;
}

std::uint64_t FieldMap::Record::before() const {
  return *std::min_element(transactions.begin(), transactions.end()) - 1;
}

// The one that the last transaction came with, if no later record proves it.
const FieldMap::Record* FieldMap::newest_record(std::uint64_t last) const {
  const Record* newest = nullptr;
  for (const Record& record : records_) {
    if (std::count(record.transactions.begin(), record.transactions.end(), last) == 0) continue;
    if (newest == nullptr || record.generation > newest->generation) newest = &record;
  }
  if (newest == nullptr) return nullptr;
  const bool is_proven = std::any_of(records_.begin(), records_.end(), [&](const Record& record) {
    return record.sequence > newest->sequence && record.flushed_sequence >= newest->sequence &&
           record.generation >= newest->generation;
  });
  return is_proven ? nullptr : newest;
}

const FieldMap::Record* FieldMap::predecessor(const Record& record) const {
  const Record* found = nullptr;
  for (const Record& other : records_)
    if (other.sequence + 1 == record.sequence && other.generation <= record.generation &&
        (found == nullptr || other.generation > found->generation))
      found = &other;
  return found;
}

std::uint64_t FieldMap::lowest_last(std::uint64_t last,
                                    const std::vector<ByteRange>& damaged) const {
  const Record* const newest = newest_record(last);
  if (newest == nullptr) return last;
  if (!any_overlap(newest->in_ring, damaged) && !any_overlap(newest->direct, damaged)) return last;
  const Record* const before = predecessor(*newest);
  if (before == nullptr || before->transactions.empty()) return newest->before();
  if (any_overlap(before->direct, newest->images)) return before->before();
  // It went astray over that one's direct data. There its header, in front, would be seen.
  const bool is_astray = any_overlap({newest->in_ring.front()}, damaged);
  const bool is_seen = any_overlap(before->direct, {{damaged.back().offset, kBlockBytes}});
  if (is_astray && !is_seen && any_overlap(before->direct, damaged)) return before->before();
  return newest->before();
}

}  // namespace cairn::explore
