// Fuzzes what a peer sends: the frame decoder and the hello. The first byte chooses:
//   0: the rest is a stream, as it is (magic, lengths and checksums as the fuzzer has them)
//   1: the rest is a stream whose headers get right checksums first, so that the lengths, the
//      sequence and the payload stages are reached
//   2: the rest is the meta of a hello
// The stream is cut in pieces at places taken from its own bytes. Beside the sanitizers it checks:
// any cut gives the same frames, and what was decoded encodes to the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/assert.hh"
#include "base/crc32c.hh"
#include "net/frame.hh"
#include "net/handshake.hh"

namespace {

using namespace cairn;
using namespace cairn::net;

// Far below the protocol's limits, so that a run is not spent on allocating.
constexpr FrameLimits kLimits = {.max_meta_bytes = 1 << 17, .max_data_bytes = 1 << 17};

struct Outcome {
  std::vector<std::vector<std::byte>> frames;  // encoded again
  bool failed = false;
  bool operator==(const Outcome&) const = default;
};

std::vector<std::byte> encode(const Frame& frame, std::uint64_t sequence) {
  std::vector<std::byte> bytes(kFrameHeaderBytes);
  encode_header(frame, sequence, bytes.data());
  bytes.insert(bytes.end(), frame.meta.begin(), frame.meta.end());
  bytes.insert(bytes.end(), frame.data.span().begin(), frame.data.span().end());
  return bytes;
}

// next_piece: how many of the remaining bytes come next, at least 1
template <typename NextPiece>
Outcome decode(ByteSpan stream, NextPiece next_piece) {
  Outcome outcome;
  FrameDecoder decoder(kLimits);
  while (!stream.empty()) {
    ByteSpan piece = stream.first(next_piece(stream));
    stream = stream.subspan(piece.size());
    while (!piece.empty()) {
      std::size_t consumed = 0;
      Result<std::optional<Frame>> frame = decoder.feed(piece, consumed);
      if (!frame) {
        outcome.failed = true;
        return outcome;
      }
      CAIRN_ASSERT(consumed > 0);
      piece = piece.subspan(consumed);
      if (frame->has_value()) outcome.frames.push_back(encode(**frame, outcome.frames.size() + 1));
    }
  }
  return outcome;
}

void fuzz_stream(ByteSpan stream) {
  const Outcome whole = decode(stream, [](ByteSpan rest) { return rest.size(); });
  const Outcome pieces = decode(stream, [](ByteSpan rest) {
    return std::min<std::size_t>(rest.size(), 1 + std::to_integer<std::size_t>(rest[0]) % 61);
  });
  CAIRN_ASSERT(whole == pieces);
  std::size_t offset = 0;
  for (const auto& frame : whole.frames) {
    const ByteSpan original = stream.subspan(offset, frame.size());
    CAIRN_ASSERT(std::equal(frame.begin(), frame.end(), original.begin(), original.end()));
    offset += frame.size();
  }
}

// Makes the frames of the stream valid as far as checksums and constants go.
void repair(std::vector<std::byte>& stream) {
  constexpr std::size_t kPayloadCrcOffset = 24, kHeaderCrcOffset = 28;
  std::uint64_t sequence = 1;
  std::size_t offset = 0;
  while (stream.size() - offset >= kFrameHeaderBytes) {
    std::byte* header = stream.data() + offset;
    store_le(header, kFrameMagic);
    store_le(header + 4, kFrameVersion);
    store_le(header + 6, std::uint16_t{0});
    // The fuzzer's lengths, cut to what the stream may hold most of the time.
    const auto meta = load_le<std::uint32_t>(header + 8) & 0x200ff;
    const auto data = load_le<std::uint32_t>(header + 12) & 0x200ff;
    store_le(header + 8, meta);
    store_le(header + 12, data);
    // One sequence in 256 stays wrong.
    if (header[16] != std::byte{0xff}) store_le(header + 16, sequence);
    ++sequence;
    const std::size_t left = stream.size() - offset - kFrameHeaderBytes;
    const std::size_t payload = std::min<std::size_t>(left, std::size_t{meta} + data);
    store_le(header + kPayloadCrcOffset, crc32c({header + kFrameHeaderBytes, payload}));
    store_le(header + kHeaderCrcOffset, crc32c({header, kHeaderCrcOffset}));
    offset += kFrameHeaderBytes + payload;
  }
}

void fuzz_hello(ByteSpan meta) {
  Result<Hello> hello = decode_hello(meta);
  if (!hello) return;
  Hello ours;
  ours.expected = Entity{.kind = EntityKind::osd, .id = 1, .incarnation = 2};
  const Status status = check_hello(ours, *hello);
  CAIRN_ASSERT(status.is_ok() || !status.message().empty());
  if (hello->version != kProtocolVersion) return;
  const std::vector<std::byte> encoded = encode_hello(*hello);
  CAIRN_ASSERT(std::equal(encoded.begin(), encoded.end(), meta.begin(), meta.end()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const ByteSpan rest = std::as_bytes(std::span(bytes, size)).subspan(1);
  switch (bytes[0] % 3) {
    case 0:
      fuzz_stream(rest);
      break;
    case 1: {
      std::vector<std::byte> stream(rest.begin(), rest.end());
      repair(stream);
      fuzz_stream(stream);
      break;
    }
    default:
      fuzz_hello(rest);
  }
  return 0;
}
