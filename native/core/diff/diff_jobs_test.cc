// Export and import over descriptors: a chain of diffs makes equal disks, records that go back,
// streams that break off, readers that leave.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "../../test/budget.hh"
#include "base/ids.hh"
#include "base/zeros.hh"
#include "diff/diff_export_job.hh"
#include "diff/diff_import_job.hh"
#include "diff/diff_test.hh"
#include "qcow2/copy_test.hh"

namespace cairn::diff {

namespace {

using qcow2::content_of;
using qcow2::make_reactor;
using qcow2::memory_file;
using qcow2::run_job;
using qcow2::same_bytes;
using test::MemoryDevice;

constexpr std::uint64_t kMiB = 1 << 20;

// Hands over a list in batches, as the image's own job does.
ExtentsSource list_source(io::Reactor& reactor, std::vector<image::Extent> extents) {
  return [&reactor, extents = std::move(extents)](ExtentsReceiver receiver,
                                                  UniqueFunction<void(Status)> done) {
    struct List {
      io::Reactor& reactor;
      std::vector<image::Extent> left;
      ExtentsReceiver receiver;
      UniqueFunction<void(Status)> done;
      static void go_on(const std::shared_ptr<List>& list, const Status& status) {
        if (!list->done) return;
        if (!status || list->left.empty()) return std::exchange(list->done, nullptr)(status);
        const std::size_t length = std::min<std::size_t>(list->left.size(), 7);
        std::vector<image::Extent> batch(list->left.begin(),
                                         list->left.begin() + static_cast<long>(length));
        list->left.erase(list->left.begin(), list->left.begin() + static_cast<long>(length));
        list->reactor.post([list, batch = std::move(batch)] {
          list->receiver(batch, [list](const Status& next) { go_on(list, next); });
        });
      }
    };
    auto list =
        std::make_shared<List>(List{reactor, extents, std::move(receiver), std::move(done)});
    List::go_on(list, Status::ok());
    return [list] { List::go_on(list, {ErrorCode::canceled, "the source was canceled"}); };
  };
}

Status export_diff(io::Reactor& reactor, MemoryDevice& device, std::vector<image::Extent> extents,
                   int fd, const DiffHeader& header) {
  return run_job(reactor, [&](qcow2::CopyDone done) {
    return DiffExportJob::create(reactor, device, list_source(reactor, std::move(extents)), fd,
                                 {header, std::nullopt, false}, std::move(done));
  });
}

// Reads the diff's header, then applies it.
Status import_diff(io::Reactor& reactor, image::BlockDevice& device, int fd,
                   std::uint64_t zero_unit_bytes = kBlockBytes) {
  auto reader = DiffReader::open(reactor, fd);
  REQUIRE(reader.is_ok());
  Status outcome;
  bool at_header = false;
  while (!at_header && outcome.is_ok()) {
    const Result<DiffEvent> event = (*reader)->next();
    if (!event) return event.status();
    at_header = event.value().kind == EventKind::diff;
    if (at_header) break;
    REQUIRE(event.value().kind == EventKind::need_bytes);
    (*reader)->fill([&](Status status) {
      outcome = std::move(status);
      reactor.stop();
    });
    reactor.run();
  }
  if (!outcome) return outcome;
  return run_job(reactor, [&](qcow2::CopyDone done) {
    return DiffImportJob::create(reactor, device, *reader, zero_unit_bytes, std::move(done));
  });
}

Status check_file(io::Reactor& reactor, int fd) {
  auto reader = DiffReader::open(reactor, fd);
  REQUIRE(reader.is_ok());
  return run_job(reactor, [&](qcow2::CopyDone done) {
    (*reader)->check(std::move(done));
    return *reader;
  });
}

// Carries requests that are under way out in any order, as a cluster does.
class ShufflingDevice final : public image::BlockDevice {
 public:
  ShufflingDevice(io::Reactor& reactor, MemoryDevice& below, std::mt19937_64& random)
      : reactor_(reactor), below_(below), random_(random) {}
  std::uint64_t size_bytes() const override { return below_.size_bytes(); }
  bool read_only() const override { return false; }
  void read(std::uint64_t offset, std::uint64_t length, image::ReadDone done) override {
    below_.read(offset, length, std::move(done));
  }
  void write(std::uint64_t offset, Buffer data, image::WriteDone done) override {
    later([this, offset, data = std::move(data), done = std::move(done)]() mutable {
      below_.write(offset, std::move(data), std::move(done));
    });
  }
  void write_zeroes(std::uint64_t offset, std::uint64_t length, bool may_unmap,
                    image::WriteDone done) override {
    later([this, offset, length, may_unmap, done = std::move(done)]() mutable {
      below_.write_zeroes(offset, length, may_unmap, std::move(done));
    });
  }
  void discard(std::uint64_t offset, std::uint64_t length, image::WriteDone done) override {
    below_.discard(offset, length, std::move(done));
  }
  void flush(image::WriteDone done) override { below_.flush(std::move(done)); }
  void extents(std::uint64_t offset, std::uint64_t length, image::ExtentsDone done) override {
    below_.extents(offset, length, std::move(done));
  }

 private:
  void later(io::Task request) {
    waiting_.push_back(std::move(request));
    static_cast<void>(reactor_.run_after(random_() % 300'000, [this] {
      std::swap(waiting_[random_() % waiting_.size()], waiting_.back());
      io::Task next = std::move(waiting_.back());
      waiting_.pop_back();
      next();
    }));
  }

  io::Reactor& reactor_;
  MemoryDevice& below_;
  std::mt19937_64& random_;
  std::vector<io::Task> waiting_;
};

void rewind(const net::OwnedFd& fd) { REQUIRE(::lseek(fd.get(), 0, SEEK_SET) == 0); }

// Some writes, zeroings and discards; what they touched, in whole blocks.
std::vector<image::Extent> change(MemoryDevice& device, std::mt19937_64& random) {
  std::vector<image::Extent> extents;
  for (std::uint64_t at = random() % 64 * kBlockBytes; at < device.size_bytes();) {
    const std::uint64_t most = random() % 10 == 0 ? 900 : 20;
    const std::uint64_t length =
        std::min(device.size_bytes() - at, (random() % most + 1) * kBlockBytes);
    const auto state = static_cast<image::ExtentState>(random() % 3);
    std::byte* const bytes = device.bytes().data() + at;
    std::memset(bytes, 0, length);
    if (state == image::ExtentState::data) {
      // Some blocks of it are zeros.
      for (std::uint64_t i = 0; i < length; ++i)
        if (i / kBlockBytes % 5 != 3) bytes[i] = static_cast<std::byte>(random() % 256);
    }
    device.set_state(at, length, state);
    extents.push_back({at, length, state});
    at += length + random() % 60 * kBlockBytes;
  }
  return extents;
}

std::vector<std::byte> copy_of(MemoryDevice& device) {
  const auto bytes = device.bytes();
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("diff jobs: a chain of diffs makes an empty disk equal at each step") {
  std::mt19937_64 random(11);
  for (int round = 0; round < test::budgeted(6, 2); ++round) {
    auto reactor = make_reactor();
    const std::uint64_t size = 24 * kMiB + 512 * (static_cast<std::uint64_t>(round) % 2);
    MemoryDevice source(*reactor, size);
    MemoryDevice target(*reactor, size);
    for (int step = 0; step < 4; ++step) {
      const auto extents = change(source, random);
      const net::OwnedFd file = memory_file();
      DiffHeader header;
      header.version = static_cast<std::uint8_t>(round % 2 + 1);
      header.size_bytes = size;
      REQUIRE(export_diff(*reactor, source, extents, file.get(), header).is_ok());
      rewind(file);
      CHECK(check_file(*reactor, file.get()).is_ok());
      const Status imported = import_diff(*reactor, target, file.get());
      CHECK(imported.to_string() == "ok");
      CHECK(same_bytes(source.bytes(), target.bytes()));
      CHECK(source.most_in_flight_bytes <= 17 * kMiB);
      CHECK(target.most_in_flight_bytes <= 18 * kMiB);
      // Zeros take no payload.
      const auto content = content_of(file);
      const ReadDiffs read = read_diffs(content, [](ByteSpan left) { return left.size(); });
      std::uint64_t last_end = 0;
      for (const TestRecord& record : read.diffs.at(0).records) {
        CHECK(record.offset >= last_end);
        last_end = record.offset + record.length_bytes;
        if (record.zero) continue;
        for (std::size_t i = 0; i + kBlockBytes <= record.data.size(); i += kBlockBytes)
          CHECK_FALSE(all_zero(ByteSpan(record.data).subspan(i, kBlockBytes)));
      }
    }
  }
}

TEST_CASE("diff jobs: zeros of a write free space in units, others are written") {
  auto reactor = make_reactor();
  TestDiff diff;
  diff.header.version = 1;
  diff.header.size_bytes = 16 * kBlockBytes;
  TestRecord record{false, 0, std::vector<std::byte>(16 * kBlockBytes), 16 * kBlockBytes};
  for (const std::uint64_t block : {0, 6, 15}) record.data[block * kBlockBytes] = std::byte{1};
  diff.records.push_back(record);
  const net::OwnedFd file = memory_file(bytes_of(diff));
  const auto data_blocks = [&](std::uint64_t unit_blocks) {
    MemoryDevice device(*reactor, 16 * kBlockBytes);
    rewind(file);
    CHECK(import_diff(*reactor, device, file.get(), unit_blocks * kBlockBytes).is_ok());
    CHECK(std::equal(record.data.begin(), record.data.end(), device.bytes().begin()));
    std::string text;
    device.extents(0, 16 * kBlockBytes, [&](const Status&, std::vector<image::Extent> extents) {
      for (const image::Extent& extent : extents)
        text.append(extent.length_bytes / kBlockBytes,
                    extent.state == image::ExtentState::data ? 'd' : '.');
      reactor->stop();
    });
    reactor->run();
    return text;
  };
  CHECK(data_blocks(1) == "d.....d........d");
  CHECK(data_blocks(4) == "dddddddd....dddd");
  MemoryDevice device(*reactor, 16 * kBlockBytes);
  for (const std::uint64_t unit : {std::uint64_t{512}, 3 * kBlockBytes, 2 * kMiB}) {
    rewind(file);
    CHECK(import_diff(*reactor, device, file.get(), unit).code() == ErrorCode::invalid_argument);
  }
}

TEST_CASE("diff jobs: foreign records of any alignment and order; the last one wins") {
  std::mt19937_64 random(12);
  for (int round = 0; round < test::budgeted(30, 5); ++round) {
    auto reactor = make_reactor();
    TestDiff diff = random_diff(random, 300'000, round % 3 == 0 ? 90'000 : 5'000);
    if (round % 2 == 0) {
      const TestDiff more = random_diff(random, 300'000, 20'000);
      diff.records.insert(diff.records.end(), more.records.begin(), more.records.end());
      std::shuffle(diff.records.begin(), diff.records.end(), random);
    }
    MemoryDevice device(*reactor, 300'000);
    std::fill(device.bytes().begin(), device.bytes().end(), std::byte{0x5a});
    std::vector<std::byte> expected = copy_of(device);
    apply_to(diff, expected);
    const net::OwnedFd file = memory_file(bytes_of(diff));
    rewind(file);
    ShufflingDevice shuffling(*reactor, device, random);
    CHECK(import_diff(*reactor, shuffling, file.get()).is_ok());
    CHECK(same_bytes(device.bytes(), expected));
  }
}

TEST_CASE("diff jobs: a file that breaks off is refused, in part applied, and mends itself") {
  std::mt19937_64 random(13);
  auto reactor = make_reactor();
  const TestDiff diff = random_diff(random, 8 * kMiB, kMiB);
  const auto bytes = bytes_of(diff);
  MemoryDevice device(*reactor, 8 * kMiB);
  std::vector<std::byte> expected = copy_of(device);
  apply_to(diff, expected);
  for (const std::size_t length : {bytes.size() / 2, bytes.size() - 1}) {
    const net::OwnedFd file = memory_file(ByteSpan(bytes).first(length));
    rewind(file);
    const Status checked = check_file(*reactor, file.get());
    CHECK(checked.code() == ErrorCode::corrupt);
    CHECK(checked.message().find("breaks off") != std::string::npos);
    // check() has rewound it.
    const Status imported = import_diff(*reactor, device, file.get());
    CHECK(imported.code() == ErrorCode::corrupt);
    CHECK(imported.message().find("breaks off") != std::string::npos);
  }
  const net::OwnedFd file = memory_file(bytes);
  rewind(file);
  CHECK(import_diff(*reactor, device, file.get()).is_ok());
  CHECK(same_bytes(device.bytes(), expected));
}

TEST_CASE("diff jobs: through a pipe, from one to the other") {
  std::mt19937_64 random(14);
  auto reactor = make_reactor();
  MemoryDevice source(*reactor, 32 * kMiB), target(*reactor, 32 * kMiB);
  const auto extents = change(source, random);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  std::thread writer([&, fd = net::OwnedFd(ends[1])] {
    auto other = make_reactor();
    MemoryDevice copy(*other, source.size_bytes());
    std::copy(source.bytes().begin(), source.bytes().end(), copy.bytes().begin());
    DiffHeader header;
    header.size_bytes = source.size_bytes();
    CHECK(export_diff(*other, copy, extents, fd.get(), header).is_ok());
  });
  const net::OwnedFd read_end(ends[0]);
  const Status imported = import_diff(*reactor, target, read_end.get());
  writer.join();
  CHECK(imported.is_ok());
  CHECK(same_bytes(source.bytes(), target.bytes()));
}

TEST_CASE("diff jobs: an export ends when its reader leaves, its device fails, or it is canceled") {
  std::mt19937_64 random(15);
  for (const int how : {0, 1, 2}) {
    auto reactor = make_reactor();
    MemoryDevice device(*reactor, 64 * kMiB);
    const auto extents = change(device, random);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    net::OwnedFd read_end(ends[0]), write_end(ends[1]);
    if (how == 0) read_end = net::OwnedFd();
    if (how == 1) device.fail_with({ErrorCode::timed_out, "the test's device"});
    ::signal(SIGPIPE, SIG_IGN);
    DiffHeader header;
    header.size_bytes = device.size_bytes();
    const Status status = run_job(*reactor, [&](qcow2::CopyDone done) {
      auto job =
          DiffExportJob::create(*reactor, device, list_source(*reactor, extents), write_end.get(),
                                {header, std::nullopt, false}, std::move(done));
      // Nobody reads the pipe, so that the job is stuck by then.
      if (how == 2) static_cast<void>(reactor->run_after(20'000'000, [job] { job->cancel(); }));
      return job;
    });
    CHECK(status.code() == (how == 0   ? ErrorCode::io_error
                            : how == 1 ? ErrorCode::timed_out
                                       : ErrorCode::canceled));
  }
}

TEST_CASE("diff jobs: absent blocks of a clone are what the parent shows") {
  auto reactor = make_reactor();
  MemoryDevice device(*reactor, kMiB);
  std::fill_n(device.bytes().begin(), 4096, std::byte{7});
  for (const bool absent_is_parent : {false, true}) {
    const net::OwnedFd file = memory_file();
    DiffHeader header;
    header.size_bytes = kMiB;
    const Status status = run_job(*reactor, [&](qcow2::CopyDone done) {
      return DiffExportJob::create(
          *reactor, device, list_source(*reactor, {{0, 8192, image::ExtentState::absent}}),
          file.get(), {header, std::nullopt, absent_is_parent}, std::move(done));
    });
    CHECK(status.is_ok());
    const auto content = content_of(file);
    const ReadDiffs read = read_diffs(content, [](ByteSpan left) { return left.size(); });
    REQUIRE(read.diffs.size() == 1);
    CHECK(read.diffs[0].records.size() == (absent_is_parent ? 2 : 1));
    CHECK(read.diffs[0].records[0].zero == !absent_is_parent);
  }
}

TEST_CASE("diff jobs: a device that refuses ends the import") {
  std::mt19937_64 random(16);
  auto reactor = make_reactor();
  MemoryDevice device(*reactor, kMiB);
  device.fail_with({ErrorCode::fenced, "the test's device"});
  const net::OwnedFd file = memory_file(bytes_of(random_diff(random, kMiB, 50'000)));
  rewind(file);
  CHECK(import_diff(*reactor, device, file.get()).code() == ErrorCode::fenced);
}

}  // namespace cairn::diff
