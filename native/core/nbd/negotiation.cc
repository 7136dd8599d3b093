// The option haggling behind negotiation.hh; section names are those of proto.md.
#include "nbd/negotiation.hh"

#include <algorithm>
#include <optional>
#include <utility>

namespace cairn::nbd {

namespace {

constexpr std::size_t kClientFlagsBytes = 4;
constexpr std::size_t kOptionHeaderBytes = 16;
constexpr std::size_t kExportNamePadding = 124;

template <typename T>
void put_be(std::vector<std::byte>& into, T value) {
  std::byte encoded[sizeof value];
  store_be(encoded, value);
  into.insert(into.end(), encoded, encoded + sizeof value);
}
void put_bytes(std::vector<std::byte>& into, ByteSpan bytes) {
  into.insert(into.end(), bytes.begin(), bytes.end());
}

template <typename T>
T get_be(Reader& reader) {
  return swap_bytes(reader.get<T>());
}
// u32 length, then the text. Fails the reader on a length above the specification's limit.
std::string_view get_text32(Reader& reader) {
  const auto length = get_be<std::uint32_t>(reader);
  if (length > kMaxNameBytes) reader.fail();
  return as_text(reader.raw(length));
}

// Whether a query of LIST_META_CONTEXT or SET_META_CONTEXT names a context. In a list the front of
// a name up to a colon asks for all that begin so, in a set for nothing.
bool selects(std::string_view query, std::string_view context, Option option) {
  if (query == context) return true;
  return option == Option::list_meta_context && query.ends_with(':') &&
         (query == "base:" || query == "qemu:" || query == kDirtyBitmapPrefix) &&
         context.starts_with(query);
}

std::string bitmap_context(const std::string& name) {
  return std::string(kDirtyBitmapPrefix) + name;
}

}  // namespace

Negotiation::Negotiation(ExportInfo info) : info_(std::move(info)) {
  put_be(output_, kInitMagic);
  put_be(output_, kOptionMagic);
  put_be(output_, static_cast<std::uint16_t>(kFlagFixedNewstyle | kFlagNoZeroes));
}

std::vector<std::byte> Negotiation::take_output() { return std::exchange(output_, {}); }

std::size_t Negotiation::wanted_bytes() const {
  switch (stage_) {
    case Stage::client_flags:
      return kClientFlagsBytes;
    case Stage::option_header:
      return kOptionHeaderBytes;
    case Stage::option_data:
      return option_length_;
  }
  return 0;
}

std::size_t Negotiation::feed(ByteSpan bytes) {
  std::size_t consumed = 0;
  while (outcome_ == Outcome::pending) {
    const std::size_t missing = wanted_bytes() - pending_.size();
    const std::size_t part = std::min(missing, bytes.size() - consumed);
    put_bytes(pending_, bytes.subspan(consumed, part));
    consumed += part;
    if (part < missing) break;
    switch (stage_) {
      case Stage::client_flags:
        on_client_flags();
        break;
      case Stage::option_header:
        on_option_header();
        break;
      case Stage::option_data:
        on_option_data();
        break;
    }
    pending_.clear();
  }
  return consumed;
}

void Negotiation::on_client_flags() {
  const auto flags = load_be<std::uint32_t>(pending_.data());
  constexpr std::uint32_t kKnown = kFlagFixedNewstyle | kFlagNoZeroes;
  if ((flags & ~kKnown) != 0)
    return fail(ErrorCode::protocol_error, "the client set unknown handshake flags");
  fixed_newstyle_ = (flags & kFlagFixedNewstyle) != 0;
  no_zeroes_ = (flags & kFlagNoZeroes) != 0;
  stage_ = Stage::option_header;
}

void Negotiation::on_option_header() {
  if (load_be<std::uint64_t>(pending_.data()) != kOptionMagic)
    return fail(ErrorCode::protocol_error, "an option has the wrong magic");
  option_ = load_be<std::uint32_t>(pending_.data() + 8);
  option_length_ = load_be<std::uint32_t>(pending_.data() + 12);
  if (option_length_ > kMaxOptionBytes)
    return fail(ErrorCode::protocol_error, "option " + std::to_string(option_) + " has " +
                                               std::to_string(option_length_) + " bytes, above " +
                                               std::to_string(kMaxOptionBytes));
  // Without fixed newstyle there is no way to answer an option: "Newstyle negotiation".
  if (!fixed_newstyle_ && option_ != static_cast<std::uint32_t>(Option::export_name))
    return fail(ErrorCode::protocol_error, "an option that needs fixed newstyle negotiation");
  stage_ = Stage::option_data;
}

void Negotiation::on_option_data() {
  stage_ = Stage::option_header;
  const ByteSpan data = pending_;
  switch (const auto option = static_cast<Option>(option_)) {
    case Option::export_name:
      return on_export_name(as_text(data));
    case Option::abort:
      reply(OptionReply::ack, {});
      outcome_ = Outcome::closed;
      return;
    case Option::list:
      return on_list(data);
    case Option::starttls:
      return data.empty() ? refuse(OptionReply::error_policy, "TLS is not configured")
                          : refuse(OptionReply::error_invalid, "STARTTLS has no data");
    case Option::info:
    case Option::go:
      return on_info(option, data);
    case Option::structured_reply:
      return on_structured_reply(data);
    case Option::list_meta_context:
    case Option::set_meta_context:
      return on_meta_context(option, data);
  }
  refuse(OptionReply::error_unsupported, "unknown option");
}

void Negotiation::on_export_name(std::string_view name) {
  if (!is_our_export(name))
    return fail(ErrorCode::not_found,
                "the client asked for export \"" + std::string(name.substr(0, 256)) + "\"");
  put_be(output_, info_.size_bytes);
  put_be(output_, transmission_flags(info_, negotiated_.structured_replies));
  if (!no_zeroes_) output_.resize(output_.size() + kExportNamePadding);
  outcome_ = Outcome::transmission;
}

void Negotiation::on_list(ByteSpan data) {
  if (!data.empty()) return refuse(OptionReply::error_invalid, "LIST has no data");
  std::vector<std::byte> server;
  put_be(server, static_cast<std::uint32_t>(info_.name.size()));
  put_bytes(server, as_bytes(info_.name));
  reply(OptionReply::server, server);
  reply(OptionReply::ack, {});
}

void Negotiation::on_info(Option option, ByteSpan data) {
  Reader reader(data);
  InfoRequest request;
  request.name = get_text32(reader);
  const auto count = get_be<std::uint16_t>(reader);
  for (std::uint16_t i = 0; i < count && reader.ok(); ++i) {
    const auto type = static_cast<InfoType>(get_be<std::uint16_t>(reader));
    request.wants_name |= type == InfoType::name;
    request.wants_description |= type == InfoType::description;
  }
  if (!reader.at_end())
    return refuse(OptionReply::error_invalid, "the option's lengths do not fit its data");
  if (!is_our_export(request.name))
    return refuse(OptionReply::error_unknown, "no export of that name");

  const auto reply_info = [this](InfoType type, auto&& fill) {
    std::vector<std::byte> body;
    put_be(body, static_cast<std::uint16_t>(type));
    fill(body);
    reply(OptionReply::info, body);
  };
  reply_info(InfoType::export_size, [this](auto& body) {
    put_be(body, info_.size_bytes);
    put_be(body, transmission_flags(info_, negotiated_.structured_replies));
  });
  reply_info(InfoType::block_size, [](auto& body) {
    put_be(body, std::uint32_t{1});  // any alignment is served
    put_be(body, kPreferredBlockBytes);
    put_be(body, kMaxPayloadBytes);
  });
  if (request.wants_name)
    reply_info(InfoType::name, [this](auto& body) { put_bytes(body, as_bytes(info_.name)); });
  if (request.wants_description && !info_.description.empty())
    reply_info(InfoType::description,
               [this](auto& body) { put_bytes(body, as_bytes(info_.description)); });
  reply(OptionReply::ack, {});
  if (option == Option::go) outcome_ = Outcome::transmission;
}

void Negotiation::on_structured_reply(ByteSpan data) {
  if (!data.empty()) return refuse(OptionReply::error_invalid, "STRUCTURED_REPLY has no data");
  negotiated_.structured_replies = true;
  reply(OptionReply::ack, {});
}

void Negotiation::on_meta_context(Option option, ByteSpan data) {
  // A failed SET leaves no context selected.
  const bool is_set = option == Option::set_meta_context;
  if (is_set) {
    negotiated_.base_allocation = false;
    negotiated_.bitmaps.clear();
  }
  if (!negotiated_.structured_replies)
    return refuse(OptionReply::error_invalid, "metadata contexts need structured replies");
  Reader reader(data);
  const std::string_view name = get_text32(reader);
  const auto count = get_be<std::uint32_t>(reader);
  // base:allocation, then the bitmaps.
  std::vector<bool> selected(1 + info_.bitmaps.size(), count == 0 && !is_set);
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i)
    select_contexts(get_text32(reader), option, selected);
  if (!reader.at_end())
    return refuse(OptionReply::error_invalid, "the option's lengths do not fit its data");
  if (!is_our_export(name)) return refuse(OptionReply::error_unknown, "no export of that name");
  if (selected[0]) reply_context(is_set ? kMetaContextId : 0, std::string(kBaseAllocation));
  std::vector<std::uint32_t> bitmaps;
  for (std::uint32_t i = 0; i < info_.bitmaps.size(); ++i) {
    if (!selected[1 + i] || (is_set && bitmaps.size() == kMaxSelectedBitmaps)) continue;
    bitmaps.push_back(i);
    reply_context(is_set ? kFirstBitmapContextId + i : 0, bitmap_context(info_.bitmaps[i]));
  }
  if (is_set) {
    negotiated_.base_allocation = selected[0];
    negotiated_.bitmaps = std::move(bitmaps);
  }
  reply(OptionReply::ack, {});
}

void Negotiation::select_contexts(std::string_view query, Option option,
                                  std::vector<bool>& selected) const {
  if (selects(query, kBaseAllocation, option)) selected[0] = true;
  if (!query.starts_with("qemu:")) return;
  for (std::size_t i = 0; i < info_.bitmaps.size(); ++i) {
    if (selects(query, bitmap_context(info_.bitmaps[i]), option)) selected[1 + i] = true;
  }
}

// In a list the id is reserved: 0.
void Negotiation::reply_context(std::uint32_t id, const std::string& name) {
  std::vector<std::byte> context;
  put_be(context, id);
  put_bytes(context, as_bytes(name));
  reply(OptionReply::meta_context, context);
}

// The empty name asks for the default export, which is the only one that there is.
bool Negotiation::is_our_export(std::string_view name) const {
  return name.empty() || name == info_.name;
}

void Negotiation::reply(OptionReply type, ByteSpan data) {
  put_be(output_, kOptionReplyMagic);
  put_be(output_, option_);
  put_be(output_, static_cast<std::uint32_t>(type));
  put_be(output_, static_cast<std::uint32_t>(data.size()));
  put_bytes(output_, data);
}

void Negotiation::refuse(OptionReply error, std::string_view message) {
  reply(error, as_bytes(message));
}

void Negotiation::fail(ErrorCode code, std::string message) {
  outcome_ = Outcome::failed;
  failure_ = Status(code, std::move(message));
}

}  // namespace cairn::nbd
