// Export jobs: sparse files, streams in order, and readers that leave.
#include "qcow2/export_job.hh"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <thread>

#include "qcow2/copy_test.hh"

namespace cairn::qcow2 {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// A disk with data, zeros inside data, explicit zeros and absent ranges.
void fill(test::MemoryDevice& device, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::uint64_t at = 0; at < device.size_bytes();) {
    const std::uint64_t length =
        std::min(device.size_bytes() - at, (random() % 300 + 1) * kBlockBytes);
    const auto state = static_cast<image::ExtentState>(random() % 3);
    if (state == image::ExtentState::data && random() % 4 != 0) {
      const auto bytes = random_bytes(random, length);
      std::copy(bytes.begin(), bytes.end(), device.bytes().begin() + static_cast<long>(at));
    }
    device.set_state(at, length, state);
    at += length;
  }
}

Status export_stream(io::Reactor& reactor, test::MemoryDevice& device, int fd) {
  return run_job(reactor, [&](CopyDone done) {
    const ExportOptions options{.target = ExportTarget::stream};
    return ExportJob::create(reactor, device, fd, options, std::move(done));
  });
}

}  // namespace

TEST_CASE("export: a sparse file equals the disk and has holes") {
  for (const std::uint64_t size : {std::uint64_t{4096}, 33 * kMiB + 512, 200 * kMiB}) {
    auto reactor = make_reactor();
    test::MemoryDevice device(*reactor, size);
    fill(device, size);
    const net::OwnedFd file = memory_file();
    std::shared_ptr<ExportJob> job;
    const Status status = run_job(*reactor, [&](CopyDone done) {
      return job = ExportJob::create(*reactor, device, file.get(), {}, std::move(done));
    });
    CHECK(status.is_ok());
    CHECK(same_bytes(content_of(file), device.bytes()));
    CHECK(job->progress().handled_bytes == size);
    CHECK(device.most_in_flight_bytes <= 16 * kMiB);
    struct stat attributes {};
    REQUIRE(::fstat(file.get(), &attributes) == 0);
    CHECK(static_cast<std::uint64_t>(attributes.st_blocks) * 512 <=
          job->progress().written_bytes + kBlockBytes);
    if (size > kMiB) CHECK(job->progress().written_bytes < size / 2);
  }
}

TEST_CASE("export: what the device has nothing in is not asked about") {
  constexpr std::uint64_t kSize = 4096 * kMiB + 512;
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, kSize);
  const image::ByteRanges ranges{{kMiB, 2 * kMiB}, {900 * kMiB, 901 * kMiB}, {4095 * kMiB, kSize}};
  for (const auto& [begin, end] : ranges) {
    std::memset(device.bytes().data() + begin, 7, end - begin);
    device.set_state(begin, end - begin, image::ExtentState::data);
  }
  device.known_populated = ranges;
  const net::OwnedFd file = memory_file();
  std::shared_ptr<ExportJob> job;
  CHECK(run_job(*reactor, [&](CopyDone done) {
          return job = ExportJob::create(*reactor, device, file.get(), {}, std::move(done));
        }).is_ok());
  CHECK(job->progress().handled_bytes == kSize);
  CHECK(job->progress().written_bytes == 3 * kMiB + 512);
  CHECK(device.asked_extent_bytes <= 3 * 64 * kMiB);
  for (const auto& [begin, end] : ranges) {
    std::vector<std::byte> found(end - begin);
    REQUIRE(::pread(file.get(), found.data(), found.size(), static_cast<off_t>(begin)) ==
            static_cast<ssize_t>(found.size()));
    CHECK(std::memcmp(found.data(), device.bytes().data() + begin, found.size()) == 0);
  }
}

TEST_CASE("export: a device that can't list what it has is asked for everything") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, 3 * kMiB);
  fill(device, 9);
  device.populated_status = Status(ErrorCode::io_error, "a disk can't be read");
  const net::OwnedFd file = memory_file();
  CHECK(run_job(*reactor, [&](CopyDone done) {
          return ExportJob::create(*reactor, device, file.get(), {}, std::move(done));
        }).is_ok());
  std::vector<std::byte> found(3 * kMiB);
  REQUIRE(::pread(file.get(), found.data(), found.size(), 0) == static_cast<ssize_t>(found.size()));
  CHECK(std::memcmp(found.data(), device.bytes().data(), found.size()) == 0);
}

TEST_CASE("export: a stream gets every byte in order") {
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, 33 * kMiB + 512);
  fill(device, 5);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  // As Node leaves its standard output.
  REQUIRE(::fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
  std::vector<std::byte> received;
  std::thread consumer([&, read_end = net::OwnedFd(ends[0])] {
    std::vector<std::byte> part(100'000);
    ssize_t got = 0;
    while ((got = ::read(read_end.get(), part.data(), part.size())) != 0)
      if (got > 0) received.insert(received.end(), part.begin(), part.begin() + got);
  });
  const Status status = export_stream(*reactor, device, ends[1]);
  ::close(ends[1]);
  consumer.join();
  CHECK(status.is_ok());
  CHECK(same_bytes(received, device.bytes()));
}

TEST_CASE("export: a reader that leaves, a full disk, a failing device, a cancel") {
  std::signal(SIGPIPE, SIG_IGN);
  auto reactor = make_reactor();
  test::MemoryDevice device(*reactor, 33 * kMiB);
  device.set_state(0, 33 * kMiB, image::ExtentState::data);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const net::OwnedFd write_end(ends[1]);
  ::close(ends[0]);
  CHECK(export_stream(*reactor, device, write_end.get()).code() == ErrorCode::io_error);

  const net::OwnedFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  CHECK(export_stream(*reactor, device, full.get()).code() == ErrorCode::no_space);

  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const net::OwnedFd silent(ends[0]), stuck(ends[1]);
  const Status canceled = run_job(*reactor, [&](CopyDone done) {
    const ExportOptions options{.target = ExportTarget::stream};
    auto job = ExportJob::create(*reactor, device, stuck.get(), options, std::move(done));
    static_cast<void>(reactor->run_after(20'000'000, [job] { job->cancel(); }));
    return job;
  });
  CHECK(canceled.code() == ErrorCode::canceled);
  CHECK(device.in_flight_bytes == 0);

  device.fail_with({ErrorCode::timed_out, "no answer"});
  const net::OwnedFd file = memory_file();
  const Status failed = run_job(*reactor, [&](CopyDone done) {
    return ExportJob::create(*reactor, device, file.get(), {}, std::move(done));
  });
  CHECK(failed.code() == ErrorCode::timed_out);
}

}  // namespace cairn::qcow2
