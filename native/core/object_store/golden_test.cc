// The golden bytes of test/golden/object_store (its README describes the files) against the codecs.
#include <doctest/doctest.h>
#include <leveldb/write_batch.h>

#include <fstream>
#include <string>

#include "base/crc32c.hh"
#include "object_store/kv/kv_store.hh"
#include "object_store/metadata.hh"
#include "object_store/pg_table.hh"
#include "object_store/superblock.hh"
#include "object_store/wal_record.hh"

using namespace cairn;
using namespace cairn::object_store;

namespace {

std::vector<std::byte> read_golden(const std::string& name) {
  std::ifstream stream(std::string(CAIRN_GOLDEN_DIR "/object_store/") + name);
  std::vector<std::byte> bytes;
  std::string line;
  // Lines are an offset, a colon and 32 hexadecimal digits; gaps between the offsets are zeros.
  while (std::getline(stream, line)) {
    if (line.empty() || line.starts_with("#")) continue;
    const std::size_t colon = line.find(':');
    REQUIRE(colon != std::string::npos);
    bytes.resize(std::stoul(line.substr(0, colon), nullptr, 16));
    for (std::size_t i = colon + 2; i + 1 < line.size(); i += 2)
      bytes.push_back(static_cast<std::byte>(std::stoul(line.substr(i, 2), nullptr, 16)));
  }
  REQUIRE(!bytes.empty());
  return bytes;
}

Superblock golden_superblock() {
  Superblock superblock;
  superblock.compatible = 2;
  superblock.autoclear = 4;
  for (std::size_t i = 0; i < 16; ++i) {
    superblock.identity.cluster[i] = static_cast<std::uint8_t>(0x10 + i);
    superblock.identity.store[i] = static_cast<std::uint8_t>(0x20 + i);
  }
  superblock.identity.osd = 5;
  superblock.generation = 9;
  superblock.layout = {.disk_bytes = 1 << 30,
                       .wal_offset = 4096,
                       .wal_bytes = 128 << 20,
                       .kv_offset = 4096 + (128 << 20),
                       .kv_bytes = 64 << 20,
                       .kv_unit_bytes = 256 << 10,
                       .data_offset = 4096 + (192 << 20),
                       .data_blocks = 212990};
  return superblock;
}

// A 4 KiB write and a log entry; a checked write of a zero block, a clone, an attribute, a move.
std::vector<Transaction> golden_transactions() {
  const PgId pg{1, 2};
  const ObjectId object{1, "rbd_data.1", kHead};
  std::vector<Transaction> transactions(2);
  Buffer data = Buffer::zeroed(kBlockBytes);
  data.data()[0] = std::byte{0x5a};
  transactions[0].write(pg, object, 3 * kBlockBytes, data, {7, 11});
  transactions[0].ops()[0].placed = {
      {42, block_checksum(1, "rbd_data.1", 3, {7, 11}, data.span())}};
  transactions[0].log_append(pg, 11, {std::byte{0xaa}, std::byte{0xbb}});
  transactions[1].write_checked(pg, object, 0, Buffer::zeroed(kBlockBytes),
                                {{BlockState::zero, 0, {6, 10}}});
  transactions[1].ops()[0].placed.resize(1);
  transactions[1].clone(pg, object, {1, "rbd_data.1", 4}, {7, 12});
  transactions[1].set_attr(pg, object, "attr", {7, 12});
  transactions[1].move(pg, object, {1, 6});
  return transactions;
}

std::vector<std::byte> golden_front() {
  std::vector<std::byte> metadata;
  for (const Transaction& transaction : golden_transactions())
    encode_transaction(transaction, metadata);
  RecordHeader header{.store_tag = 0x2726252423222120,
                      .sequence = 100,
                      .generation = 9,
                      .flushed_sequence = 99,
                      .metadata_bytes = static_cast<std::uint32_t>(metadata.size()),
                      .metadata_crc = crc32c(metadata),
                      .data_blocks = 2,
                      .transaction_count = 2};
  std::vector<std::byte> front(kRecordHeaderBytes);
  encode_record_header(header, front.data());
  front.insert(front.end(), metadata.begin(), metadata.end());
  return front;
}

// The value of the only key that the entry writes.
std::string stored_value(PgEntry& entry) {
  struct Puts final : leveldb::WriteBatch::Handler {
    void Put(const leveldb::Slice&, const leveldb::Slice& value) override {
      values.push_back(value.ToString());
    }
    void Delete(const leveldb::Slice&) override {}
    std::vector<std::string> values;
  } puts;
  kv::WriteBatch batch;
  entry.encode(batch);
  REQUIRE(batch.encoded().Iterate(&puts).ok());
  REQUIRE(puts.values.size() == 1);
  return puts.values.front();
}

}  // namespace

TEST_CASE("golden superblock") {
  const std::vector<std::byte> golden = read_golden("superblock.hex");
  const Superblock superblock = golden_superblock();
  const Buffer encoded = encode_superblock(superblock, 0);
  REQUIRE(encoded.size() == golden.size());
  CHECK(std::memcmp(encoded.data(), golden.data(), golden.size()) == 0);
  const Result<Superblock> decoded = decode_superblock(golden, 0);
  REQUIRE(decoded.is_ok());
  CHECK(decoded.value().layout == superblock.layout);
  CHECK(decoded.value().generation == 9);
  CHECK(decode_superblock(golden, 1).status().code() == ErrorCode::corrupt);
}

TEST_CASE("a superblock with impossible lengths is refused") {
  const auto decoded = [](const auto& change) {
    Superblock superblock = golden_superblock();
    change(superblock.layout);
    return decode_superblock(encode_superblock(superblock, 0).span(), 0).status().code();
  };
  CHECK(decoded([](Layout&) {}) == ErrorCode::ok);
  CHECK(decoded([](Layout& layout) { layout.disk_bytes = 0; }) == ErrorCode::corrupt);
  CHECK(decoded([](Layout& layout) { layout.disk_bytes += 1; }) == ErrorCode::corrupt);
  CHECK(decoded([](Layout& layout) { layout.kv_unit_bytes = 0; }) == ErrorCode::corrupt);
  CHECK(decoded([](Layout& layout) { layout.wal_bytes = ~std::uint64_t{4095}; }) ==
        ErrorCode::corrupt);
  CHECK(decoded([](Layout& layout) { layout.data_blocks = ~0U; }) == ErrorCode::corrupt);
}

TEST_CASE("a superblock of another format version is refused as that, whatever else it says") {
  constexpr std::size_t kCrcAt = 8, kVersionAt = 12;
  for (const std::uint32_t version : {0U, kFormatVersion + 1, ~0U}) {
    INFO("version ", version);
    Buffer block = encode_superblock(golden_superblock(), 0);
    store_le(block.data() + kVersionAt, version);
    store_le(block.data() + kCrcAt, std::uint32_t{0});
    store_le(block.data() + kCrcAt, crc32c(block.span()));
    const Status status = decode_superblock(block.span(), 0).status();
    CHECK(status.code() == ErrorCode::incompatible_version);
    CHECK(status.message().find(std::to_string(version)) != std::string::npos);
  }
}

TEST_CASE("golden WAL record") {
  const std::vector<std::byte> golden = read_golden("wal-record.hex");
  CHECK(golden_front() == golden);
  const std::optional<RecordHeader> header = decode_record_header(golden);
  REQUIRE(header.has_value());
  CHECK(header->sequence == 100);
  CHECK(header->flushed_sequence == 99);
  CHECK(header->front_bytes() == 4096);
  CHECK(header->record_bytes() == 3 * 4096);
  const Result<std::vector<Transaction>> transactions =
      decode_transactions(ByteSpan(golden).subspan(kRecordHeaderBytes), 2, Buffer::zeroed(8192));
  REQUIRE(transactions.is_ok());
  const Transaction::Op& write = transactions.value()[0].ops()[0];
  CHECK(write.type == OpType::write);
  CHECK(write.object.name == "rbd_data.1");
  CHECK(write.first_block == 3);
  CHECK(write.placed[0].physical == 42);
  CHECK(write.version == Version{7, 11});
  CHECK(transactions.value()[1].ops()[1].number == 4);
  CHECK(transactions.value()[1].ops()[2].type == OpType::set_attr);
  CHECK(transactions.value()[1].ops()[2].value == "attr");
  const Transaction::Op& move = transactions.value()[1].ops()[3];
  CHECK(move.type == OpType::move);
  CHECK(move.object == ObjectId{1, "rbd_data.1", kHead});
  CHECK(move.move_target() == PgId{1, 6});
}

TEST_CASE("a move to where no PG can be, or to where the object is, does not decode") {
  const auto decoded = [](std::uint64_t target_seed) {
    Transaction transaction;
    transaction.move({1, 2}, {1, "rbd_data.1", kHead}, {1, 6});
    transaction.ops()[0].number = target_seed;
    std::vector<std::byte> bytes;
    encode_transaction(transaction, bytes);
    return decode_transactions(bytes, 1, Buffer()).status().code();
  };
  CHECK(decoded(6) == ErrorCode::ok);
  CHECK(decoded(0xffff'ffff) == ErrorCode::ok);
  CHECK(decoded(2) == ErrorCode::corrupt);
  CHECK(decoded(0x1'0000'0000) == ErrorCode::corrupt);
  CHECK(decoded(~std::uint64_t{0}) == ErrorCode::corrupt);
}

TEST_CASE("golden object header: the attribute is what follows, and costs nothing when empty") {
  HeaderValue header{.id = 300, .omap_id = 6, .version = {7, 11}, .block_limit = 4, .attr = {}};
  const std::string without("\xac\x02\x06\x07\x0b\x04", 6);
  CHECK(encode_header(header) == without);
  header.attr.assign("a\0b", 3);
  CHECK(encode_header(header) == without + header.attr);
  HeaderValue decoded;
  REQUIRE(decode_header(encode_header(header), decoded));
  CHECK(decoded.attr == header.attr);
  CHECK(decoded.block_limit == 4);
  header.attr.assign(kMaxAttrBytes + 1, 'a');
  CHECK(!decode_header(encode_header(header), decoded));
  CHECK(!decode_header(without.substr(0, 5), decoded));
}

TEST_CASE("golden PG record: data blocks are the last number, and older records have none") {
  PgEntry pg({1, 2});
  pg.exists = true;
  pg.collection = 300;
  pg.object_count = 5;
  pg.log_first = 11;
  pg.log_next = 14;
  pg.data_blocks = 1000;
  const std::string counted("\xac\x02\x05\x0b\x03\xe8\x07", 7);
  CHECK(stored_value(pg) == counted);
  pg.data_blocks.reset();
  CHECK(stored_value(pg) == counted.substr(0, 5));
  REQUIRE(pg.decode(counted));
  CHECK(pg.data_blocks == 1000);
  REQUIRE(pg.decode(counted.substr(0, 5)));
  CHECK(!pg.data_blocks.has_value());
  CHECK(pg.object_count == 5);
  CHECK(pg.log_next == 14);
  CHECK(!pg.decode(counted.substr(0, 6)));
  CHECK(!pg.decode(counted + '\x01'));
}

TEST_CASE("no cut or flipped record decodes to something else, or reads beyond its end") {
  const std::vector<std::byte> golden = read_golden("wal-record.hex");
  const ByteSpan metadata = ByteSpan(golden).subspan(kRecordHeaderBytes);
  for (std::size_t length = 0; length < metadata.size(); ++length) {
    const std::vector<std::byte> cut(metadata.begin(),
                                     metadata.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK(decode_transactions(cut, 2, Buffer::zeroed(8192)).status().code() == ErrorCode::corrupt);
  }
  for (std::size_t i = 0; i < metadata.size() * 8; ++i) {
    std::vector<std::byte> flipped(metadata.begin(), metadata.end());
    flipped[i / 8] ^= std::byte{1} << (i % 8);
    static_cast<void>(decode_transactions(flipped, 2, Buffer::zeroed(8192)));
  }
  // A count that the bytes cannot hold costs no memory.
  CHECK(decode_transactions({}, ~std::uint32_t{0}, Buffer()).status().code() == ErrorCode::corrupt);
  for (std::size_t i = 0; i < kRecordHeaderBytes * 8; ++i) {
    std::vector<std::byte> flipped = golden;
    flipped[i / 8] ^= std::byte{1} << (i % 8);
    CHECK(!decode_record_header(flipped).has_value());
  }
}
