// Fuzzes what import-diff and merge-diff read: an RBD diff, or an exported image with its diffs.
// Beside the sanitizers it checks: any cut of the stream gives the same events; each record's
// payload has its length, and lies inside the image; a stream that was read to its end, encoded
// again by us, gives the same events.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/assert.hh"
#include "diff/diff_parser.hh"

namespace {

using namespace cairn;
using namespace cairn::diff;

// A stream's events, payload joined, as bytes that can be compared; and encoded again.
struct Outcome {
  std::vector<std::byte> events;
  std::vector<std::byte> encoded;
  ErrorCode error = ErrorCode::ok;
  bool operator==(const Outcome&) const = default;
};

class Recorder {
 public:
  void record(const DiffParser& parser, const DiffEvent& event) {
    if (event.kind == EventKind::payload) {
      CAIRN_ASSERT(event.payload.size() <= payload_left_);
      payload_left_ -= event.payload.size();
      encoded_.raw(event.payload);
      return;
    }
    CAIRN_ASSERT(payload_left_ == 0);
    events_.put(static_cast<std::uint8_t>(event.kind));
    const DiffHeader& header = parser.diff_header();
    switch (event.kind) {
      case EventKind::image:
        CAIRN_ASSERT(parser.image_header().metadata.size() <= kMaxMetadataEntries);
        put_image_header(encoded_, parser.image_header());
        break;
      case EventKind::diff:
        put_diff_header(encoded_, header);
        break;
      case EventKind::write:
      case EventKind::zero: {
        const std::uint64_t limit = header.size_bytes.value_or(kMaxImageBytes);
        CAIRN_ASSERT(event.offset <= limit && event.length_bytes <= limit - event.offset);
        events_.put(event.offset);
        events_.put(event.length_bytes);
        if (event.kind == EventKind::write) {
          payload_left_ = event.length_bytes;
          put_write_head(encoded_, header.version, event.offset, event.length_bytes);
        } else {
          put_zero(encoded_, header.version, event.offset, event.length_bytes);
        }
        break;
      }
      case EventKind::end:
        put_end(encoded_);
        break;
      default:
        break;
    }
  }
  Outcome take(const Status& status) { return {events_.take(), encoded_.take(), status.code()}; }

 private:
  Writer events_, encoded_;
  std::uint64_t payload_left_ = 0;
};

template <typename Pieces>
Outcome read(ByteSpan stream, Pieces pieces) {
  DiffParser parser;
  Recorder recorder;
  ByteSpan input;
  while (true) {
    const Result<DiffEvent> event = parser.next(input);
    if (!event) {
      CAIRN_ASSERT(event.status().code() == ErrorCode::corrupt);
      return recorder.take(event.status());
    }
    const DiffEvent& what = event.value();
    if (what.kind != EventKind::need_bytes) recorder.record(parser, what);
    if (what.kind == EventKind::finished) return recorder.take(Status::ok());
    if (what.kind != EventKind::need_bytes) continue;
    CAIRN_ASSERT(input.empty());
    if (stream.empty()) return recorder.take(parser.end_of_input());
    input = stream.first(pieces(stream));
    stream = stream.subspan(input.size());
  }
}

std::size_t all(ByteSpan left) { return left.size(); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const ByteSpan stream = std::as_bytes(std::span(bytes, size));
  const Outcome whole = read(stream, all);
  const Outcome pieces = read(stream, [](ByteSpan left) {
    return std::min<std::size_t>(left.size(), 1 + std::to_integer<std::size_t>(left[0]) % 61);
  });
  CAIRN_ASSERT(whole == pieces);
  // What we encode, we read as we meant it.
  if (whole.error == ErrorCode::ok) CAIRN_ASSERT(read(whole.encoded, all) == whole);
  return 0;
}
