// Damage: where which class of fields lies on a disk, and what a store may lose when bytes there
// are wrong.
//
// The rule: damage is healed, or named by an error, or harmless. One loss is allowed, because
// nothing on the disk can tell it from a power cut (replay.hh): the newest durable WAL record,
// while no later record proves that it was durable; and with it the record before, when the newest
// one's images lie over its direct data, or it went there itself but for its header. This oracle
// reads the disk by the formats, and asks nothing of the store.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "explore/machine.hh"
#include "io/random.hh"
#include "object_store/superblock.hh"

namespace cairn::explore {

enum class FieldClass : std::uint8_t {
  superblock,
  wal_header,
  wal_transactions,
  wal_image,
  kv_file_table,
  kv_manifest,  // and CURRENT
  kv_log,
  kv_table,
  data,
};
constexpr std::size_t kFieldClasses = 9;
std::string_view name_of(FieldClass field);

struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool overlaps(const ByteRange& other) const {
    return offset < other.offset + other.length && other.offset < offset + length;
  }
};

// What a store may say about damaged bytes.
enum class Verdict : std::uint8_t {
  must_heal,  // there is a second copy: everything is there, without an error
  may_name,   // everything, or a named error in its place
};

class FieldMap {
 public:
  FieldMap(const io::SimDiskImage& image, const StoreGeometry& geometry);

  // Empty when the disk has nothing of the class.
  const std::vector<ByteRange>& ranges(FieldClass field) const {
    return ranges_[static_cast<std::size_t>(field)];
  }
  const object_store::Layout& layout() const { return layout_; }
  Verdict verdict(const ByteRange& damaged) const;
  // The last transaction that may be left when these bytes are damaged, where without damage it is
  // `last`: `last` itself, or the one before those of the newest record.
  std::uint64_t lowest_last(std::uint64_t last, const std::vector<ByteRange>& damaged) const;

 private:
  struct Record {
    std::uint64_t sequence = 0;
    std::uint64_t generation = 0;
    std::uint64_t flushed_sequence = 0;
    std::vector<std::uint64_t> transactions;  // numbers of the model
    std::vector<ByteRange> in_ring;
    std::vector<ByteRange> direct;  // data blocks beside the WAL
    std::vector<ByteRange> images;  // where in the data area its images go
    std::uint64_t before() const;   // the transaction that is the last one without this record
  };
  void add(FieldClass field, std::uint64_t offset, std::uint64_t length);
  const Record* newest_record(std::uint64_t last) const;
  const Record* predecessor(const Record& record) const;
  void find_records(const io::SimDiskImage& image);
  void add_record(const io::SimDiskImage& image, std::uint64_t at);
  void find_key_value_files(const io::SimDiskImage& image);

  object_store::Layout layout_;
  std::array<std::vector<ByteRange>, kFieldClasses> ranges_;
  std::vector<Record> records_;
};

}  // namespace cairn::explore
