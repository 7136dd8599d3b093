// The stages of diff_parser.hh.
#include "diff/diff_parser.hh"

#include <algorithm>
#include <utility>

namespace cairn::diff {

namespace {

// Bytes of a record's body, without payload and names; 0: the tag is unknown.
std::size_t body_bytes(char tag) {
  switch (tag) {
    case tag::kFromSnap:
    case tag::kToSnap:
      return 4;
    case tag::kProtection:
      return 1;
    case tag::kSize:
      return 8;
    case tag::kWrite:
    case tag::kZero:
      return 16;
    default:
      return 0;
  }
}

bool is_image_number(char tag) {
  return tag == tag::kOrder || tag == tag::kFormat || tag == tag::kFeatures ||
         tag == tag::kStripeUnit || tag == tag::kStripeCount;
}

}  // namespace

Result<DiffEvent> DiffParser::next(ByteSpan& input) {
  if (held_) return *std::exchange(held_, std::nullopt);
  while (stage_ != Stage::ended) {
    if (stage_ == Stage::payload || stage_ == Stage::unknown) {
      const ByteSpan part = input.first(std::min<std::uint64_t>(left_, input.size()));
      if (part.empty() && left_ > 0) return DiffEvent{};
      const bool is_payload = stage_ == Stage::payload;
      input = input.subspan(part.size());
      skip_payload(part.size());
      if (is_payload && !part.empty()) return DiffEvent{EventKind::payload, 0, 0, part};
      continue;
    }
    if (!gather(input)) return DiffEvent{};
    Result<DiffEvent> event = on_gathered();
    if (!event || event->kind != EventKind::need_bytes) return event;
  }
  return DiffEvent{EventKind::finished, 0, 0, {}};
}

Status DiffParser::end_of_input() const {
  if (stage_ == Stage::ended) return Status::ok();
  if (position_ == 0 && gathered_.empty()) return damaged("there is nothing in it");
  return damaged("it breaks off");
}

void DiffParser::skip_payload(std::uint64_t length_bytes) {
  CAIRN_ASSERT(length_bytes <= left_);
  left_ -= length_bytes;
  position_ += length_bytes;
  if (left_ == 0) want(Stage::tag, 1);
}

bool DiffParser::gather(ByteSpan& input) {
  const std::size_t length = std::min(wanted_ - gathered_.size(), input.size());
  gathered_.insert(gathered_.end(), input.begin(), input.begin() + static_cast<long>(length));
  input = input.subspan(length);
  position_ += length;
  return gathered_.size() == wanted_;
}

void DiffParser::want(Stage stage, std::size_t bytes) {
  stage_ = stage;
  wanted_ = bytes;
  gathered_.clear();
}

Result<DiffEvent> DiffParser::on_gathered() {
  switch (stage_) {
    case Stage::banner:
    case Stage::image_banner_end:
      CAIRN_RETURN_IF_ERROR(on_banner());
      return DiffEvent{};
    case Stage::tag:
      return on_tag();
    case Stage::record_length:
      CAIRN_RETURN_IF_ERROR(on_record_length());
      return DiffEvent{};
    case Stage::body:
      return in_image_header_ ? on_image_body() : on_body();
    case Stage::name:
      return on_name();
    case Stage::diffs_banner:
      return on_diffs_banner();
    default:
      CAIRN_ASSERT(!"these stages gather nothing");
  }
}

Status DiffParser::on_banner() {
  const std::string_view banner = as_text(gathered_);
  if (stage_ == Stage::image_banner_end) {
    if (banner != kImageBanner.substr(kDiffBannerV1.size())) return damaged("it is no RBD export");
    in_image_ = in_image_header_ = true;
    header_.version = 2;
    want(Stage::tag, 1);
    return Status::ok();
  }
  if (banner == kImageBanner.substr(0, banner.size()) && !in_image_) {
    want(Stage::image_banner_end, kImageBanner.size() - kDiffBannerV1.size());
    return Status::ok();
  }
  if (banner != kDiffBannerV2 && (banner != kDiffBannerV1 || in_image_))
    return damaged("it does not begin as an RBD diff does");
  header_ = {};
  header_.version = banner == kDiffBannerV2 ? 2 : 1;
  header_given_ = false;
  want(Stage::tag, 1);
  return Status::ok();
}

Result<DiffEvent> DiffParser::on_tag() {
  tag_ = static_cast<char>(gathered_[0]);
  if (in_image_header_ && tag_ == tag::kImageEnd) {
    want(Stage::diffs_banner, kImageDiffsBanner.size() + 8);
    return DiffEvent{};
  }
  if (!in_image_header_ && tag_ == tag::kEnd) {
    end_diff();
    return after_header({EventKind::end, 0, 0, {}});
  }
  if (header_.version == 2) {
    want(Stage::record_length, 8);
    return DiffEvent{};
  }
  const std::size_t body = body_bytes(tag_);
  if (body == 0 || tag_ == tag::kProtection)
    return damaged("a record has the unknown tag " + std::to_string(tag_));
  want(Stage::body, body);
  return DiffEvent{};
}

// Of v2: records that nobody knows are skipped, by their length.
Status DiffParser::on_record_length() {
  record_bytes_ = load_le<std::uint64_t>(gathered_.data());
  std::uint64_t body = 0;
  if (in_image_header_) {
    if (tag_ == tag::kMetadata && record_bytes_ > kMaxMetadataBytes)
      return damaged("a record of metadata is too long");
    body = is_image_number(tag_) ? 8 : tag_ == tag::kMetadata ? record_bytes_ : 0;
    if (tag_ == tag::kMetadata && record_bytes_ < 8) return damaged("metadata has no lengths");
  } else {
    body = body_bytes(tag_);
  }
  if (body == 0) {
    if (record_bytes_ > kMaxImageBytes) return damaged("a record is too long");
    stage_ = Stage::unknown;
    left_ = record_bytes_;
    return Status::ok();
  }
  const bool longer = tag_ == tag::kFromSnap || tag_ == tag::kToSnap || tag_ == tag::kWrite;
  if (record_bytes_ < body || (record_bytes_ > body && (in_image_header_ || !longer)))
    return damaged("the length of a record does not fit its tag");
  want(Stage::body, body);
  return Status::ok();
}

Result<DiffEvent> DiffParser::on_body() {
  const std::byte* const bytes = gathered_.data();
  if (tag_ == tag::kWrite || tag_ == tag::kZero) {
    const DiffEvent event{tag_ == tag::kWrite ? EventKind::write : EventKind::zero,
                          load_le<std::uint64_t>(bytes),
                          load_le<std::uint64_t>(bytes + 8),
                          {}};
    CAIRN_RETURN_IF_ERROR(check_range(event.offset, event.length_bytes));
    want(Stage::tag, 1);
    if (event.kind == EventKind::write) {
      if (header_.version == 2 && record_bytes_ != 16 + event.length_bytes)
        return damaged("the length of a record does not fit its data");
      stage_ = Stage::payload;
      left_ = event.length_bytes;
    }
    return after_header(event);
  }
  if (header_given_) return damaged("a record of metadata comes behind the data");
  if (tag_ == tag::kSize) {
    header_.size_bytes = load_le<std::uint64_t>(bytes);
    if (*header_.size_bytes > kMaxImageBytes) return damaged("the image's size is not possible");
  } else if (tag_ == tag::kProtection) {
    header_.is_protected = bytes[0] != std::byte{0};
  } else {
    const auto length = load_le<std::uint32_t>(bytes);
    if (length == 0 || length > kMaxNameBytes) return damaged("a snapshot's name is not possible");
    if (header_.version == 2 && record_bytes_ != 4 + std::uint64_t{length})
      return damaged("the length of a record does not fit its name");
    want(Stage::name, length);
    return DiffEvent{};
  }
  want(Stage::tag, 1);
  return DiffEvent{};
}

Result<DiffEvent> DiffParser::on_name() {
  (tag_ == tag::kFromSnap ? header_.from_snap : header_.to_snap) = as_text(gathered_);
  want(Stage::tag, 1);
  return DiffEvent{};
}

Result<DiffEvent> DiffParser::on_image_body() {
  if (tag_ == tag::kMetadata) {
    CAIRN_RETURN_IF_ERROR(on_metadata());
  } else {
    const auto value = load_le<std::uint64_t>(gathered_.data());
    if (tag_ == tag::kOrder) image_.order = value;
    if (tag_ == tag::kFeatures) image_.features = value;
    if (tag_ == tag::kStripeUnit) image_.stripe_unit_bytes = value;
    if (tag_ == tag::kStripeCount) image_.stripe_count = value;
  }
  want(Stage::tag, 1);
  return DiffEvent{};
}

Status DiffParser::on_metadata() {
  Reader reader(gathered_);
  std::string key(as_text(reader.blob32()));
  std::string value(as_text(reader.blob32()));
  if (!reader.at_end()) return damaged("the lengths of metadata do not fit their record");
  std::size_t held_bytes = key.size() + value.size();
  for (const auto& [each_key, each_value] : image_.metadata)
    held_bytes += each_key.size() + each_value.size();
  if (held_bytes > kMaxMetadataBytes || image_.metadata.size() >= kMaxMetadataEntries)
    return damaged("there is too much metadata");
  image_.metadata.emplace_back(std::move(key), std::move(value));
  return Status::ok();
}

Result<DiffEvent> DiffParser::on_diffs_banner() {
  const std::string_view banner = as_text(gathered_).substr(0, kImageDiffsBanner.size());
  if (banner != kImageDiffsBanner) return damaged("the diffs do not follow the image's header");
  image_.diff_count = diffs_left_ =
      load_le<std::uint64_t>(gathered_.data() + kImageDiffsBanner.size());
  if (diffs_left_ == 0 || diffs_left_ > kMaxImageBytes)
    return damaged("the number of diffs is not possible");
  in_image_header_ = false;
  want(Stage::banner, kDiffBannerV2.size());
  return DiffEvent{EventKind::image, 0, 0, {}};
}

Status DiffParser::check_range(std::uint64_t offset, std::uint64_t length_bytes) const {
  const std::uint64_t limit = header_.size_bytes.value_or(kMaxImageBytes);
  if (offset > limit || length_bytes > limit - offset)
    return damaged("a record lies behind the end of the image");
  return Status::ok();
}

DiffEvent DiffParser::after_header(const DiffEvent& event) {
  if (std::exchange(header_given_, true)) return event;
  held_ = event;
  return {EventKind::diff, 0, 0, {}};
}

void DiffParser::end_diff() {
  if (in_image_ && --diffs_left_ > 0) return want(Stage::banner, kDiffBannerV2.size());
  want(Stage::ended, 0);
}

Status DiffParser::damaged(const std::string& what) const {
  return {ErrorCode::corrupt,
          "the diff is damaged at byte " + std::to_string(position_) + ": " + what};
}

}  // namespace cairn::diff
