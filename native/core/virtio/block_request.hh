// BlockRequest: one virtio-blk request, taken apart and validated. Virtual I/O Device 1.1, section
// 5.2.6. Header and status are found by byte position, not by descriptor, so that drivers of every
// age are served (legacy ones use a descriptor each, modern ones may use any framing).
//
// The header and the segments of discard and write zeroes are copied out of guest memory before
// anything in them is looked at. Pure but for the guest's memory.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.hh"
#include "virtio/block_config.hh"
#include "virtio/split_queue.hh"

namespace cairn::virtio {

enum class BlockRequestType : std::uint32_t {
  in = 0,
  out = 1,
  flush = 4,
  get_id = 8,
  discard = 11,
  write_zeroes = 13,
};

enum class BlockStatus : std::uint8_t { ok = 0, io_error = 1, unsupported = 2 };

constexpr std::size_t kBlockHeaderBytes = 16;  // u32 type, u32 reserved, u64 sector
constexpr std::size_t kBlockIdBytes = 20;      // GET_ID's answer, padded with zeros

// A part of the disk, already checked against its size.
struct BlockRange {
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length_bytes = 0;
  bool may_unmap = false;
};

struct BlockRequest {
  std::uint16_t head = 0;  // to push back
  BlockRequestType type = BlockRequestType::in;
  std::uint64_t offset = 0;             // bytes; of in and out
  std::uint64_t data_bytes = 0;         // of data
  std::uint32_t written_bytes = 0;      // for the used element
  std::vector<MutableByteSpan> data;    // in, get_id: to fill; out: to copy from
  std::vector<BlockRange> ranges;       // discard, write_zeroes
  std::byte* status = nullptr;          // in guest memory
  std::vector<MutableByteSpan> pieces;  // scratch of parse
};

enum class ParseResult : std::uint8_t {
  ready,         // hand it to the device
  answer,        // answer it at once with `status`
  unanswerable,  // no writable byte for the status: the ring is broken
};

struct ParseOutcome {
  ParseResult result = ParseResult::ready;
  BlockStatus status = BlockStatus::ok;
};

struct BlockLimits {
  std::uint64_t size_bytes = 0;
  bool read_only = false;
};

// Fills request (its vectors are reused) from a chain.
ParseOutcome parse_block_request(const Chain& chain, const GuestMemory& memory,
                                 const BlockLimits& limits, BlockRequest& request);

// Between guest memory and private memory; the pieces hold at least as many bytes as the other.
void copy_from_guest(const std::vector<MutableByteSpan>& pieces, MutableByteSpan into);
void copy_to_guest(ByteSpan from, const std::vector<MutableByteSpan>& pieces);

}  // namespace cairn::virtio
