// Fuzzes what an NBD client sends, from its handshake flags to its last request. The first byte
// chooses: 0: the bytes as they are; 1: after a good handshake with structured replies and
// base:allocation, so that the transmission phase is reached at once.
// Beside the sanitizers it checks: any cut of the stream gives the same answers; each accepted
// request lies inside the export; every reply has the length that its chunks announce.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "nbd/negotiation.hh"
#include "nbd/request_decoder.hh"

namespace {

using namespace cairn;
using namespace cairn::nbd;

constexpr std::uint64_t kDiskBytes = std::uint64_t{1} << 40;

struct Outcome {
  std::vector<std::byte> sent;
  Negotiation::Outcome negotiation = Negotiation::Outcome::pending;
  std::size_t requests = 0;
  bool failed = false;
  bool operator==(const Outcome&) const = default;
};

// Walks the chunks of one reply and checks that they fill the bytes.
void check_chunks(ByteSpan bytes, bool structured) {
  if (!structured) {
    CAIRN_ASSERT(load_be<std::uint32_t>(bytes.data()) == kSimpleReplyMagic);
    return;
  }
  while (!bytes.empty()) {
    CAIRN_ASSERT(bytes.size() >= kChunkHeaderBytes);
    CAIRN_ASSERT(load_be<std::uint32_t>(bytes.data()) == kStructuredReplyMagic);
    const auto flags = load_be<std::uint16_t>(bytes.data() + 4);
    const auto length = load_be<std::uint32_t>(bytes.data() + 16);
    CAIRN_ASSERT(bytes.size() - kChunkHeaderBytes >= length);
    bytes = bytes.subspan(kChunkHeaderBytes + length);
    CAIRN_ASSERT((flags == kReplyFlagDone) == bytes.empty());
  }
}

void answer(Outcome& outcome, const Request& request, const Negotiation& negotiation) {
  const RequestHeader& header = request.header;
  const bool structured = negotiation.negotiated().structured_replies;
  const WireError error = check_request(header, negotiation.info(), negotiation.negotiated());
  ReplyParts parts;
  const auto command = static_cast<Command>(header.command);
  if (error != WireError::none) {
    append_status(parts, header, structured, error, "refused");
  } else {
    CAIRN_ASSERT(header.offset <= kDiskBytes && header.length_bytes <= kDiskBytes - header.offset);
    if (command == Command::read) {
      // Every other 4 KiB block is zeros; short, so that a run is not spent on copying.
      Buffer data = Buffer::zeroed(std::min<std::uint32_t>(header.length_bytes, 1 << 16));
      for (std::size_t i = 0; i < data.size(); i += 8192) data.data()[i] = std::byte{1};
      append_read(parts, header, structured, data);
    } else if (command == Command::block_status) {
      const image::Extent extents[] = {
          {header.offset / 4096 * 4096, 8192, image::ExtentState::data},
          {header.offset / 4096 * 4096 + 8192, kDiskBytes, image::ExtentState::absent}};
      const Negotiated& negotiated = negotiation.negotiated();
      std::size_t left = negotiated.bitmaps.size();
      if (negotiated.base_allocation) append_block_status(parts, header, extents, left == 0);
      const std::uint64_t covered = std::min<std::uint64_t>(header.length_bytes, kMaxStatusBytes);
      for (const std::uint32_t bitmap : negotiated.bitmaps)
        append_dirty_status(parts, header, bitmap, std::span(extents).first(1), covered,
                            --left == 0);
    } else {
      append_status(parts, header, structured, WireError::none, {});
    }
  }
  CAIRN_ASSERT(request_memory_bytes(header) <= kMaxRequestMemoryBytes);
  const std::size_t start = outcome.sent.size();
  for (const ReplyPart& part : parts) {
    outcome.sent.insert(outcome.sent.end(), part.head.begin(),
                        part.head.begin() + static_cast<std::ptrdiff_t>(part.head_length));
    const ByteSpan payload = part.payload.span();
    outcome.sent.insert(outcome.sent.end(), payload.begin(), payload.end());
  }
  check_chunks(ByteSpan(outcome.sent).subspan(start), structured);
  ++outcome.requests;
}

// next_piece: how many of the remaining bytes come next, at least 1
template <typename NextPiece>
Outcome serve(ByteSpan stream, NextPiece next_piece) {
  Outcome outcome;
  Negotiation negotiation({.name = "disk",
                           .description = "a disk",
                           .size_bytes = kDiskBytes,
                           .read_only = false,
                           .bitmaps = {"a", "b"}});
  RequestDecoder decoder;
  while (!stream.empty() && !outcome.failed) {
    ByteSpan piece = stream.first(next_piece(stream));
    stream = stream.subspan(piece.size());
    const std::size_t consumed = negotiation.feed(piece);
    const auto output = negotiation.take_output();
    outcome.sent.insert(outcome.sent.end(), output.begin(), output.end());
    outcome.negotiation = negotiation.outcome();
    if (outcome.negotiation == Negotiation::Outcome::pending) continue;
    if (outcome.negotiation != Negotiation::Outcome::transmission) break;
    piece = piece.subspan(consumed);
    while (!piece.empty() && !outcome.failed) {
      const MutableByteSpan target = decoder.next_target();
      const std::size_t length = std::min(target.size(), piece.size());
      CAIRN_ASSERT(length > 0);
      std::memcpy(target.data(), piece.data(), length);
      decoder.filled(length);
      piece = piece.subspan(length);
      while (true) {
        Result<std::optional<Request>> next = decoder.next(kMaxRequestMemoryBytes);
        outcome.failed = !next.is_ok();
        if (outcome.failed || !next->has_value()) break;
        answer(outcome, **next, negotiation);
      }
    }
  }
  return outcome;
}

std::vector<std::byte> good_handshake() {
  std::vector<std::byte> bytes;
  const auto put = [&](auto value) {
    std::byte encoded[sizeof value];
    store_be(encoded, value);
    bytes.insert(bytes.end(), encoded, encoded + sizeof value);
  };
  put(std::uint32_t{3});
  put(kOptionMagic);
  put(static_cast<std::uint32_t>(Option::structured_reply));
  put(std::uint32_t{0});
  put(kOptionMagic);
  put(static_cast<std::uint32_t>(Option::set_meta_context));
  put(static_cast<std::uint32_t>(12 + kBaseAllocation.size()));
  put(std::uint32_t{0});
  put(std::uint32_t{1});
  put(static_cast<std::uint32_t>(kBaseAllocation.size()));
  const ByteSpan query = as_bytes(kBaseAllocation);
  bytes.insert(bytes.end(), query.begin(), query.end());
  put(kOptionMagic);
  put(static_cast<std::uint32_t>(Option::export_name));
  put(std::uint32_t{0});
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> stream;
  if (bytes[0] % 2 == 1) stream = good_handshake();
  const ByteSpan rest = std::as_bytes(std::span(bytes, size)).subspan(1);
  stream.insert(stream.end(), rest.begin(), rest.end());
  const Outcome whole = serve(stream, [](ByteSpan left) { return left.size(); });
  const Outcome pieces = serve(stream, [](ByteSpan left) {
    return std::min<std::size_t>(left.size(), 1 + std::to_integer<std::size_t>(left[0]) % 61);
  });
  CAIRN_ASSERT(whole == pieces);
  return 0;
}
