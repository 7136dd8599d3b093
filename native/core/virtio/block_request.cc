// Parsing of virtio-blk requests; see the header.
#include "virtio/block_request.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace cairn::virtio {

namespace {

constexpr std::size_t kSegmentBytes = 16;  // u64 sector, u32 num_sectors, u32 flags
constexpr std::uint32_t kSegmentUnmap = 1;

constexpr ParseOutcome kReady{ParseResult::ready, BlockStatus::ok};
constexpr ParseOutcome kDone{ParseResult::answer, BlockStatus::ok};
constexpr ParseOutcome kIoError{ParseResult::answer, BlockStatus::io_error};
constexpr ParseOutcome kUnsupported{ParseResult::answer, BlockStatus::unsupported};
constexpr ParseOutcome kUnanswerable{ParseResult::unanswerable, BlockStatus::io_error};

std::uint64_t total_bytes(const std::vector<GuestRange>& ranges) {
  std::uint64_t sum = 0;  // below 2^32 descriptors of less than 2^32 bytes: it cannot wrap
  for (const GuestRange& range : ranges) sum += range.length_bytes;
  return sum;
}

bool translate_all(const std::vector<GuestRange>& ranges, const GuestMemory& memory,
                   std::vector<MutableByteSpan>& into) {
  into.clear();
  for (const GuestRange& range : ranges)
    if (!memory.translate(range.address, range.length_bytes, into)) return false;
  return true;
}

// Removes the first `count` bytes, which are there, and copies them to `into`.
void take_front(std::vector<MutableByteSpan>& pieces, std::byte* into, std::size_t count) {
  std::size_t used = 0;
  while (count > 0) {
    MutableByteSpan& piece = pieces[used];
    const std::size_t length = std::min(count, piece.size());
    std::memcpy(into, piece.data(), length);
    into += length;
    count -= length;
    piece = piece.subspan(length);
    if (piece.empty()) ++used;
  }
  pieces.erase(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(used));
}

// The address of the chain's last writable byte, where the status goes.
std::byte* status_byte(const std::vector<GuestRange>& writable, const GuestMemory& memory) {
  for (auto range = writable.rbegin(); range != writable.rend(); ++range) {
    if (range->length_bytes == 0) continue;
    if (range->address > std::numeric_limits<std::uint64_t>::max() - range->length_bytes)
      return nullptr;
    return memory.contiguous(range->address + range->length_bytes - 1, 1);
  }
  return nullptr;
}

void drop_last_byte(std::vector<MutableByteSpan>& pieces) {
  MutableByteSpan& last = pieces.back();
  last = last.first(last.size() - 1);
  if (last.empty()) pieces.pop_back();
}

ParseOutcome check_data(std::uint64_t sector, const BlockLimits& limits, BlockRequest& request) {
  const std::uint64_t sectors = limits.size_bytes / kSectorBytes;
  if (request.data_bytes % kSectorBytes != 0 || request.data_bytes > kMaxRequestBytes ||
      sector > sectors || request.data_bytes / kSectorBytes > sectors - sector)
    return kIoError;
  request.offset = sector * kSectorBytes;
  return request.data_bytes == 0 ? kDone : kReady;
}

// 5.2.6.2: for discard, UNMAP is unsupported; other flag bits are for both.
ParseOutcome parse_segment(const std::byte* segment, const BlockLimits& limits,
                           BlockRequest& request) {
  const auto sector = load_le<std::uint64_t>(segment);
  const auto count = load_le<std::uint32_t>(segment + 8);
  const auto flags = load_le<std::uint32_t>(segment + 12);
  const bool zeroes = request.type == BlockRequestType::write_zeroes;
  if ((flags & ~(zeroes ? kSegmentUnmap : 0U)) != 0) return kUnsupported;
  const std::uint64_t sectors = limits.size_bytes / kSectorBytes;
  if (count > kMaxDiscardSectors || sector > sectors || count > sectors - sector) return kIoError;
  if (count == 0) return kReady;
  request.ranges.push_back(
      {sector * kSectorBytes, count * kSectorBytes, (flags & kSegmentUnmap) != 0});
  return kReady;
}

ParseOutcome parse_segments(const BlockLimits& limits, BlockRequest& request) {
  std::array<std::byte, kSegmentBytes * kMaxDiscardSegments> segments;
  request.ranges.clear();
  if (request.data_bytes == 0 || request.data_bytes % kSegmentBytes != 0 ||
      request.data_bytes > segments.size())
    return kIoError;
  copy_from_guest(request.data, MutableByteSpan(segments).first(request.data_bytes));
  for (std::size_t at = 0; at < request.data_bytes; at += kSegmentBytes) {
    const ParseOutcome outcome = parse_segment(&segments[at], limits, request);
    if (outcome.result != ParseResult::ready) return outcome;
  }
  return request.ranges.empty() ? kDone : kReady;
}

}  // namespace

ParseOutcome parse_block_request(const Chain& chain, const GuestMemory& memory,
                                 const BlockLimits& limits, BlockRequest& request) {
  request.head = chain.head;
  request.written_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      total_bytes(chain.writable), std::numeric_limits<std::uint32_t>::max()));
  request.status = status_byte(chain.writable, memory);
  if (request.status == nullptr) return kUnanswerable;

  const std::uint64_t readable_bytes = total_bytes(chain.readable);
  if (readable_bytes < kBlockHeaderBytes) return kIoError;
  if (!translate_all(chain.readable, memory, request.pieces)) return kIoError;
  std::byte header[kBlockHeaderBytes];
  take_front(request.pieces, header, sizeof header);
  request.type = static_cast<BlockRequestType>(load_le<std::uint32_t>(header));
  const auto sector = load_le<std::uint64_t>(header + 8);

  const bool to_guest =
      request.type == BlockRequestType::in || request.type == BlockRequestType::get_id;
  if (to_guest) {
    if (!translate_all(chain.writable, memory, request.data)) return kIoError;
    drop_last_byte(request.data);
    request.data_bytes = total_bytes(chain.writable) - 1;
  } else {
    request.data.swap(request.pieces);
    request.data_bytes = readable_bytes - kBlockHeaderBytes;
  }
  switch (request.type) {
    case BlockRequestType::in:
      return check_data(sector, limits, request);
    case BlockRequestType::out:
      return limits.read_only ? kIoError : check_data(sector, limits, request);
    case BlockRequestType::flush:
    case BlockRequestType::get_id:
      request.data_bytes = 0;  // whatever room the driver gave: it is not held while in flight
      return kReady;
    case BlockRequestType::discard:
    case BlockRequestType::write_zeroes:
      return limits.read_only ? kIoError : parse_segments(limits, request);
  }
  return kUnsupported;
}

void copy_from_guest(const std::vector<MutableByteSpan>& pieces, MutableByteSpan into) {
  for (const MutableByteSpan& piece : pieces) {
    const std::size_t length = std::min(piece.size(), into.size());
    if (length == 0) return;
    std::memcpy(into.data(), piece.data(), length);
    into = into.subspan(length);
  }
}

void copy_to_guest(ByteSpan from, const std::vector<MutableByteSpan>& pieces) {
  for (const MutableByteSpan& piece : pieces) {
    const std::size_t length = std::min(piece.size(), from.size());
    if (length == 0) return;
    std::memcpy(piece.data(), from.data(), length);
    from = from.subspan(length);
  }
}

}  // namespace cairn::virtio
