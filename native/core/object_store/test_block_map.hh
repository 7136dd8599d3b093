// For the tests of block maps that are loaded as a whole: an object with some pieces of its map in
// the key-value region, and what a reader sees of them.
#pragma once

#include <string>

#include "object_store/shard.hh"
#include "object_store/test_machine.hh"

namespace cairn::object_store::test {

inline const PgId kPg{7, 1};
inline const PgId kOther{7, 2};
inline const ObjectId kObject{7, "rbd_data.1.0000", kHead};
inline const ObjectId kClone{7, "rbd_data.1.0000", 4};
inline const ObjectId kNeighbour{7, "rbd_data.1.0001", kHead};
constexpr std::uint64_t kPieceBytes = kShardBlocks * kBlockBytes;
constexpr std::uint64_t kPieces = 6;
constexpr std::uint64_t kRoomBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kNoRoomBytes = 1;

// Each block has another content: the first one this.
inline Buffer blocks_of(std::uint64_t content, std::uint32_t count = 1) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  for (std::uint32_t i = 0; i < count; ++i)
    fill_block(content + i * 1000, data.span().subspan(i * kBlockBytes, kBlockBytes));
  return data;
}

inline void write_piece(Transaction& transaction, PgId pg, std::uint64_t piece,
                        std::uint64_t content, std::uint32_t blocks = 1) {
  transaction.write(pg, kObject, piece * kPieceBytes, blocks_of(content, blocks), {1, content});
}

inline void must(Machine& machine, Transaction transaction) {
  const Status status = machine.submit(std::move(transaction));
  REQUIRE_MESSAGE(status.is_ok(), status.to_string());
}

// Piece i of the object's map has content 100 + i, the neighbour has one block. All of it lies in
// tables of the key-value region: what only its log has comes into memory at the start.
inline io::SimDiskImage written_image(std::uint64_t pieces, std::uint32_t blocks_in_piece) {
  Machine machine(formatted_image(2048));
  machine.must_open();
  for (std::uint64_t piece = 0; piece < pieces; ++piece) {
    Transaction transaction;
    write_piece(transaction, kPg, piece, 100 + piece, blocks_in_piece);
    must(machine, std::move(transaction));
  }
  Transaction transaction;
  transaction.write(kPg, kNeighbour, 0, blocks_of(1), {1, 1});
  must(machine, std::move(transaction));
  REQUIRE(machine.close().is_ok());
  machine.must_open();
  REQUIRE(machine.close().is_ok());
  return machine.disk.image();
}

inline Options with_cache(std::uint64_t bytes, std::string* log = nullptr) {
  Options options = small_options();
  options.metadata_cache_bytes = bytes;
  options.kv_block_cache_bytes = 0;  // the disk is asked each time, or no fault of it would show
  if (log != nullptr)
    options.log = [log](const char*, const std::string& line) { *log += line + "\n"; };
  return options;
}

inline void open_with_cache(Machine& machine, std::uint64_t bytes, std::string* log = nullptr) {
  const Status status = machine.open(with_cache(bytes, log));
  REQUIRE_MESSAGE(status.is_ok(), status.to_string());
}

// What a read of the piece's first block gives: its content, "-" for none, or the error.
inline std::string piece_of(Machine& machine, PgId pg, const ObjectId& object,
                            std::uint64_t piece) {
  const auto [status, result] = machine.read(pg, object, piece * kPieceBytes, kBlockBytes);
  if (!status) return std::string(error_name(status.code()));
  if (!result.exists) return "gone";
  const auto content = load_le<std::uint64_t>(result.data.data());
  return content == 0 ? "-" : std::to_string(content);
}

inline std::string pieces_of(Machine& machine, PgId pg, const ObjectId& object,
                             std::uint64_t pieces = kPieces) {
  std::string text;
  for (std::uint64_t piece = 0; piece < pieces; ++piece) {
    if (piece > 0) text += " ";
    text += piece_of(machine, pg, object, piece);
    if (text == "gone") break;
  }
  return text;
}

// Of all pieces, as nobody has changed them.
inline const std::string kUntouched = "100 101 102 103 104 105";

}  // namespace cairn::object_store::test
