// The golden frames of test/golden/frame (its README describes the files) against this codec.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "net/frame.hh"
#include "net/handshake.hh"

namespace cairn::net {

namespace {

struct GoldenFile {
  std::map<std::string, std::string> fields;
  std::vector<std::byte> bytes;
};

std::vector<std::byte> from_hexadecimal(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

GoldenFile read_golden(const std::filesystem::path& path) {
  GoldenFile file;
  std::ifstream stream(path);
  std::string line;
  while (std::getline(stream, line) && line != "bytes:") {
    if (line.starts_with("#")) continue;
    const std::size_t colon = line.find(':');
    REQUIRE(colon != std::string::npos);
    file.fields[line.substr(0, colon)] = colon + 2 < line.size() ? line.substr(colon + 2) : "";
  }
  std::string hexadecimal;
  while (std::getline(stream, line)) hexadecimal += line;
  file.bytes = from_hexadecimal(hexadecimal);
  REQUIRE(file.bytes.size() >= kFrameHeaderBytes);
  return file;
}

std::uint64_t number(const GoldenFile& file, const std::string& key) {
  return std::stoull(file.fields.at(key));
}

void check_encoding(const Frame& frame, std::uint64_t sequence, ByteSpan bytes) {
  std::vector<std::byte> encoded(kFrameHeaderBytes);
  encode_header(frame, sequence, encoded.data());
  encoded.insert(encoded.end(), frame.meta.begin(), frame.meta.end());
  encoded.insert(encoded.end(), frame.data.span().begin(), frame.data.span().end());
  CHECK(std::equal(encoded.begin(), encoded.end(), bytes.begin(), bytes.end()));
}

void check_frame(const GoldenFile& file) {
  Frame frame{.type = static_cast<FrameType>(number(file, "type")),
              .meta = from_hexadecimal(file.fields.at("meta")),
              .data = Buffer::copy_of(from_hexadecimal(file.fields.at("data")))};
  check_encoding(frame, number(file, "sequence"), file.bytes);
  Result<FrameHeader> header = decode_header(file.bytes);
  REQUIRE(header.is_ok());
  CHECK(header->type == frame.type);
  CHECK(header->sequence == number(file, "sequence"));
  CHECK(header->meta_length == frame.meta.size());
  CHECK(header->data_length == frame.data.size());
  CHECK(check_payload(*header, frame).is_ok());
}

Entity golden_entity(const GoldenFile& file, const std::string& prefix) {
  return {.kind = static_cast<EntityKind>(number(file, prefix + "Kind")),
          .id = number(file, prefix + "Id"),
          .incarnation = number(file, prefix + "Incarnation")};
}

Result<std::optional<Frame>> decode_first(const GoldenFile& file) {
  FrameDecoder decoder;
  std::size_t consumed = 0;
  return decoder.feed(file.bytes, consumed);
}

Frame decode_whole(const GoldenFile& file) {
  Result<std::optional<Frame>> result = decode_first(file);
  REQUIRE(result.is_ok());
  REQUIRE(result->has_value());
  CHECK((*result)->type == FrameType::hello);
  return std::move(**result);
}

void check_hello_file(const GoldenFile& file) {
  Hello hello;
  hello.version = static_cast<std::uint16_t>(number(file, "version"));
  const auto cluster = from_hexadecimal(file.fields.at("cluster"));
  std::memcpy(hello.cluster.data(), cluster.data(), hello.cluster.size());
  hello.self = golden_entity(file, "self");
  hello.required_features = static_cast<std::uint32_t>(number(file, "requiredFeatures"));
  hello.supported_features = static_cast<std::uint32_t>(number(file, "supportedFeatures"));
  if (number(file, "expectedKind") != 0) hello.expected = golden_entity(file, "expected");
  hello.refusal = static_cast<ErrorCode>(number(file, "refusal"));
  check_encoding({.type = FrameType::hello, .meta = encode_hello(hello), .data = {}}, 1,
                 file.bytes);
  Result<Hello> decoded = decode_hello(decode_whole(file).meta);
  REQUIRE(decoded.is_ok());
  CHECK(*decoded == hello);
}

void check_message(const Status& status, const GoldenFile& file) {
  CHECK(status.code() == ErrorCode::protocol_error);
  CHECK_MESSAGE(status.message().find(file.fields.at("error")) != std::string::npos,
                status.message());
}

void check_file(const GoldenFile& file) {
  const std::string& kind = file.fields.at("kind");
  if (kind == "frame") {
    check_frame(file);
  } else if (kind == "hello") {
    check_hello_file(file);
  } else if (kind == "reject") {
    check_message(decode_first(file).status(), file);
  } else if (kind == "reject-hello") {
    check_message(decode_hello(decode_whole(file).meta).status(), file);
  } else if (kind == "refuse-hello") {
    Result<Hello> hello = decode_hello(decode_whole(file).meta);
    REQUIRE(hello.is_ok());
    CHECK(error_name(check_hello(Hello(), *hello).code()) == file.fields.at("error"));
  } else {
    FAIL("unknown kind " << kind);
  }
}

}  // namespace

TEST_CASE("golden frames") {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CAIRN_GOLDEN_DIR "/frame")) {
    if (entry.path().extension() != ".hex") continue;
    INFO(entry.path().filename().string());
    check_file(read_golden(entry.path()));
    ++files;
  }
  CHECK(files >= 20);
}

}  // namespace cairn::net
