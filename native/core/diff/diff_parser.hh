// DiffParser: bytes of a diff, or of an exported image with its diffs, to events. Pure and
// incremental: any cut of the stream gives the same events, but for the cuts of payload.
//
// Invariants
// - It holds at most one record without its payload (kMaxMetadataBytes).
// - The payload events of a write record give exactly its length; the ranges of records lie inside
//   the size that their diff announced.
// - Bytes behind the end are not looked at, as RBD does it.
// Does not: want the records in order, or forbid them to overlap.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.hh"
#include "diff/diff_format.hh"

namespace cairn::diff {

enum class EventKind : std::uint8_t {
  need_bytes,  // all of the input is consumed
  image,       // of an exported image, once, before its diffs: image_header()
  diff,        // before the first record of a diff: diff_header()
  write,       // event.offset, event.length_bytes; the payload follows
  payload,     // event.payload: a part of the input
  zero,        // event.offset, event.length_bytes
  end,         // of a diff
  finished,    // of the stream
};

struct DiffEvent {
  EventKind kind = EventKind::need_bytes;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  ByteSpan payload;
};

class DiffParser {
 public:
  // Consumes from the front of input. corrupt: it is no diff, or a damaged one; then nothing else
  // may be asked. After finished it consumes nothing.
  Result<DiffEvent> next(ByteSpan& input);
  // There are no more bytes: corrupt, unless the stream is finished.
  Status end_of_input() const;
  // Bytes consumed.
  std::uint64_t position() const { return position_; }
  // Bytes of payload that must come next, and may be skipped instead.
  std::uint64_t payload_bytes() const { return stage_ == Stage::payload ? left_ : 0; }
  void skip_payload(std::uint64_t length_bytes);
  const DiffHeader& diff_header() const { return header_; }
  const ImageHeader& image_header() const { return image_; }

 private:
  enum class Stage : std::uint8_t {
    banner,
    image_banner_end,
    tag,
    record_length,
    body,
    name,
    payload,
    unknown,
    diffs_banner,
    ended,
  };

  bool gather(ByteSpan& input);
  void want(Stage stage, std::size_t bytes);
  Result<DiffEvent> on_gathered();
  Status on_banner();
  Result<DiffEvent> on_tag();
  Status on_record_length();
  Result<DiffEvent> on_body();
  Result<DiffEvent> on_name();
  Result<DiffEvent> on_image_body();
  Status check_range(std::uint64_t offset, std::uint64_t length_bytes) const;
  Status on_metadata();
  Result<DiffEvent> on_diffs_banner();
  // The event, or the header of its diff first.
  DiffEvent after_header(const DiffEvent& event);
  void end_diff();
  Status damaged(const std::string& what) const;

  Stage stage_ = Stage::banner;
  std::size_t wanted_ = kDiffBannerV1.size();
  std::vector<std::byte> gathered_;
  std::uint64_t left_ = 0;  // of payload, or of an unknown record
  std::uint64_t position_ = 0;
  char tag_ = 0;
  std::uint64_t record_bytes_ = 0;  // of the current record, by v2
  bool in_image_ = false;           // the stream is an exported image
  bool in_image_header_ = false;
  bool header_given_ = false;  // the event diff of the current diff
  std::uint64_t diffs_left_ = 0;
  DiffHeader header_;
  ImageHeader image_;
  // The event that comes behind that of the header.
  std::optional<DiffEvent> held_;
};

}  // namespace cairn::diff
