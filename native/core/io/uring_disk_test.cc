// UringDisk on real files in the current directory (the build folder).
#include "io/uring_disk.hh"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "io/uring_test_support.hh"

namespace cairn::io {

TEST_CASE("what was written is read back, by both halves, and after opening again") {
  auto reactor = make_reactor();
  TemporaryPath file("data");
  UringDisk::Options options = new_file(kMiB);
  SUBCASE("durable writes are followed by a flush") { options.writes_through = false; }
  SUBCASE("durable writes are single writes") { options.writes_through = true; }
  auto disk = open_disk(*reactor, file.path, options);
  CHECK(disk->size_bytes() == kMiB);
  for (const bool durable : {false, true}) {
    const int value = durable ? 7 : 5;
    CHECK(wait_for(*reactor, [&](DiskDone done) {
      disk->write(8192, {filled(4096, value), filled(8192, value + 1)}, durable, std::move(done));
    }));
    Buffer into = Buffer::zeroed(12288);
    CHECK(wait_for(*reactor, [&](DiskDone done) { disk->read(8192, into, std::move(done)); }));
    CHECK(all_are(into.span().first(4096), value));
    CHECK(all_are(into.span().subspan(4096), value + 1));
  }
  CHECK(wait_for(*reactor, [&](DiskDone done) { disk->flush(std::move(done)); }));
  CHECK(disk->write_now(0, filled(4096, 3).span()));
  CHECK(disk->flush_now());
  disk.reset();
  disk = open_disk(*reactor, file.path, {});
  CHECK(disk->size_bytes() == kMiB);
  Buffer into = Buffer::zeroed(12288);
  CHECK(disk->read_now(0, into.span()));
  CHECK(all_are(into.span().first(4096), 3));
  CHECK(all_are(into.span().subspan(4096, 4096), 0));
  CHECK(all_are(into.span().subspan(8192), 7));
}

TEST_CASE("many requests at once, and one with more buffers than a system call takes") {
  auto reactor = make_reactor();
  TemporaryPath file("many");
  constexpr std::size_t kBlocks = 2500;  // IOV_MAX is 1024
  auto disk = open_disk(*reactor, file.path, new_file(kBlocks * 4096));
  std::size_t left = kBlocks;
  for (std::size_t i = 0; i < kBlocks; ++i)
    disk->write(i * 4096, {filled(4096, static_cast<int>(i % 251))}, false, [&](Status status) {
      CHECK(status);
      if (--left == 0) reactor->stop();
    });
  reactor->run();
  const auto check_blocks = [&](std::size_t shift) {
    Buffer all = Buffer::allocate(kBlocks * 4096);
    CHECK(wait_for(*reactor, [&](DiskDone done) { disk->read(0, all, std::move(done)); }));
    bool equal = true;
    for (std::size_t i = 0; i < kBlocks; ++i)
      equal =
          equal && all_are(all.span().subspan(i * 4096, 4096), static_cast<int>((i + shift) % 251));
    CHECK(equal);
  };
  check_blocks(0);
  std::vector<Buffer> buffers;
  for (std::size_t i = 0; i < kBlocks; ++i)
    buffers.push_back(filled(4096, static_cast<int>((i + 1) % 251)));
  CHECK(wait_for(
      *reactor, [&](DiskDone done) { disk->write(0, std::move(buffers), true, std::move(done)); }));
  check_blocks(1);
}

TEST_CASE("a second opener is refused with busy and the name of the file") {
  auto reactor = make_reactor();
  TemporaryPath file("lock");
  auto disk = open_disk(*reactor, file.path, new_file(kMiB));
  auto second = UringDisk::open(*reactor, file.path, {});
  REQUIRE_FALSE(second.is_ok());
  CHECK(second.status().code() == ErrorCode::busy);
  CHECK(second.status().message().find(file.path) != std::string::npos);
  disk.reset();
  CHECK(UringDisk::open(*reactor, file.path, {}).is_ok());
}

TEST_CASE("opening: clear errors, and nothing half-made is left behind") {
  auto reactor = make_reactor();
  TemporaryPath file("errors");
  const auto code = [&](const std::string& path, const UringDisk::Options& options) {
    return UringDisk::open(*reactor, path, options).status().code();
  };
  CHECK(code(file.path, {}) == ErrorCode::not_found);
  CHECK(code(file.path, new_file(0)) == ErrorCode::invalid_argument);
  CHECK(code(file.path, new_file(1000)) == ErrorCode::invalid_argument);
  CHECK(code(file.path, new_file(std::uint64_t{1} << 62)) != ErrorCode::ok);
  CHECK(::access(file.path.c_str(), F_OK) != 0);
  CHECK(code("no-such-folder/disk", new_file(kMiB)) == ErrorCode::not_found);
  CHECK(code("/dev/null", {}) != ErrorCode::ok);
  CHECK(code(".", {}) != ErrorCode::ok);
  CHECK(code(file.path, new_file(kMiB)) == ErrorCode::ok);
  CHECK(code(file.path, new_file(kMiB)) == ErrorCode::already_exists);
  struct stat info {};
  REQUIRE(::stat(file.path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(static_cast<std::uint64_t>(info.st_size) == kMiB);
}

TEST_CASE("requests past the end are out_of_range, and a file that shrank is a read error") {
  auto reactor = make_reactor();
  TemporaryPath file("range");
  auto disk = open_disk(*reactor, file.path, new_file(kMiB));
  Buffer block = filled(8192, 1);
  const auto refused = [&](const std::function<void(DiskDone)>& start) {
    return wait_for(*reactor, start).code() == ErrorCode::out_of_range;
  };
  CHECK(refused([&](DiskDone done) { disk->read(kMiB - 4096, block, std::move(done)); }));
  CHECK(refused([&](DiskDone done) { disk->write(kMiB, {block}, false, std::move(done)); }));
  CHECK(refused([&](DiskDone done) { disk->discard(4096, kMiB, std::move(done)); }));
  CHECK(disk->read_now(~std::uint64_t{4095}, block.span()).code() == ErrorCode::out_of_range);
  CHECK(disk->write_now(kMiB - 4096, block.span()).code() == ErrorCode::out_of_range);
  REQUIRE(::truncate(file.path.c_str(), kMiB / 2) == 0);
  const Status cut = wait_for(
      *reactor, [&](DiskDone done) { disk->read(kMiB / 2 - 4096, block, std::move(done)); });
  CHECK(cut.code() == ErrorCode::io_error);
  CHECK(disk->read_now(kMiB / 2, block.span()).code() == ErrorCode::io_error);
}

TEST_CASE("discard gives space back to the file system") {
  auto reactor = make_reactor();
  TemporaryPath file("discard");
  auto disk = open_disk(*reactor, file.path, new_file(4 * kMiB));
  auto space = disk->space();
  REQUIRE(space.is_ok());
  const std::uint64_t empty = space->allocated_bytes;
  CHECK(space->total_bytes >= space->available_bytes);
  CHECK(wait_for(*reactor, [&](DiskDone done) {
    disk->write(0, {filled(2 * kMiB, 1)}, true, std::move(done));
  }));
  CHECK(disk->space()->allocated_bytes >= empty + 2 * kMiB);
  CHECK(wait_for(*reactor, [&](DiskDone done) { disk->discard(0, 2 * kMiB, std::move(done)); }));
  CHECK(disk->space()->allocated_bytes < empty + kMiB);
}

TEST_CASE("without direct I/O, and where the file system has none") {
  auto reactor = make_reactor();
  TemporaryPath file("buffered");
  auto disk = open_disk(*reactor, file.path, {true, kMiB, false});
  CHECK_FALSE(disk->is_direct());
  CHECK(wait_for(*reactor, [&](DiskDone done) {
    disk->write(4096, {filled(4096, 9)}, true, std::move(done));
  }));
  Buffer into = Buffer::zeroed(4096);
  CHECK(wait_for(*reactor, [&](DiskDone done) { disk->read(4096, into, std::move(done)); }));
  CHECK(all_are(into.span(), 9));
}

TEST_CASE("a disk destroyed with requests in flight drops their completions, not their memory") {
  auto reactor = make_reactor();
  TemporaryPath file("gone");
  auto disk = open_disk(*reactor, file.path, new_file(kMiB));
  int calls = 0;
  reactor->post([&] {
    for (int i = 0; i < 50; ++i) {
      disk->read(0, Buffer::allocate(65536), [&](Status) { ++calls; });
      disk->write(65536, {filled(65536, i)}, true, [&](Status) { ++calls; });
    }
    reactor->post([&] { disk.reset(); });
    disk->read(kMiB, Buffer::allocate(4096), [&](Status) { ++calls; });  // refused by a task
  });
  reactor->run_after(1'000'000, [&] { reactor->stop(); });
  SUBCASE("the reactor goes on") { reactor->run(); }
  SUBCASE("the reactor is stopped and destroyed, the loop ran on another thread") {
    std::thread loop([&] { reactor->run(); });
    loop.join();
    reactor.reset();
  }
  CHECK(calls == 0);
  CHECK(disk == nullptr);
}

}  // namespace cairn::io
