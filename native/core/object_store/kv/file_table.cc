// The encoding of the region file system's directory; the layout stands in file_table.hh.
#include "object_store/kv/file_table.hh"

#include "base/crc32c.hh"

namespace cairn::kv {
namespace {

constexpr std::uint64_t kMagic = 0x3153'4656'4b4e'5243;  // "CRNKVFS1"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kCrcOffset = 12;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::uint64_t slot_bytes_for(std::uint64_t unit_count) {
  const std::uint64_t entries =
      (unit_count + 16) * kMaxFileEntryBytes + unit_count * sizeof(Extent);
  return round_up(kTableHeaderBytes + entries + kMaxTails * kPayloadBytes, kBlockBytes);
}

Status damaged(const char* what) {
  return {ErrorCode::corrupt, std::string("key-value file table: ") + what};
}

std::uint32_t table_crc(ByteSpan table) {
  const std::uint32_t zero = 0;
  std::uint32_t crc = crc32c(table.first(kCrcOffset));
  crc = crc32c(std::as_bytes(std::span(&zero, 1)), crc);
  return crc32c(table.subspan(kCrcOffset + sizeof zero), crc);
}

// Marks the extents' units as used and counts them; false: out of range or used already.
bool claim_units(const std::vector<Extent>& extents, std::vector<bool>& used,
                 std::uint64_t& unit_count) {
  for (const Extent& extent : extents) {
    const std::uint64_t end = std::uint64_t{extent.first_unit} + extent.unit_count;
    if (extent.unit_count == 0 || end > used.size()) return false;
    for (std::uint64_t unit = extent.first_unit; unit < end; ++unit) {
      if (used[unit]) return false;
      used[unit] = true;
    }
    unit_count += extent.unit_count;
  }
  return true;
}

Status decode_file(Reader& reader, const Geometry& geometry, std::vector<bool>& used,
                   FileTable& table) {
  FileEntry entry;
  entry.id = reader.get<std::uint64_t>();
  entry.size_bytes = reader.get<std::uint64_t>();
  const std::string name(reader.text16());
  const auto extent_count = reader.get<std::uint32_t>();
  if (!reader.ok() || extent_count > reader.remaining() / sizeof(Extent))
    return damaged("cut short");
  for (std::uint32_t i = 0; i < extent_count; ++i) {
    const auto first_unit = reader.get<std::uint32_t>();
    entry.extents.push_back({first_unit, reader.get<std::uint32_t>()});
  }
  entry.tail = reader.text16();
  if (!reader.ok()) return damaged("cut short");
  if (name.empty() || name.size() > kMaxFileNameBytes) return damaged("bad file name");
  if (entry.id == 0 || entry.id >= table.next_file_id) return damaged("bad file id");
  std::uint64_t unit_count = 0;
  if (!claim_units(entry.extents, used, unit_count)) return damaged("bad extent");
  if (!entry.tail.empty() && entry.tail.size() != entry.size_bytes % kPayloadBytes)
    return damaged("bad tail length");
  const std::uint64_t capacity = unit_count * (geometry.unit_bytes / kBlockBytes) * kPayloadBytes;
  if (entry.size_bytes > capacity) return damaged("file size beyond its extents");
  if (!table.files.empty() && name <= table.files.rbegin()->first)
    return damaged("file names out of order");
  table.files.emplace(name, std::move(entry));
  return {};
}

Status check_geometry(const Geometry& found, const Geometry& expected) {
  if (found.region_length == expected.region_length && found.unit_bytes == expected.unit_bytes)
    return {};
  return {ErrorCode::invalid_argument,
          "the key-value region was formatted with " + std::to_string(found.region_length) +
              " bytes in units of " + std::to_string(found.unit_bytes) + ", not " +
              std::to_string(expected.region_length) + " in units of " +
              std::to_string(expected.unit_bytes)};
}

}  // namespace

std::uint64_t Geometry::slot_bytes() const {
  // An upper bound: the slots themselves take units away.
  return slot_bytes_for(region_length / unit_bytes);
}

std::uint32_t Geometry::unit_count() const {
  const std::uint64_t slots = 4 * slot_bytes();
  if (region_length <= slots) return 0;
  return static_cast<std::uint32_t>((region_length - slots) / unit_bytes);
}

std::uint64_t Geometry::slot_offset(std::uint64_t generation, unsigned copy) const {
  const std::uint64_t start = copy == 0 ? 0 : region_length - 2 * slot_bytes();
  return start + generation % 2 * slot_bytes();
}

Result<std::vector<std::byte>> FileTable::encode() const {
  Writer writer;
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put(std::uint32_t{0});
  writer.put(std::uint32_t{0});
  writer.put(static_cast<std::uint32_t>(files.size()));
  writer.put(geometry.region_length);
  writer.put(geometry.unit_bytes);
  writer.put(geometry.nonce);
  writer.put(generation);
  writer.put(next_file_id);
  for (const auto& [name, entry] : files) {
    writer.put(entry.id);
    writer.put(entry.size_bytes);
    writer.text16(name);
    writer.put(static_cast<std::uint32_t>(entry.extents.size()));
    for (const Extent& extent : entry.extents) {
      writer.put(extent.first_unit);
      writer.put(extent.unit_count);
    }
    writer.text16(entry.tail);
  }
  if (writer.size() > geometry.slot_bytes())
    return Status(ErrorCode::no_space, "the key-value file table is full");
  std::vector<std::byte> bytes = writer.take();
  const auto length = static_cast<std::uint32_t>(bytes.size());
  store_le(bytes.data() + 16, length);
  store_le(bytes.data() + kCrcOffset, table_crc(bytes));
  bytes.resize(round_up(length, kBlockBytes));
  return bytes;
}

Result<FileTable> FileTable::decode(ByteSpan slot, const Geometry& expected) {
  Reader header(slot);
  const auto magic = header.get<std::uint64_t>();
  const auto version = header.get<std::uint32_t>();
  const auto crc = header.get<std::uint32_t>();
  const auto length = header.get<std::uint32_t>();
  const auto file_count = header.get<std::uint32_t>();
  if (!header.ok() || magic != kMagic) return damaged("no magic");
  if (length < kTableHeaderBytes || length > slot.size()) return damaged("bad length");
  if (table_crc(slot.first(length)) != crc) return damaged("bad checksum");
  if (version != kVersion)
    return Status(ErrorCode::incompatible_version,
                  "key-value region of version " + std::to_string(version));

  FileTable table;
  Reader reader(slot.first(length).subspan(24));
  table.geometry.region_length = reader.get<std::uint64_t>();
  table.geometry.unit_bytes = reader.get<std::uint64_t>();
  table.geometry.nonce = reader.get<std::uint64_t>();
  table.generation = reader.get<std::uint64_t>();
  table.next_file_id = reader.get<std::uint64_t>();
  CAIRN_RETURN_IF_ERROR(check_geometry(table.geometry, expected));
  std::vector<bool> used(table.geometry.unit_count());
  if (used.empty() || file_count > table.geometry.max_files()) return damaged("bad file count");
  for (std::uint32_t i = 0; i < file_count; ++i)
    CAIRN_RETURN_IF_ERROR(decode_file(reader, table.geometry, used, table));
  if (!reader.at_end()) return damaged("bytes left over");
  return table;
}

}  // namespace cairn::kv
