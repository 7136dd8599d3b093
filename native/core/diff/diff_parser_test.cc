// The parser and the encoders: golden bytes, any cut, every end that comes too early, and damage.
#include "diff/diff_parser.hh"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "diff/diff_test.hh"

namespace cairn::diff {

namespace {

std::vector<std::byte> read_golden(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(CAIRN_GOLDEN_DIR) / "diff" / name;
  std::ifstream stream(path, std::ios::binary);
  REQUIRE(stream.good());
  const std::string text((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  const ByteSpan bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

std::size_t all(ByteSpan left) { return left.size(); }

TestRecord write_of(std::uint64_t offset, std::size_t length, char fill) {
  return {false, offset, std::vector<std::byte>(length, static_cast<std::byte>(fill)), length};
}

TestRecord zero_of(std::uint64_t offset, std::uint64_t length) {
  return {true, offset, {}, length};
}

// What tools/make-diff-golden.mjs has written.
TestDiff golden_diff(std::uint8_t version) {
  TestDiff diff;
  diff.header.version = version;
  diff.header.from_snap = "monday";
  diff.header.to_snap = "tuesday";
  diff.header.is_protected = version == 2;
  diff.header.size_bytes = 1 << 20;
  diff.records = {write_of(4096, 16, 'A'), zero_of(8192, 4096), write_of(65536, 3, 'B')};
  return diff;
}

}  // namespace

TEST_CASE("diff stream: golden bytes of both versions") {
  for (const std::uint8_t version : {std::uint8_t{1}, std::uint8_t{2}}) {
    const auto golden = read_golden("diff-v" + std::to_string(version) + ".bin");
    const TestDiff expected = golden_diff(version);
    CHECK(bytes_of(expected) == golden);
    const ReadDiffs read = read_diffs(golden, all);
    CHECK(read.status.is_ok());
    REQUIRE(read.diffs.size() == 1);
    CHECK(same(read.diffs[0], expected));
  }
}

TEST_CASE("diff stream: golden bytes of an exported image") {
  const auto golden = read_golden("image-v2.bin");
  TestDiff first;
  first.header.version = 2;
  first.header.to_snap = "monday";
  first.header.size_bytes = 1 << 20;
  first.records = {write_of(0, 16, 'M')};
  TestDiff second;
  second.header.version = 2;
  second.header.from_snap = "monday";
  second.header.size_bytes = 1 << 20;
  second.records = {zero_of(0, 4096)};
  Writer writer;
  put_image_header(writer, {22, 61, 1 << 22, 1, {{"owner", "alice"}}, 2});
  put_records(writer, first);
  put_records(writer, second);
  CHECK(writer.take() == golden);

  const ReadDiffs read = read_diffs(golden, all);
  CHECK(read.status.is_ok());
  CHECK(read.has_image);
  CHECK(read.image.order == 22);
  CHECK(read.image.features == 61);
  CHECK(read.image.stripe_unit_bytes == 1 << 22);
  CHECK(read.image.stripe_count == 1);
  CHECK(read.image.metadata ==
        std::vector<std::pair<std::string, std::string>>{{"owner", "alice"}});
  REQUIRE(read.diffs.size() == 2);
  CHECK(same(read.diffs[0], first));
  CHECK(same(read.diffs[1], second));
  CHECK(read.finished);
}

TEST_CASE("diff stream: any cut gives the same events, and what stands behind the end none") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    TestDiff diff = random_diff(random, 5000, 300);
    diff.header.version = static_cast<std::uint8_t>(round % 2 + 1);
    if (round % 3 != 0) diff.header.from_snap = "a";
    if (round % 5 != 0) diff.header.to_snap = "b";
    std::vector<std::byte> bytes = bytes_of(diff);
    bytes.push_back(std::byte{0x77});
    const ReadDiffs read = read_diffs(bytes, [&](ByteSpan left) {
      return std::min<std::size_t>(left.size(), random() % 40 + 1);
    });
    CHECK(read.finished);
    REQUIRE(read.diffs.size() == 1);
    CHECK(same(read.diffs[0], diff));
  }
}

TEST_CASE("diff stream: a stream that breaks off anywhere is damaged") {
  for (const char* name : {"diff-v1.bin", "diff-v2.bin", "image-v2.bin"}) {
    const auto golden = read_golden(name);
    for (std::size_t length = 0; length < golden.size(); ++length) {
      const ReadDiffs read = read_diffs(ByteSpan(golden).first(length), all);
      CHECK(read.status.code() == ErrorCode::corrupt);
      CHECK_FALSE(read.finished);
    }
  }
}

TEST_CASE("diff stream: unknown records of v2 are skipped, those of v1 are damage") {
  for (const std::uint8_t version : {std::uint8_t{1}, std::uint8_t{2}}) {
    Writer writer;
    DiffHeader header;
    header.version = version;
    header.size_bytes = 4096;
    put_diff_header(writer, header);
    writer.put(static_cast<std::uint8_t>('x'));
    if (version == 2) writer.put(std::uint64_t{5});
    writer.raw(as_bytes("12345"));
    put_zero(writer, version, 0, 10);
    put_end(writer);
    const ReadDiffs read = read_diffs(writer.span(), all);
    CHECK(read.finished == (version == 2));
    if (version == 2) CHECK(read.diffs.at(0).records.size() == 1);
    if (version == 1) CHECK(read.status.message().find("unknown tag") != std::string::npos);
  }
}

TEST_CASE("diff stream: damage is found where it is") {
  struct Case {
    const char* what;
    std::string text;  // of the error
    std::vector<std::byte> bytes;
  };
  const auto with = [](std::uint8_t version, auto fill) {
    Writer writer;
    DiffHeader header;
    header.version = version;
    header.size_bytes = 4096;
    put_diff_header(writer, header);
    fill(writer);
    put_end(writer);
    return writer.take();
  };
  const auto banner_only = [](std::string_view text) {
    Writer writer;
    writer.raw(as_bytes(text));
    return writer.take();
  };
  const std::vector<Case> cases = {
      {"another file", "does not begin", banner_only("QFI\xfb...........")},
      {"a version to come", "does not begin", banner_only("rbd diff v3\n")},
      {"behind the end", "behind the end", with(1, [](Writer& w) { put_zero(w, 1, 4000, 97); })},
      {"a length that wraps", "behind the end",
       with(1, [](Writer& w) { put_write_head(w, 1, 4095, ~std::uint64_t{0}); })},
      {"metadata behind data", "behind the data",
       with(1,
            [](Writer& w) {
              put_zero(w, 1, 0, 1);
              w.put(std::uint8_t{'s'});
              w.put(std::uint64_t{1});
            })},
      {"a name without end", "name is not possible",
       with(1,
            [](Writer& w) {
              w.put(std::uint8_t{'t'});
              w.put(std::uint32_t{4097});
            })},
      {"two lengths of data", "does not fit its data",
       with(2,
            [](Writer& w) {
              w.put(std::uint8_t{'w'});
              w.put(std::uint64_t{20});
              w.put(std::uint64_t{0});
              w.put(std::uint64_t{5});
            })},
      {"two lengths of a name", "does not fit its name",
       with(2,
            [](Writer& w) {
              w.put(std::uint8_t{'t'});
              w.put(std::uint64_t{9});
              w.put(std::uint32_t{4});
            })},
      {"a short zero record", "does not fit its tag", with(2, [](Writer& w) {
         w.put(std::uint8_t{'z'});
         w.put(std::uint64_t{8});
       })}};
  for (const Case& each : cases) {
    CAPTURE(each.what);
    const ReadDiffs read = read_diffs(each.bytes, all);
    CHECK(read.status.code() == ErrorCode::corrupt);
    CHECK(read.status.message().find(each.text) != std::string::npos);
  }
}

TEST_CASE("diff stream: the metadata of an exported image is bounded") {
  Writer writer;
  ImageHeader header;
  header.diff_count = 1;
  for (int i = 0; i < 1100; ++i) header.metadata.emplace_back("key" + std::to_string(i), "v");
  put_image_header(writer, header);
  const ReadDiffs read = read_diffs(writer.span(), all);
  CHECK(read.status.message().find("too much metadata") != std::string::npos);
}

}  // namespace cairn::diff
