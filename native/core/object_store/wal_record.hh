// The bytes of a WAL record: a header, the encoded transactions of one group, padding to 4 KiB,
// then the whole 4 KiB images of their data. Pure: no disk. docs/format/object-store.md has the
// byte tables.
//
// The header has its own checksum, the encoded transactions have one in the header, and each image
// is covered by the seeded checksum of its block, which is among the transactions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.hh"
#include "base/status.hh"
#include "object_store/transaction.hh"

namespace cairn::object_store {

constexpr std::size_t kRecordHeaderBytes = 64;

struct RecordHeader {
  std::uint64_t store_tag = 0;         // first 8 bytes of the store's uuid
  std::uint64_t sequence = 0;          // grows by one for each record
  std::uint64_t generation = 0;        // of the superblock when the record was written
  std::uint64_t flushed_sequence = 0;  // all records up to here were durable before this one
  std::uint32_t metadata_bytes = 0;
  std::uint32_t metadata_crc = 0;
  std::uint32_t data_blocks = 0;
  std::uint32_t transaction_count = 0;
  bool operator==(const RecordHeader&) const = default;

  // Header and transactions, padded.
  std::uint64_t front_bytes() const {
    return (kRecordHeaderBytes + metadata_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  }
  std::uint64_t record_bytes() const { return front_bytes() + data_blocks * kBlockBytes; }
};

// to: kRecordHeaderBytes
void encode_record_header(const RecordHeader& header, std::byte* to);
// None: not a header (magic, version, checksum). from: at least kRecordHeaderBytes.
std::optional<RecordHeader> decode_record_header(ByteSpan from);

// At least the encoded length of the transaction, in bytes, without images.
std::size_t encoded_bound(const Transaction& transaction);
// Appends the transaction; all its data blocks have been placed.
void encode_transaction(const Transaction& transaction, std::vector<std::byte>& to);
// Images that the op has in the record.
inline std::uint32_t record_images(const Transaction::Op& op) {
  return op.writes_data() && !op.direct ? op.block_count : 0;
}
// images: the data blocks of the record; the ops get slices of it. Error: corrupt.
Result<std::vector<Transaction>> decode_transactions(ByteSpan metadata, std::uint32_t count,
                                                     const Buffer& images);

}  // namespace cairn::object_store
