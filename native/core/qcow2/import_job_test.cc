// Import jobs against a model: random layouts, pipes, holes, and every way to fail.
#include "qcow2/import_job.hh"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "qcow2/copy_test.hh"
#include "qcow2/raw_extents.hh"

namespace cairn::qcow2 {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kDeviceBytes = 48 * kMiB;

SourceExtent plain(std::uint64_t guest, std::uint64_t length, std::uint64_t host = 0) {
  SourceExtent extent;
  extent.guest_offset = guest;
  extent.length_bytes = length;
  extent.host_offset = host;
  return extent;
}

Status import_all(io::Reactor& reactor, test::MemoryDevice& device, std::vector<int> sources,
                  const std::vector<SourceExtent>& extents, CopyProgress* progress = nullptr) {
  std::shared_ptr<ImportJob> job;
  const Status status = run_job(reactor, [&](CopyDone done) {
    job = ImportJob::create(reactor, device, std::move(sources), {}, {}, std::move(done));
    REQUIRE(job->add(extents).is_ok());
    job->end();
    return job;
  });
  if (progress != nullptr) *progress = job->progress();
  return status;
}

}  // namespace

TEST_CASE("import: random layouts give the disk of the model, in bounded memory") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const bool blank = seed % 2 == 0;
    auto reactor = make_reactor();
    test::MemoryDevice device(*reactor, kDeviceBytes);
    std::vector<std::byte> before(kDeviceBytes, blank ? std::byte{} : std::byte{0x77});
    std::copy(before.begin(), before.end(), device.bytes().begin());
    const Layout layout(random, std::move(before));
    const net::OwnedFd first = memory_file(layout.files[0]), second = memory_file(layout.files[1]);
    // Fed in batches, the next when the job is hungry.
    std::shared_ptr<ImportJob> job;
    std::size_t fed = 0;
    const auto feed = [&] {
      const std::size_t count = std::min<std::size_t>(300, layout.extents.size() - fed);
      REQUIRE(job->add(std::span(layout.extents).subspan(fed, count)).is_ok());
      fed += count;
      if (fed == layout.extents.size()) job->end();
    };
    const Status status = run_job(*reactor, [&](CopyDone done) {
      const ImportOptions options{.max_in_flight_bytes = 16 * kMiB, .target_is_blank = blank};
      job = ImportJob::create(
          *reactor, device, {first.get(), second.get()}, options,
          [&] {
            if (fed < layout.extents.size()) feed();
          },
          std::move(done));
      return job;
    });
    CHECK(status.to_string() == Status().to_string());
    CHECK(same_bytes(device.bytes(), layout.disk));
    CHECK(device.most_in_flight_bytes <= 16 * kMiB);
    std::uint64_t total = 0;
    for (const SourceExtent& extent : layout.extents) total += extent.length_bytes;
    CHECK(job->progress().handled_bytes == total);
  }
}

TEST_CASE("import: zeros are not written, small clusters join to large writes") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, kDeviceBytes);
  std::vector<std::byte> content(8 * kMiB, std::byte{1});
  std::fill(content.begin() + 2 * kMiB, content.begin() + 6 * kMiB, std::byte{0});
  const net::OwnedFd file = memory_file(content);
  std::vector<SourceExtent> extents;
  for (std::uint64_t at = 0; at < content.size(); at += 65536)
    extents.push_back(plain(at, 65536, at));
  CopyProgress progress;
  CHECK(import_all(*reactor, device, {file.get()}, extents, &progress).is_ok());
  CHECK(device.writes == 4);
  CHECK(progress.written_bytes == 4 * kMiB);
  CHECK(progress.read_bytes == 8 * kMiB);
  CHECK(same_bytes(device.bytes().first(content.size()), content));
}

TEST_CASE("import: errors of file, cluster and device end the job with their code") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, kDeviceBytes);
  const net::OwnedFd file = memory_file(std::vector<std::byte>(100'000, std::byte{1}));
  Status status = import_all(*reactor, device, {file.get()}, {plain(0, 200'000)});
  CHECK(status.code() == ErrorCode::corrupt);
  SourceExtent damaged = plain(0, 65536);
  damaged.kind = SourceKind::zstd;
  damaged.compressed_bytes = 5000;
  damaged.cluster_bytes = 65536;
  status = import_all(*reactor, device, {file.get()}, {damaged});
  CHECK(status.code() == ErrorCode::corrupt);
  CHECK(status.message().find("host offset 0") != std::string::npos);
  device.fail_with({ErrorCode::no_space, "full"});
  status = import_all(*reactor, device, {file.get()}, {plain(0, 50'000), plain(30 * kMiB, 50'000)});
  CHECK(status.code() == ErrorCode::no_space);
  status = import_all(*reactor, device, {-1}, {plain(0, 50'000)});
  CHECK(status.code() == ErrorCode::io_error);
}

TEST_CASE("import: cancel waits for what is under way, then ends") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, kDeviceBytes);
  const net::OwnedFd file = memory_file(std::vector<std::byte>(40 * kMiB, std::byte{1}));
  device.hold(true);
  std::shared_ptr<ImportJob> job;
  const Status status = run_job(*reactor, [&](CopyDone done) {
    const ImportOptions options{.max_in_flight_bytes = 16 * kMiB};
    job = ImportJob::create(*reactor, device, {file.get()}, options, {}, std::move(done));
    REQUIRE(job->add(std::vector{plain(0, 40 * kMiB)}).is_ok());
    wait_until(
        *reactor, [&] { return device.in_flight_bytes == 16 * kMiB; },
        [&] {
          job->cancel();
          CHECK(job->add(std::vector{plain(41 * kMiB, 512)}).is_ok());
          device.hold(false);
        });
    return job;
  });
  CHECK(status.code() == ErrorCode::canceled);
  CHECK(device.in_flight_bytes == 0);
  CHECK(device.writes == 16);
}

TEST_CASE("import: an empty job, and one that ends later") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, kDeviceBytes);
  CHECK(import_all(*reactor, device, {}, {}).is_ok());
  const Status status = run_job(*reactor, [&](CopyDone done) {
    auto job = ImportJob::create(*reactor, device, {}, {}, {}, std::move(done));
    static_cast<void>(reactor->run_after(5'000'000, [job] { job->end(); }));
    return job;
  });
  CHECK(status.is_ok());
}

TEST_CASE("stream import: any length up to the device's") {
  std::mt19937_64 random(9);
  struct Case {
    std::uint64_t stream_bytes;
    ErrorCode expected;
  };
  const Case cases[] = {{0, ErrorCode::ok},        {1, ErrorCode::ok},
                        {3 * kMiB, ErrorCode::ok}, {5 * kMiB + 12345, ErrorCode::ok},
                        {6 * kMiB, ErrorCode::ok}, {6 * kMiB + 1, ErrorCode::too_large}};
  for (const Case& each : cases) {
    CAPTURE(each.stream_bytes);
    auto reactor = make_reactor();
    test::MemoryDevice device(*reactor, 6 * kMiB);
    std::vector<std::byte> content = random_bytes(random, each.stream_bytes);
    if (content.size() > 2 * kMiB) std::fill_n(content.begin() + 4096, kMiB, std::byte{0});
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    net::OwnedFd read_end(ends[0]);
    std::thread producer([&, write_end = ends[1]] {
      for (std::size_t at = 0; at < content.size();) {
        const std::size_t part = std::min<std::size_t>(content.size() - at, 10'000 + at % 7777);
        const ssize_t written = ::write(write_end, content.data() + at, part);
        if (written > 0) at += static_cast<std::size_t>(written);
        if (written < 0 && errno != EINTR) break;
      }
      ::close(write_end);
    });
    const Status status = run_job(*reactor, [&](CopyDone done) {
      return StreamImportJob::create(*reactor, device, read_end.get(), {}, std::move(done));
    });
    producer.join();
    CHECK(status.code() == each.expected);
    if (status) CHECK(same_bytes(device.bytes().first(content.size()), content));
    // The zeros inside stayed unwritten: absent from the first whole block on.
    if (status && content.size() > 2 * kMiB)
      CHECK(device.state(8192) == image::ExtentState::absent);
  }
}

TEST_CASE("stream import: cancel while the producer is silent") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, kDeviceBytes);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  const net::OwnedFd read_end(ends[0]), write_end(ends[1]);
  const Status status = run_job(*reactor, [&](CopyDone done) {
    auto job = StreamImportJob::create(*reactor, device, read_end.get(), {}, std::move(done));
    static_cast<void>(reactor->run_after(10'000'000, [job] { job->cancel(); }));
    return job;
  });
  CHECK(status.code() == ErrorCode::canceled);
}

TEST_CASE("raw extents: data and holes of a file, in batches") {
  net::OwnedFd file = memory_file();
  REQUIRE(::ftruncate(file.get(), 10 * kMiB + 100) == 0);
  REQUIRE(::pwrite(file.get(), "x", 1, 2 * kMiB) == 1);
  REQUIRE(::pwrite(file.get(), "y", 1, 10 * kMiB) == 1);
  RawExtents raw(file.get(), 3, 10 * kMiB + 100);
  std::vector<SourceExtent> all;
  while (true) {
    auto batch = raw.next(2);
    REQUIRE(batch.is_ok());
    if (batch->empty()) break;
    CHECK(batch->size() <= 2);
    all.insert(all.end(), batch->begin(), batch->end());
  }
  REQUIRE(all.size() == 4);
  CHECK(all[0].kind == SourceKind::zero);
  CHECK(all[1].kind == SourceKind::data);
  CHECK(all[1].guest_offset == 2 * kMiB);
  CHECK(all[1].source == 3);
  CHECK(all[2].kind == SourceKind::zero);
  CHECK(all[3].length_bytes == 100);
  RawExtents closed(-1, 0, 4096);
  CHECK(closed.next(2).status().code() == ErrorCode::io_error);
}

}  // namespace cairn::qcow2
