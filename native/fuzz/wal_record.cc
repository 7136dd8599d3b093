// Fuzzes a WAL record: its header and its transactions. The input is u8 mode, u8 blocks of data,
// 64 bytes of header, then the encoded transactions. Mode bit 0: the header gets its magic, version
// and checksum first; bit 1: the transactions are decoded as the header counts them (else as the
// byte of the mode above says, which makes small counts likely).
// Beside the sanitizers it checks: a decoded header encodes to the same bytes; decoded transactions
// keep the limits of an object, hold exactly the images, and encode to the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.hh"
#include "object_store/metadata.hh"
#include "object_store/wal_record.hh"

namespace {

using namespace cairn;
using namespace cairn::object_store;

constexpr std::size_t kHeaderAt = 2;
constexpr std::size_t kMaxImages = 8;

// Takes the fields of the bytes and lets the encoder make the rest.
void repair_header(MutableByteSpan bytes) {
  RecordHeader header;
  header.store_tag = load_le<std::uint64_t>(bytes.data() + 16);
  header.sequence = load_le<std::uint64_t>(bytes.data() + 24);
  header.generation = load_le<std::uint64_t>(bytes.data() + 32);
  header.flushed_sequence = load_le<std::uint64_t>(bytes.data() + 40);
  header.metadata_bytes = load_le<std::uint32_t>(bytes.data() + 48);
  header.metadata_crc = load_le<std::uint32_t>(bytes.data() + 52);
  header.data_blocks = load_le<std::uint32_t>(bytes.data() + 56);
  header.transaction_count = load_le<std::uint32_t>(bytes.data() + 60);
  encode_record_header(header, bytes.data());
}

std::optional<RecordHeader> fuzz_header(ByteSpan bytes) {
  const std::optional<RecordHeader> header = decode_record_header(bytes);
  if (!header) return header;
  std::byte encoded[kRecordHeaderBytes];
  encode_record_header(*header, encoded);
  CAIRN_ASSERT(std::memcmp(encoded, bytes.data(), sizeof encoded) == 0);
  CAIRN_ASSERT(header->record_bytes() >= header->front_bytes() &&
               header->front_bytes() % kBlockBytes == 0);
  return header;
}

void check_op(const Transaction::Op& op) {
  CAIRN_ASSERT(std::uint64_t{op.first_block} + op.block_count <= kMaxObjectBlocks);
  CAIRN_ASSERT(op.data.size() == record_images(op) * kBlockBytes);
  CAIRN_ASSERT(op.type != OpType::move ||
               (op.move_target().seed == op.number && op.move_target() != op.pg));
  if (!op.writes_data()) return;
  CAIRN_ASSERT(op.placed.size() == op.block_count);
  CAIRN_ASSERT(op.type != OpType::write_checked || op.blocks.size() == op.block_count);
}

void fuzz_transactions(ByteSpan metadata, std::uint32_t count, std::size_t image_count) {
  const Buffer images = Buffer::zeroed(image_count * kBlockBytes);
  Result<std::vector<Transaction>> decoded = decode_transactions(metadata, count, images);
  if (!decoded) {
    CAIRN_ASSERT(decoded.status().code() == ErrorCode::corrupt);
    return;
  }
  CAIRN_ASSERT(decoded->size() == count);
  std::size_t image_bytes = 0;
  std::vector<std::byte> encoded;
  for (const Transaction& transaction : *decoded) {
    for (const Transaction::Op& op : transaction.ops()) {
      check_op(op);
      image_bytes += op.data.size();
    }
    const std::size_t before = encoded.size();
    encode_transaction(transaction, encoded);
    CAIRN_ASSERT(encoded.size() - before <= encoded_bound(transaction));
  }
  CAIRN_ASSERT(image_bytes == images.size());
  CAIRN_ASSERT(std::equal(encoded.begin(), encoded.end(), metadata.begin(), metadata.end()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size < kHeaderAt + kRecordHeaderBytes) return 0;
  const std::uint8_t mode = bytes[0];
  const ByteSpan input = std::as_bytes(std::span(bytes, size)).subspan(kHeaderAt);
  std::byte header_bytes[kRecordHeaderBytes];
  std::memcpy(header_bytes, input.data(), sizeof header_bytes);
  if ((mode & 1) != 0) repair_header(header_bytes);
  const std::optional<RecordHeader> header = fuzz_header(header_bytes);
  const bool by_header = (mode & 2) != 0;
  if (by_header && !header) return 0;
  fuzz_transactions(input.subspan(kRecordHeaderBytes),
                    by_header ? header->transaction_count : mode >> 2U,
                    bytes[1] % (kMaxImages + 1));
  return 0;
}
