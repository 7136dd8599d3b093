// The handshake and the codec without sockets: byte by byte, malformed, and at the limits.
#include "nbd/negotiation.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "nbd/request_decoder.hh"

namespace cairn::nbd {

namespace {

constexpr std::size_t kGreetingBytes = 18;

struct OptionAnswer {
  std::uint32_t option;
  OptionReply type;
  std::string data;
};

class Bytes {
 public:
  template <typename T>
  Bytes& be(T value) {
    std::byte encoded[sizeof value];
    store_be(encoded, value);
    bytes.insert(bytes.end(), encoded, encoded + sizeof value);
    return *this;
  }
  Bytes& text(std::string_view text) {
    const ByteSpan span = as_bytes(text);
    bytes.insert(bytes.end(), span.begin(), span.end());
    return *this;
  }
  Bytes& text32(std::string_view value) {
    return be(static_cast<std::uint32_t>(value.size())).text(value);
  }
  std::string str() const { return std::string(as_text(bytes)); }
  std::vector<std::byte> bytes;
};

std::vector<std::byte> option(Option type, std::string_view data = {}) {
  return Bytes().be(kOptionMagic).be(static_cast<std::uint32_t>(type)).text32(data).bytes;
}

std::vector<OptionAnswer> parse_answers(ByteSpan bytes) {
  std::vector<OptionAnswer> answers;
  while (!bytes.empty()) {
    REQUIRE(bytes.size() >= 20);
    REQUIRE(load_be<std::uint64_t>(bytes.data()) == kOptionReplyMagic);
    const auto length = load_be<std::uint32_t>(bytes.data() + 16);
    REQUIRE(bytes.size() - 20 >= length);
    answers.push_back({load_be<std::uint32_t>(bytes.data() + 8),
                       static_cast<OptionReply>(load_be<std::uint32_t>(bytes.data() + 12)),
                       std::string(as_text(bytes.subspan(20, length)))});
    bytes = bytes.subspan(20 + length);
  }
  return answers;
}

ExportInfo disk() {
  return {.name = "disk", .description = "", .size_bytes = 1 << 20, .read_only = false};
}

// A negotiation past the greeting and the client's flags.
Negotiation greeted(std::uint32_t flags = kFlagFixedNewstyle | kFlagNoZeroes) {
  Negotiation negotiation(disk());
  CHECK(negotiation.take_output().size() == kGreetingBytes);
  const auto bytes = Bytes().be(flags).bytes;
  CHECK(negotiation.feed(bytes) == bytes.size());
  return negotiation;
}

std::vector<OptionAnswer> ask(Negotiation& negotiation, Option type, std::string_view data = {}) {
  const auto bytes = option(type, data);
  CHECK(negotiation.feed(bytes) == bytes.size());
  return parse_answers(negotiation.take_output());
}

RequestHeader request(Command command, std::uint64_t offset, std::uint32_t length,
                      std::uint16_t flags = 0) {
  return {.flags = flags,
          .command = static_cast<std::uint16_t>(command),
          .cookie = 7,
          .offset = offset,
          .length_bytes = length};
}

std::vector<std::byte> encode(const RequestHeader& header) {
  return Bytes()
      .be(kRequestMagic)
      .be(header.flags)
      .be(header.command)
      .be(header.cookie)
      .be(header.offset)
      .be(header.length_bytes)
      .bytes;
}

}  // namespace

TEST_CASE("negotiation: the greeting is fixed newstyle") {
  Negotiation negotiation(disk());
  const auto greeting = negotiation.take_output();
  CHECK(std::string(as_text(greeting)) == std::string("NBDMAGICIHAVEOPT\0\3", 18));
}

TEST_CASE("negotiation: GO, byte by byte, and the rest is left for the transmission phase") {
  Negotiation negotiation(disk());
  static_cast<void>(negotiation.take_output());
  auto bytes = Bytes().be(std::uint32_t{3}).bytes;
  const auto go = option(Option::go, Bytes().text32("disk").be(std::uint16_t{0}).str());
  bytes.insert(bytes.end(), go.begin(), go.end());
  for (const std::byte byte : bytes) {
    CHECK(negotiation.outcome() == Negotiation::Outcome::pending);
    CHECK(negotiation.feed({&byte, 1}) == 1);
  }
  CHECK(negotiation.outcome() == Negotiation::Outcome::transmission);
  CHECK(negotiation.feed(bytes) == 0);
  const auto answers = parse_answers(negotiation.take_output());
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].data == Bytes()
                               .be(std::uint16_t{0})
                               .be(std::uint64_t{1 << 20})
                               .be(transmission_flags(disk(), false))
                               .str());
  CHECK(answers[1].data == Bytes()
                               .be(std::uint16_t{3})
                               .be(std::uint32_t{1})
                               .be(std::uint32_t{4096})
                               .be(std::uint32_t{32 << 20})
                               .str());
  CHECK(answers[2].type == OptionReply::ack);
}

TEST_CASE("negotiation: EXPORT_NAME answers without a reply header, padded for old clients") {
  for (const bool no_zeroes : {false, true}) {
    Negotiation negotiation = greeted(no_zeroes ? 3 : 1);
    const auto bytes = option(Option::export_name, "");
    CHECK(negotiation.feed(bytes) == bytes.size());
    CHECK(negotiation.take_output().size() == (no_zeroes ? 10 : 134));
    CHECK(negotiation.outcome() == Negotiation::Outcome::transmission);
  }
  Negotiation other = greeted();
  const auto bytes = option(Option::export_name, "other");
  static_cast<void>(other.feed(bytes));
  CHECK(other.failure().code() == ErrorCode::not_found);
}

TEST_CASE("negotiation: options that are refused leave it pending") {
  Negotiation negotiation = greeted();
  struct Case {
    Option option;
    std::string data;
    OptionReply expected;
  };
  const std::string name_only = Bytes().text32("disk").str();
  const Case cases[] = {
      {static_cast<Option>(4), "", OptionReply::error_unsupported},
      {static_cast<Option>(11), "", OptionReply::error_unsupported},
      {static_cast<Option>(0xffffffff), "abc", OptionReply::error_unsupported},
      {Option::starttls, "", OptionReply::error_policy},
      {Option::starttls, "x", OptionReply::error_invalid},
      {Option::list, "x", OptionReply::error_invalid},
      {Option::structured_reply, "x", OptionReply::error_invalid},
      {Option::go, "", OptionReply::error_invalid},
      {Option::go, name_only, OptionReply::error_invalid},
      {Option::info, Bytes().be(~0U).str(), OptionReply::error_invalid},
      {Option::info, Bytes().text32("disk").be(std::uint16_t{2}).be(std::uint16_t{1}).str(),
       OptionReply::error_invalid},
      {Option::go, Bytes().text32("other").be(std::uint16_t{0}).str(), OptionReply::error_unknown},
      {Option::set_meta_context, Bytes().text32("disk").be(0U).str(), OptionReply::error_invalid},
  };
  for (const Case& each : cases) {
    const auto answers = ask(negotiation, each.option, each.data);
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].type == each.expected);
    CHECK(negotiation.outcome() == Negotiation::Outcome::pending);
  }
  CHECK(ask(negotiation, Option::abort)[0].type == OptionReply::ack);
  CHECK(negotiation.outcome() == Negotiation::Outcome::closed);
}

TEST_CASE("negotiation: LIST and INFO describe the export") {
  Negotiation negotiation = greeted();
  auto answers = ask(negotiation, Option::list);
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].type == OptionReply::server);
  CHECK(answers[0].data == Bytes().text32("disk").str());
  answers = ask(negotiation, Option::info,
                Bytes().text32("").be(std::uint16_t{1}).be(std::uint16_t{1}).str());
  REQUIRE(answers.size() == 4);
  CHECK(answers[2].data == Bytes().be(std::uint16_t{1}).text("disk").str());
  CHECK(negotiation.outcome() == Negotiation::Outcome::pending);
}

TEST_CASE("negotiation: metadata contexts") {
  Negotiation negotiation = greeted();
  CHECK(ask(negotiation, Option::structured_reply)[0].type == OptionReply::ack);
  const auto query = [](std::vector<std::string_view> queries) {
    Bytes data;
    data.text32("disk").be(static_cast<std::uint32_t>(queries.size()));
    for (const std::string_view each : queries) data.text32(each);
    return data.str();
  };
  CHECK(ask(negotiation, Option::list_meta_context, query({})).size() == 2);
  CHECK(ask(negotiation, Option::list_meta_context, query({"base:"})).size() == 2);
  CHECK(ask(negotiation, Option::list_meta_context, query({"qemu:"})).size() == 1);
  auto answers = ask(negotiation, Option::set_meta_context, query({"x:y", "base:allocation"}));
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].data == Bytes().be(kMetaContextId).text("base:allocation").str());
  CHECK(negotiation.negotiated().base_allocation);
  CHECK(ask(negotiation, Option::set_meta_context, query({"base:"})).size() == 1);
  CHECK(!negotiation.negotiated().base_allocation);
}

TEST_CASE("negotiation: dirty bitmaps") {
  ExportInfo info = disk();
  for (int i = 0; i < 9; ++i) info.bitmaps.push_back("snap" + std::to_string(i));
  Negotiation negotiation(info);
  static_cast<void>(negotiation.take_output());
  static_cast<void>(negotiation.feed(Bytes().be(std::uint32_t{3}).bytes));
  CHECK(ask(negotiation, Option::structured_reply)[0].type == OptionReply::ack);
  const auto query = [](std::vector<std::string> queries) {
    Bytes data;
    data.text32("disk").be(static_cast<std::uint32_t>(queries.size()));
    for (const std::string& each : queries) data.text32(each);
    return data.str();
  };
  const std::string prefix(kDirtyBitmapPrefix);
  const auto list = [&](std::vector<std::string> queries) {
    return ask(negotiation, Option::list_meta_context, query(std::move(queries))).size() - 1;
  };
  CHECK(list({}) == 10);
  CHECK(list({"qemu:"}) == 9);
  CHECK(list({prefix}) == 9);
  CHECK(list({"base:", prefix + "snap3", prefix + "snap3"}) == 2);
  CHECK(list({"qemu:dirty", prefix + "other", "qemu:allocation-depth"}) == 0);
  auto answers = ask(negotiation, Option::set_meta_context,
                     query({prefix + "snap4", prefix + "none", prefix + "snap1"}));
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].data == Bytes().be(std::uint32_t{3}).text(prefix + "snap1").str());
  CHECK(answers[1].data == Bytes().be(std::uint32_t{6}).text(prefix + "snap4").str());
  CHECK(!negotiation.negotiated().base_allocation);
  CHECK(negotiation.negotiated().bitmaps == std::vector<std::uint32_t>{1, 4});
  // A set wants names, and takes so many at most.
  CHECK(ask(negotiation, Option::set_meta_context, query({prefix, "qemu:"})).size() == 1);
  CHECK(negotiation.negotiated().bitmaps.empty());
  std::vector<std::string> all;
  for (const std::string& name : info.bitmaps) all.push_back(prefix + name);
  CHECK(ask(negotiation, Option::set_meta_context, query(all)).size() == kMaxSelectedBitmaps + 1);
}

TEST_CASE("negotiation: what is not NBD ends it") {
  Negotiation flags(disk());
  static_cast<void>(flags.feed(Bytes().be(std::uint32_t{4}).bytes));
  CHECK(flags.failure().code() == ErrorCode::protocol_error);

  Negotiation magic = greeted();
  static_cast<void>(magic.feed(Bytes().be(std::uint64_t{1}).be(std::uint64_t{0}).bytes));
  CHECK(magic.failure().code() == ErrorCode::protocol_error);

  Negotiation large = greeted();
  static_cast<void>(
      large.feed(Bytes().be(kOptionMagic).be(std::uint32_t{7}).be(kMaxOptionBytes + 1).bytes));
  CHECK(large.failure().code() == ErrorCode::protocol_error);

  Negotiation old_style = greeted(0);
  static_cast<void>(old_style.feed(option(Option::list)));
  CHECK(old_style.failure().code() == ErrorCode::protocol_error);
}

TEST_CASE("protocol: each command's rules") {
  const ExportInfo writable = disk();
  ExportInfo fixed = disk();
  fixed.read_only = true;
  const Negotiated plain{};
  const Negotiated full{.structured_replies = true, .base_allocation = true};
  const auto size = static_cast<std::uint32_t>(writable.size_bytes);
  const auto check = [&](const RequestHeader& header, const ExportInfo& info,
                         const Negotiated& negotiated) {
    return check_request(header, info, negotiated);
  };
  CHECK(check(request(Command::read, 0, size), writable, plain) == WireError::none);
  CHECK(check(request(Command::read, 0, size, kCommandFua), fixed, plain) == WireError::none);
  CHECK(check(request(Command::read, 1, size), writable, plain) == WireError::einval);
  CHECK(check(request(Command::read, ~0ULL, 1), writable, plain) == WireError::einval);
  CHECK(check(request(Command::read, 0, 1, kCommandDf), writable, plain) == WireError::einval);
  CHECK(check(request(Command::read, 0, 1, kCommandDf), writable, full) == WireError::none);
  CHECK(check(request(Command::write, size, 1), writable, plain) == WireError::enospc);
  CHECK(check(request(Command::write, 0, 1), fixed, plain) == WireError::eperm);
  CHECK(check(request(Command::trim, 0, 1), fixed, plain) == WireError::eperm);
  CHECK(check(request(Command::write, 0, 1, kCommandNoHole), writable, plain) == WireError::einval);
  CHECK(check(request(Command::write_zeroes, 0, 1, kCommandNoHole | kCommandFastZero), writable,
              plain) == WireError::none);
  CHECK(check(request(Command::flush, 0, 1), writable, plain) == WireError::einval);
  CHECK(check(request(Command::flush, 0, 0), fixed, plain) == WireError::none);
  CHECK(check(request(Command::block_status, 0, 1), writable, plain) == WireError::einval);
  CHECK(check(request(Command::block_status, 0, 0), writable, full) == WireError::einval);
  CHECK(check(request(Command::block_status, 0, 1, kCommandReqOne), writable, full) ==
        WireError::none);
  CHECK(check(request(static_cast<Command>(5), 0, 1), writable, full) == WireError::einval);
  ExportInfo large = disk();
  large.size_bytes = std::uint64_t{1} << 40;
  CHECK(check(request(Command::read, 0, kMaxPayloadBytes + 1), large, full) ==
        WireError::eoverflow);
}

TEST_CASE("decoder: any cut of the stream gives the same requests") {
  std::vector<std::byte> stream;
  const std::uint32_t lengths[] = {0, 1, 512, 4096, 20000, 70000};
  for (const std::uint32_t length : lengths) {
    const auto header = encode(request(Command::write, length, length));
    stream.insert(stream.end(), header.begin(), header.end());
    for (std::uint32_t i = 0; i < length; ++i) stream.push_back(static_cast<std::byte>(i * 7));
    const auto read = encode(request(Command::read, length, 512));
    stream.insert(stream.end(), read.begin(), read.end());
  }
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{29}, std::size_t{5000}, stream.size()}) {
    RequestDecoder decoder;
    ByteSpan rest = stream;
    std::size_t seen = 0;
    while (!rest.empty()) {
      const MutableByteSpan target = decoder.next_target();
      REQUIRE(!target.empty());
      const std::size_t length = std::min({target.size(), rest.size(), piece});
      std::copy_n(rest.begin(), length, target.begin());
      rest = rest.subspan(length);
      decoder.filled(length);
      while (true) {
        auto next = decoder.next(kMaxRequestMemoryBytes);
        REQUIRE(next.is_ok());
        if (!next->has_value()) break;
        const Request& found = **next;
        const std::uint32_t expected = lengths[seen / 2];
        CHECK(found.header.offset == expected);
        if (seen % 2 == 0) {
          REQUIRE(found.payload.size() == expected);
          for (std::uint32_t i = 0; i < expected; i += 101)
            REQUIRE(found.payload.span()[i] == static_cast<std::byte>(i * 7));
        }
        ++seen;
      }
    }
    CHECK(seen == 2 * std::size(lengths));
    CHECK(!decoder.in_request());
  }
}

TEST_CASE("decoder: no memory is taken for what does not fit or is not allowed") {
  RequestDecoder decoder;
  const auto large = encode(request(Command::write, 0, kMaxPayloadBytes));
  std::copy(large.begin(), large.end(), decoder.next_target().begin());
  decoder.filled(large.size());
  auto next = decoder.next(kMaxPayloadBytes);
  REQUIRE(next.is_ok());
  CHECK(!next->has_value());
  CHECK(decoder.waits_for_memory());
  next = decoder.next(kMaxRequestMemoryBytes);
  CHECK(!decoder.waits_for_memory());
  CHECK(decoder.next_target().size() == kMaxPayloadBytes);

  RequestDecoder refusing;
  const auto too_large = encode(request(Command::write, 0, kMaxPayloadBytes + 1));
  std::copy(too_large.begin(), too_large.end(), refusing.next_target().begin());
  refusing.filled(too_large.size());
  CHECK(refusing.next(~0ULL).status().code() == ErrorCode::protocol_error);
}

TEST_CASE("protocol: block status merges, clips and obeys REQ_ONE") {
  using image::ExtentState;
  const std::vector<image::Extent> extents = {{0, 8192, ExtentState::data},
                                              {8192, 4096, ExtentState::data},
                                              {12288, 4096, ExtentState::zero},
                                              {16384, 1 << 20, ExtentState::absent}};
  ReplyParts parts;
  append_block_status(parts, request(Command::block_status, 4096, 16384), extents);
  REQUIRE(parts.size() == 1);
  CHECK(std::string(as_text(parts[0].payload.span())) == Bytes()
                                                             .be(8192U)
                                                             .be(0U)
                                                             .be(4096U)
                                                             .be(kStateZero)
                                                             .be(4096U)
                                                             .be(kStateZero | kStateHole)
                                                             .str());
  ReplyParts one;
  append_block_status(one, request(Command::block_status, 4096, 16384, kCommandReqOne), extents);
  CHECK(one[0].payload.size() == 8);
}

TEST_CASE("protocol: the status of a dirty bitmap has gaps that are clean") {
  const auto state = image::ExtentState::data;
  const auto status = [&](std::vector<image::Extent> dirty, std::uint64_t covered_bytes) {
    ReplyParts parts;
    append_dirty_status(parts, request(Command::block_status, 4096, 16384), 5, dirty, covered_bytes,
                        true);
    return std::string(as_text(parts.at(0).payload.span()));
  };
  CHECK(status({}, 16384) == Bytes().be(16384U).be(0U).str());
  CHECK(status({{0, 1 << 20, state}}, 8192) == Bytes().be(8192U).be(kStateDirty).str());
  CHECK(status({{8192, 4096, state}, {12288, 4096, image::ExtentState::absent}}, 16384) ==
        Bytes().be(4096U).be(0U).be(8192U).be(kStateDirty).be(4096U).be(0U).str());
}

}  // namespace cairn::nbd
