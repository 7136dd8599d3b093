// The frame codec: round trips, every split of the stream, every flipped bit, the limits.
#include "net/frame.hh"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace cairn::net {

namespace {

std::vector<std::byte> bytes_of(const Frame& frame, std::uint64_t sequence) {
  std::vector<std::byte> bytes(kFrameHeaderBytes);
  encode_header(frame, sequence, bytes.data());
  bytes.insert(bytes.end(), frame.meta.begin(), frame.meta.end());
  bytes.insert(bytes.end(), frame.data.span().begin(), frame.data.span().end());
  return bytes;
}

Frame make_frame(FrameType type, std::size_t meta_length, std::size_t data_length,
                 std::mt19937_64& random) {
  Frame frame{.type = type, .meta = std::vector<std::byte>(meta_length), .data = {}};
  for (std::byte& byte : frame.meta) byte = static_cast<std::byte>(random());
  if (data_length > 0) frame.data = Buffer::allocate(data_length);
  for (std::byte& byte : frame.data.span()) byte = static_cast<std::byte>(random());
  return frame;
}

bool same(const Frame& a, const Frame& b) {
  return a.type == b.type && a.meta == b.meta &&
         std::equal(a.data.span().begin(), a.data.span().end(), b.data.span().begin(),
                    b.data.span().end());
}

// Feeds bytes in pieces of piece_length; stops at the first error.
Status feed_all(FrameDecoder& decoder, ByteSpan bytes, std::size_t piece_length,
                std::vector<Frame>& frames) {
  while (!bytes.empty()) {
    ByteSpan piece = bytes.first(std::min(piece_length, bytes.size()));
    bytes = bytes.subspan(piece.size());
    while (!piece.empty()) {
      std::size_t consumed = 0;
      Result<std::optional<Frame>> result = decoder.feed(piece, consumed);
      if (!result) return result.status();
      REQUIRE(consumed > 0);
      if (result->has_value()) frames.push_back(std::move(**result));
      piece = piece.subspan(consumed);
    }
  }
  return Status::ok();
}

struct Stream {
  std::vector<Frame> frames;
  std::vector<std::byte> bytes;
};

Stream make_stream(std::mt19937_64& random) {
  constexpr std::pair<std::size_t, std::size_t> kLengths[] = {{0, 0},   {1, 0}, {0, 1},  {64, 4096},
                                                              {31, 33}, {0, 0}, {300, 0}};
  Stream stream;
  for (const auto& [meta_length, data_length] : kLengths) {
    stream.frames.push_back(make_frame(FrameType::op, meta_length, data_length, random));
    const auto bytes = bytes_of(stream.frames.back(), stream.frames.size());
    stream.bytes.insert(stream.bytes.end(), bytes.begin(), bytes.end());
  }
  return stream;
}

}  // namespace

TEST_CASE("frame: any split of the stream gives the same frames") {
  std::mt19937_64 random(1);
  const Stream stream = make_stream(random);
  for (std::size_t piece = 1; piece < 200; ++piece) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    REQUIRE(feed_all(decoder, stream.bytes, piece, frames).is_ok());
    REQUIRE(frames.size() == stream.frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) CHECK(same(frames[i], stream.frames[i]));
  }
  for (std::size_t cut = 1; cut < stream.bytes.size(); ++cut) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    const ByteSpan bytes(stream.bytes);
    REQUIRE(feed_all(decoder, bytes.first(cut), cut, frames).is_ok());
    REQUIRE(feed_all(decoder, bytes.subspan(cut), bytes.size(), frames).is_ok());
    REQUIRE(frames.size() == stream.frames.size());
  }
}

TEST_CASE("frame: bytes placed at next_target make the same frames, data is aligned") {
  std::mt19937_64 random(2);
  const Stream stream = make_stream(random);
  FrameDecoder decoder;
  std::size_t position = 0, count = 0;
  while (position < stream.bytes.size()) {
    const MutableByteSpan target = decoder.next_target();
    REQUIRE(!target.empty());
    const std::size_t length = 1 + random() % target.size();
    std::memcpy(target.data(), stream.bytes.data() + position, length);
    position += length;
    Result<std::optional<Frame>> result = decoder.filled(length);
    REQUIRE(result.is_ok());
    if (!result->has_value()) continue;
    CHECK(same(**result, stream.frames.at(count++)));
    CHECK(reinterpret_cast<std::uintptr_t>((*result)->data.data()) % Buffer::kAlignment == 0);
  }
  CHECK(count == stream.frames.size());
}

TEST_CASE("frame: every flipped bit is refused") {
  std::mt19937_64 random(3);
  const Frame frame = make_frame(FrameType::replicate, 40, 50, random);
  const auto good = bytes_of(frame, 1);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    FrameDecoder decoder;
    std::vector<Frame> frames;
    const Status status = feed_all(decoder, bytes, bytes.size(), frames);
    CHECK_MESSAGE(status.code() == ErrorCode::protocol_error, "bit ", bit);
    CHECK(frames.empty());
  }
}

TEST_CASE("frame: a cut stream gives no frame and no error") {
  std::mt19937_64 random(4);
  const auto bytes = bytes_of(make_frame(FrameType::op, 10, 10, random), 1);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    CHECK(feed_all(decoder, ByteSpan(bytes).first(length), 7, frames).is_ok());
    CHECK(frames.empty());
  }
}

TEST_CASE("frame: a repeated and a skipped sequence are refused") {
  const Frame frame;
  for (const std::uint64_t second : {0ULL, 1ULL, 3ULL}) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    CHECK(feed_all(decoder, bytes_of(frame, 1), 100, frames).is_ok());
    CHECK(feed_all(decoder, bytes_of(frame, second), 100, frames).code() ==
          ErrorCode::protocol_error);
    CHECK(frames.size() == 1);
  }
}

TEST_CASE("frame: the largest payload passes, the decoder's own limits hold") {
  Frame frame{.type = FrameType::push, .meta = {}, .data = Buffer::zeroed(kMaxDataBytes)};
  frame.meta.resize(kMaxMetaBytes, std::byte{5});
  const auto bytes = bytes_of(frame, 1);
  FrameDecoder decoder;
  std::vector<Frame> frames;
  REQUIRE(feed_all(decoder, bytes, 100000, frames).is_ok());
  REQUIRE(frames.size() == 1);
  CHECK(same(frames[0], frame));

  FrameDecoder limited({.max_meta_bytes = 10, .max_data_bytes = 0});
  frames.clear();
  CHECK(feed_all(limited, bytes, bytes.size(), frames).code() == ErrorCode::protocol_error);
  limited = FrameDecoder({.max_meta_bytes = kMaxMetaBytes, .max_data_bytes = 0});
  CHECK(feed_all(limited, bytes, bytes.size(), frames).code() == ErrorCode::protocol_error);
  CHECK(frames.empty());
}

}  // namespace cairn::net
