// The region file system by itself, and the decoder of its file table on damaged bytes.
#include "object_store/kv/region_fs.hh"
#include "../../../test/budget.hh"

#include <doctest/doctest.h>

#include "base/crc32c.hh"
#include "object_store/kv/read_ahead.hh"
#include "object_store/kv/test_support.hh"

using namespace cairn;
using namespace cairn::kv;
using namespace cairn::kv::test;

namespace {

const Geometry kGeometry{.region_length = 512 << 10, .unit_bytes = 8192, .nonce = 77};

std::unique_ptr<RegionFs> formatted(RecordingDisk& disk) {
  auto fs = RegionFs::format(disk, 0, kGeometry);
  REQUIRE_MESSAGE(fs.is_ok(), fs.status().to_string());
  return std::move(*fs);
}

std::unique_ptr<RegionFs> mounted(RecordingDisk& disk) {
  auto fs = RegionFs::mount(disk, 0, kGeometry);
  REQUIRE_MESSAGE(fs.is_ok(), fs.status().to_string());
  return std::move(*fs);
}

std::string read_all(const FileReader& reader) {
  std::string bytes(reader.size_bytes(), '\0');
  const auto length =
      reader.read(0, MutableByteSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size()));
  REQUIRE_MESSAGE(length.is_ok(), length.status().to_string());
  REQUIRE(length.value() == bytes.size());
  return bytes;
}

std::string read_file(RegionFs& fs, const std::string& name) {
  auto reader = fs.open_reader(name);
  REQUIRE_MESSAGE(reader.is_ok(), reader.status().to_string());
  return read_all(**reader);
}

std::string random_bytes(Random& random, std::size_t length) {
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

void write_file(RegionFs& fs, const std::string& name, const std::string& bytes) {
  auto writer = fs.create(name);
  REQUIRE(writer.is_ok());
  REQUIRE((*writer)->append(as_bytes(bytes)).is_ok());
  REQUIRE((*writer)->close().is_ok());
}

}  // namespace

TEST_CASE("region_fs: files, renames and removals equal the model, also after a mount") {
  Random random(1);
  RecordingDisk disk(Image(kGeometry.region_length));
  auto fs = formatted(disk);
  std::map<std::string, std::string> model;
  for (int step = 0; step < 2000; ++step) {
    const std::string name = "file" + std::to_string(below(random, 6));
    switch (below(random, 8)) {
      case 0:
        CHECK(fs->remove(name).is_ok() == (model.erase(name) > 0));
        break;
      case 1: {
        const std::string target = "file" + std::to_string(below(random, 6));
        const bool there = model.count(name) > 0;
        CHECK(fs->rename(name, target).is_ok() == there);
        if (there && name != target) {
          model[target] = model[name];
          model.erase(name);
        }
        break;
      }
      case 2:
        if (below(random, 10) == 0) {
          REQUIRE(fs->commit().is_ok());
          fs = mounted(disk);
        }
        break;
      case 3: {
        const auto reader = fs->open_reader(name);
        CHECK(reader.is_ok() == (model.count(name) > 0));
        if (!reader) break;
        const std::string& expected = model[name];
        const std::size_t offset = below(random, expected.size() + 10);
        std::string part(below(random, 9000), '\0');
        const auto length = reader.value()->read(
            offset, MutableByteSpan(reinterpret_cast<std::byte*>(part.data()), part.size()));
        REQUIRE(length.is_ok());
        part.resize(length.value());
        CHECK(part == (offset < expected.size() ? expected.substr(offset, part.size()) : ""));
        break;
      }
      default: {
        auto writer = fs->create(name);
        REQUIRE(writer.is_ok());
        model[name].clear();
        for (std::uint64_t i = below(random, 5); i > 0; --i) {
          const std::string bytes = random_bytes(random, below(random, 9000));
          REQUIRE((*writer)->append(as_bytes(bytes)).is_ok());
          model[name] += bytes;
          if (below(random, 3) == 0) {
            REQUIRE((*writer)->sync().is_ok());
            CHECK(read_file(*fs, name) == model[name]);
          }
        }
        CHECK((*writer)->close().is_ok());
      }
    }
  }
  for (const auto& [name, bytes] : model) CHECK(read_file(*fs, name) == bytes);
  CHECK(fs->list().size() == model.size());
}

TEST_CASE("region_fs: a synced part survives while the file grows, whatever is lost or torn") {
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(200U); ++seed) {
    Random random(seed);
    RecordingDisk disk(Image(kGeometry.region_length));
    auto fs = formatted(disk);
    auto writer = fs->create("log");
    REQUIRE(writer.is_ok());
    std::string written;
    std::size_t synced = 0;
    for (int i = 0; i < 20; ++i) {
      const std::string bytes = random_bytes(random, below(random, 3000));
      REQUIRE((*writer)->append(as_bytes(bytes)).is_ok());
      written += bytes;
      if (below(random, 2) == 0) continue;
      REQUIRE((*writer)->sync().is_ok());
      synced = written.size();
    }
    if (below(random, 2) == 0) CHECK((*writer)->close().is_ok());
    RecordingDisk crashed(disk.crash(disk.operations().size(), random));
    auto after = mounted(crashed);
    const std::string found = synced > 0 || after->exists("log") ? read_file(*after, "log") : "";
    CHECK(found.size() >= synced);
    CHECK(written.compare(0, found.size(), found) == 0);
  }
}

TEST_CASE("region_fs: a rename is atomic and durable") {
  Random random(3);
  RecordingDisk disk(Image(kGeometry.region_length));
  auto fs = formatted(disk);
  write_file(*fs, "CURRENT", "old");
  REQUIRE(fs->commit().is_ok());
  const std::size_t before = disk.operations().size();
  write_file(*fs, "temporary", "new");
  REQUIRE(fs->rename("temporary", "CURRENT").is_ok());
  const std::size_t renamed = disk.operations().size();
  for (int i = 0; i < 200; ++i) {
    const std::size_t cut = before + below(random, renamed - before + 1);
    RecordingDisk crashed(disk.crash(cut, random));
    const std::string found = read_file(*mounted(crashed), "CURRENT");
    CHECK((found == "new" || (found == "old" && cut < renamed)));
  }
}

TEST_CASE("region_fs: units of a removed file wait for a commit and for its readers") {
  Random random(4);
  RecordingDisk disk(Image(kGeometry.region_length));
  auto fs = formatted(disk);
  const std::string old_bytes = random_bytes(random, fs->capacity_bytes() / 3);
  write_file(*fs, "old", old_bytes);
  REQUIRE(fs->commit().is_ok());
  const std::uint64_t free = fs->free_bytes();

  auto reader = fs->open_reader("old");
  REQUIRE(reader.is_ok());
  REQUIRE(fs->remove("old").is_ok());
  CHECK(fs->free_bytes() > free);
  write_file(*fs, "new", random_bytes(random, fs->capacity_bytes() / 2));
  CHECK(read_all(**reader) == old_bytes);
  {
    RecordingDisk crashed(disk.image());
    CHECK_MESSAGE(read_file(*mounted(crashed), "old") == old_bytes,
                  "without a commit the file is still there");
  }
  REQUIRE(fs->commit().is_ok());
  const std::string more = random_bytes(random, fs->capacity_bytes() / 3);
  auto refused = fs->create("more");
  CHECK((*refused)->append(as_bytes(more)).code() == ErrorCode::no_space);
  CHECK(read_all(**reader) == old_bytes);
  reader->reset();
  (*refused).reset();
  CHECK_MESSAGE(fs->commit().code() == ErrorCode::no_space, "a file that lost bytes stops commits");

  auto again = mounted(disk);
  CHECK_FALSE(again->exists("old"));
  write_file(*again, "more", more);
  CHECK(read_file(*again, "more") == more);
}

TEST_CASE("region_fs: units of a removed file are not written to before the commit") {
  Random random(5);
  RecordingDisk disk(Image(kGeometry.region_length));
  auto fs = formatted(disk);
  const std::string old_bytes = random_bytes(random, fs->capacity_bytes() / 3);
  write_file(*fs, "old", old_bytes);
  // The search for free units goes on behind this one, and then comes round to the old file.
  write_file(*fs, "filler", random_bytes(random, fs->capacity_bytes() / 3));
  REQUIRE(fs->remove("filler").is_ok());
  REQUIRE(fs->commit().is_ok());
  REQUIRE(fs->remove("old").is_ok());
  write_file(*fs, "new", random_bytes(random, fs->capacity_bytes() / 2));
  RecordingDisk crashed(disk.image());
  CHECK(read_file(*mounted(crashed), "old") == old_bytes);
}

TEST_CASE("read ahead: the same bytes as without, in any order of reads") {
  Random random(8);
  RecordingDisk disk(Image(std::size_t{4} << 20));
  const Geometry geometry{.region_length = 4 << 20, .unit_bytes = 65536};
  auto fs = RegionFs::format(disk, 0, geometry);
  REQUIRE(fs.is_ok());
  const std::string bytes = random_bytes(random, 300'000);
  write_file(**fs, "table", bytes);
  ReadAhead read_ahead;
  auto reader = (*fs)->open_reader("table");
  ReadAhead::Cursor cursor;
  std::uint64_t offset = 0;
  for (int i = 0; i < 3000; ++i) {
    if (below(random, 10) == 0) offset = below(random, bytes.size() + 5000);
    std::string part(below(random, 9000), '\0');
    const auto length =
        read_ahead.read(**reader, cursor, offset,
                        MutableByteSpan(reinterpret_cast<std::byte*>(part.data()), part.size()));
    REQUIRE(length.is_ok());
    part.resize(length.value());
    CHECK(part == (offset < bytes.size() ? bytes.substr(offset, part.size()) : ""));
    offset += part.size();
  }
  const std::uint64_t read_before = (*fs)->counters().bytes_read;
  for (offset = 0; offset + 4101 < bytes.size(); offset += 4101) {
    std::byte block[4101];
    REQUIRE(read_ahead.read(**reader, cursor, offset, block).is_ok());
  }
  CHECK((*fs)->counters().bytes_read - read_before < bytes.size() * 5 / 4);
  read_ahead.forget(**reader);
}

TEST_CASE("region_fs: a mount moves tails out of the table") {
  RecordingDisk disk(Image(kGeometry.region_length));
  for (int round = 0; round < 20; ++round) {
    const std::string name = "MANIFEST-" + std::to_string(round);
    auto fs = round == 0 ? formatted(disk) : mounted(disk);
    auto writer = fs->create(name);
    REQUIRE((*writer)->append(as_bytes(std::string(4000, 'x'))).is_ok());
    REQUIRE_MESSAGE((*writer)->sync().is_ok(), "the table has room for the tails");
    std::size_t tails = 0;
    for (const auto& [file, entry] : newest_table(disk.image(), kGeometry).files)
      tails += entry.tail.empty() ? 0 : 1;
    CHECK(tails == 1);
    for (const std::string& file : fs->list()) CHECK(read_file(*fs, file).size() == 4000);
  }
}

TEST_CASE("file table: what is encoded decodes to the same, and damage to nothing else") {
  Random random(6);
  RecordingDisk disk(Image(kGeometry.region_length));
  auto fs = formatted(disk);
  for (int i = 0; i < 6; ++i)
    write_file(*fs, "file" + std::to_string(i), random_bytes(random, below(random, 20'000)));
  auto writer = fs->create("log");
  REQUIRE((*writer)->append(as_bytes("a tail")).is_ok());
  REQUIRE((*writer)->sync().is_ok());
  const FileTable table = newest_table(disk.image(), kGeometry);
  CHECK(table.files.at("log").tail == "a tail");
  const auto encoded = table.encode();
  REQUIRE(encoded.is_ok());
  const std::uint32_t length = load_le<std::uint32_t>(encoded.value().data() + 16);

  int decoded_count = 0;
  for (int i = 0; i < 20'000; ++i) {
    Image bytes = encoded.value();
    const std::size_t at = below(random, length);
    bytes[at] ^= static_cast<std::byte>(1 + below(random, 255));
    CHECK_FALSE(FileTable::decode(bytes, kGeometry).is_ok());
    // The same with a checksum that fits: only the checks of the fields are left.
    store_le(bytes.data() + 12, std::uint32_t{0});
    store_le(bytes.data() + 12,
             crc32c(ByteSpan(bytes).first(std::min<std::size_t>(length, bytes.size()))));
    const auto decoded = FileTable::decode(bytes, kGeometry);
    if (!decoded) continue;
    ++decoded_count;
    const auto again = decoded.value().encode();
    REQUIRE(again.is_ok());
    CHECK(again.value() == bytes);
  }
  CHECK(decoded_count > 100);
  for (std::size_t cut = 0; cut < length; ++cut)
    CHECK_FALSE(FileTable::decode(ByteSpan(encoded.value()).first(cut), kGeometry).is_ok());
}
