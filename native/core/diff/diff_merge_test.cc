// Merging: what the result does to a disk, goldens of `rbd merge-diff`, and the tool itself.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "../../test/budget.hh"
#include "diff/diff_merge_job.hh"
#include "diff/diff_test.hh"
#include "qcow2/copy_test.hh"

namespace cairn::diff {

namespace {

using qcow2::content_of;
using qcow2::make_reactor;
using qcow2::memory_file;

struct Merged {
  Status status;
  std::vector<std::byte> bytes;
};

Merged merge(ByteSpan first_bytes, ByteSpan second_bytes) {
  auto reactor = make_reactor();
  const net::OwnedFd first_file = memory_file(first_bytes), second_file = memory_file(second_bytes);
  for (const net::OwnedFd* file : {&first_file, &second_file})
    REQUIRE(::lseek(file->get(), 0, SEEK_SET) == 0);
  const net::OwnedFd out = memory_file();
  auto first = DiffReader::open(*reactor, first_file.get());
  auto second = DiffReader::open(*reactor, second_file.get());
  REQUIRE((first.is_ok() && second.is_ok()));
  Merged merged;
  merged.status = qcow2::run_job(*reactor, [&](qcow2::CopyDone done) {
    return DiffMergeJob::create(*reactor, *first, *second, out.get(), std::move(done));
  });
  merged.bytes = content_of(out);
  return merged;
}

// Two that follow each other; sizes may change.
std::pair<TestDiff, TestDiff> random_pair(std::mt19937_64& random) {
  const std::uint64_t longest = random() % 3 == 0 ? 2'000 : 150;
  const std::uint64_t first_bytes = random() % 4'000 + 1;
  const std::uint64_t second_bytes = random() % 2 == 0 ? first_bytes : random() % 5'000 + 1;
  TestDiff first = random_diff(random, first_bytes, longest);
  TestDiff second = random_diff(random, second_bytes, longest);
  if (random() % 2 == 0) first.header.from_snap = "first";
  first.header.to_snap = second.header.from_snap = "between";
  if (random() % 2 == 0) second.header.to_snap = "last";
  return {std::move(first), std::move(second)};
}

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  REQUIRE(stream.good());
  const std::string text((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  const ByteSpan bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

void write_file(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  REQUIRE(stream.good());
}

}  // namespace

TEST_CASE("merge: the result does to a disk what the two do one after the other") {
  std::mt19937_64 random(21);
  for (int round = 0; round < test::budgeted(300, 50); ++round) {
    auto [first, second] = random_pair(random);
    if (round % 4 == 0) second.header.version = 2;
    const Merged merged = merge(bytes_of(first), bytes_of(second));
    REQUIRE(merged.status.is_ok());
    const ReadDiffs read = read_diffs(merged.bytes, [](ByteSpan left) { return left.size(); });
    REQUIRE(read.finished);
    const TestDiff& result = read.diffs.at(0);
    CHECK(result.header.from_snap == first.header.from_snap);
    CHECK(result.header.to_snap == second.header.to_snap);
    CHECK(result.header.version == second.header.version);
    // The disk before: no zeros. What grows is zeros first.
    std::vector<std::byte> once(*first.header.size_bytes, std::byte{0xee});
    std::vector<std::byte> twice = once;
    apply_to(first, once);
    apply_to(second, once);
    apply_to(result, twice);
    CHECK(once == twice);
  }
}

TEST_CASE("merge: goldens that `rbd merge-diff` has made") {
  const std::filesystem::path folder = std::filesystem::path(CAIRN_GOLDEN_DIR) / "diff" / "merge";
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    CAPTURE(entry.path().string());
    const Merged merged =
        merge(read_file(entry.path() / "first.bin"), read_file(entry.path() / "second.bin"));
    CHECK(merged.status.is_ok());
    CHECK(merged.bytes == read_file(entry.path() / "merged.bin"));
    ++cases;
  }
  CHECK(cases >= 6);
}

TEST_CASE("merge: byte for byte what `rbd merge-diff` makes, where it is installed") {
  if (std::system("command -v rbd >/dev/null 2>&1") != 0) {
    MESSAGE("rbd is not installed: the goldens stand for it");
    return;
  }
  std::string folder_name = std::filesystem::temp_directory_path() / "cairn-merge-XXXXXX";
  REQUIRE(::mkdtemp(folder_name.data()) != nullptr);
  const std::filesystem::path folder = folder_name;
  std::mt19937_64 random(22);
  for (int round = 0; round < test::budgeted(25, 3); ++round) {
    const auto pair = random_pair(random);
    write_file(folder / "first", bytes_of(pair.first));
    write_file(folder / "second", bytes_of(pair.second));
    std::filesystem::remove(folder / "merged");
    const std::string command = "cd " + folder.string() +
                                " && rbd merge-diff first second merged --no-progress 2>/dev/null";
    REQUIRE(std::system(command.c_str()) == 0);
    CHECK(merge(bytes_of(pair.first), bytes_of(pair.second)).bytes == read_file(folder / "merged"));
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("merge: what does not fit is refused") {
  std::mt19937_64 random(23);
  auto [first, second] = random_pair(random);
  const auto good_first = bytes_of(first), good_second = bytes_of(second);

  const Merged swapped = merge(good_second, good_first);
  CHECK(swapped.status.code() == ErrorCode::invalid_argument);
  CHECK(swapped.status.message().find("the older one first") != std::string::npos);

  const Merged cut = merge(good_first, ByteSpan(good_second).first(good_second.size() - 1));
  CHECK(cut.status.code() == ErrorCode::corrupt);
  CHECK(cut.status.message().starts_with("second:"));

  first.records = {{true, 10, {}, 1}, {true, 5, {}, 1}};
  first.header.size_bytes = 20;
  CHECK(merge(bytes_of(first), good_second).status.code() == ErrorCode::unsupported_feature);
}

}  // namespace cairn::diff
