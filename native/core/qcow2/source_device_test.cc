// Image files as a disk: random layouts against the model, damage, and what is refused.
#include "qcow2/source_device.hh"

#include <sys/stat.h>
#include <unistd.h>

#include "qcow2/copy_test.hh"

namespace cairn::qcow2 {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kDiskBytes = 12 * kMiB;

struct Answer {
  Status status;
  Buffer data;
};

// Many reads at a time, to their end.
std::vector<Answer> read_all(io::Reactor& reactor, SourceDevice& device,
                             const std::vector<std::pair<std::uint64_t, std::uint64_t>>& ranges) {
  std::vector<Answer> answers(ranges.size());
  std::size_t left = ranges.size();
  reactor.post([&] {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      device.read(ranges[i].first, ranges[i].second, [&, i](Status status, Buffer data) {
        answers[i] = {std::move(status), std::move(data)};
        if (--left == 0) reactor.stop();
      });
    }
  });
  reactor.run();
  return answers;
}

std::unique_ptr<SourceDevice> open_device(io::Reactor& reactor, const Layout& layout,
                                          const net::OwnedFd& first, const net::OwnedFd& second) {
  const int fds[] = {first.get(), second.get()};
  auto device = SourceDevice::open(reactor, fds, layout.extents, layout.disk.size());
  REQUIRE(device.status().to_string() == "ok");
  return std::move(*device);
}

}  // namespace

TEST_CASE("source device: random reads of random layouts give the disk of the model") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    auto reactor = make_reactor();
    const Layout layout(random, std::vector<std::byte>(kDiskBytes));
    std::unique_ptr<SourceDevice> device;
    {
      const net::OwnedFd first = memory_file(layout.files[0]);
      const net::OwnedFd second = memory_file(layout.files[1]);
      device = open_device(*reactor, layout, first, second);
    }  // the device has descriptors of its own
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges = {{0, kDiskBytes}, {7, 0}};
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t offset = random() % kDiskBytes;
      ranges.emplace_back(offset, random() % std::min(kDiskBytes - offset, 300'000UL));
    }
    const std::vector<Answer> answers = read_all(*reactor, *device, ranges);
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      INFO("range ", ranges[i].first, "+", ranges[i].second);
      REQUIRE(answers[i].status.to_string() == "ok");
      CHECK(same_bytes(answers[i].data.span(),
                       std::span(layout.disk).subspan(ranges[i].first, ranges[i].second)));
      CHECK(answers[i].data.size() == ranges[i].second);
    }
  }
}

TEST_CASE("source device: extents are those of the layout, cut at the range") {
  std::mt19937_64 random(9);
  auto reactor = make_reactor();
  const Layout layout(random, std::vector<std::byte>(kDiskBytes));
  const net::OwnedFd first = memory_file(layout.files[0]), second = memory_file(layout.files[1]);
  const auto device = open_device(*reactor, layout, first, second);
  std::vector<image::ExtentState> states(kDiskBytes / 512, image::ExtentState::absent);
  for (const SourceExtent& extent : layout.extents) {
    for (std::uint64_t at = 0; at < extent.length_bytes; at += 512)
      states[(extent.guest_offset + at) / 512] =
          extent.kind == SourceKind::zero ? image::ExtentState::zero : image::ExtentState::data;
  }
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t offset = random() % (kDiskBytes / 512) * 512;
    const std::uint64_t length = random() % (kDiskBytes - offset) / 512 * 512;
    device->extents(offset, length, [&](const Status& status, std::vector<image::Extent> found) {
      CHECK(status.is_ok());
      std::uint64_t next = offset;
      for (const image::Extent& extent : found) {
        REQUIRE(extent.offset == next);
        next += extent.length_bytes;
        for (std::uint64_t at = extent.offset; at < next; at += 512)
          REQUIRE(states[at / 512] == extent.state);
      }
      CHECK(next == offset + length);
    });
  }
}

TEST_CASE("source device: damage is an error, and of its cluster only") {
  std::mt19937_64 random(10);
  auto reactor = make_reactor();
  Layout layout(random, std::vector<std::byte>(kDiskBytes));
  const auto packed = std::find_if(layout.extents.begin(), layout.extents.end(),
                                   [](const auto& e) { return e.kind == SourceKind::zstd; });
  REQUIRE(packed != layout.extents.end());
  layout.files[packed->source][packed->host_offset] ^= std::byte{0xff};
  const net::OwnedFd first = memory_file(layout.files[0]), second = memory_file(layout.files[1]);
  const auto device = open_device(*reactor, layout, first, second);
  const SourceExtent& last = layout.extents.back();
  const auto answers = read_all(*reactor, *device,
                                {{packed->guest_offset, 512},
                                 {packed->guest_offset, 512},
                                 {last.guest_offset, last.length_bytes},
                                 {kDiskBytes - 1, 2}});
  CHECK(answers[0].status.code() == ErrorCode::corrupt);
  CHECK(answers[1].status.code() == ErrorCode::corrupt);
  CHECK(answers[2].status.is_ok());
  CHECK(answers[3].status.code() == ErrorCode::out_of_range);
  int refused = 0;
  const auto count = [&refused](const Status& status) {
    refused += status.code() == ErrorCode::read_only ? 1 : 0;
  };
  device->write(0, Buffer::zeroed(512), count);
  device->write_zeroes(0, 512, true, count);
  device->discard(0, 4096, count);
  CHECK(refused == 3);

  SourceExtent behind;  // of a file that is shorter
  behind.length_bytes = kMiB;
  const net::OwnedFd small = memory_file(random_bytes(random, 1000));
  const int fds[] = {small.get()};
  auto truncated = SourceDevice::open(*reactor, fds, {behind}, kMiB);
  REQUIRE(truncated.is_ok());
  CHECK(read_all(*reactor, **truncated, {{500, 600}})[0].status.code() == ErrorCode::corrupt);
  CHECK(read_all(*reactor, **truncated, {{500, 500}})[0].status.is_ok());
}

TEST_CASE("source device: extents out of order, or that name no file, are refused") {
  auto reactor = make_reactor();
  const net::OwnedFd file = memory_file();
  const int fds[] = {file.get()};
  SourceExtent one;
  one.guest_offset = 8192;
  one.length_bytes = 4096;
  SourceExtent two = one;
  two.guest_offset = 4096;
  CHECK_FALSE(SourceDevice::open(*reactor, fds, {one, two}, kMiB).is_ok());
  CHECK(SourceDevice::open(*reactor, fds, {two, one}, kMiB).is_ok());
  CHECK_FALSE(SourceDevice::open(*reactor, fds, {one}, 10'000).is_ok());
  one.source = 1;
  CHECK_FALSE(SourceDevice::open(*reactor, fds, {one}, kMiB).is_ok());
  const int closed[] = {-1};
  CHECK_FALSE(SourceDevice::open(*reactor, closed, {}, kMiB).is_ok());
}

namespace {

// Remote files of which at most so much is kept.
void check_remote(std::uint64_t max_kept_bytes) {
  std::mt19937_64 random(11);
  auto reactor = make_reactor();
  const Layout layout(random, std::vector<std::byte>(kDiskBytes));
  // Zeros, until a chunk is fetched.
  const std::vector<std::byte> empty[] = {std::vector<std::byte>(layout.files[0].size()),
                                          std::vector<std::byte>(layout.files[1].size())};
  const net::OwnedFd fds[] = {memory_file(empty[0]), memory_file(empty[1])};
  const int numbers[] = {fds[0].get(), fds[1].get()};
  std::shared_ptr<RemoteRanges> remote;
  bool away = false, closed = false;
  RemoteRanges::Hooks hooks;
  hooks.wanted = [&](std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
    reactor->post([&, source, offset, length] {
      if (away) return remote->fetched(source, offset, length, {ErrorCode::io_error, "away"});
      const auto* const bytes = layout.files[source].data() + offset;
      REQUIRE(::pwrite(numbers[source], bytes, length, static_cast<off_t>(offset)) ==
              static_cast<ssize_t>(length));
      remote->fetched(source, offset, length, Status::ok());
    });
  };
  hooks.closed = [&closed] { closed = true; };
  remote = std::make_shared<RemoteRanges>(
      65536, std::vector<std::uint64_t>{layout.files[0].size(), layout.files[1].size()},
      max_kept_bytes, std::move(hooks));
  auto device = SourceDevice::open(*reactor, numbers, layout.extents, layout.disk.size(), remote);
  REQUIRE(device.status().to_string() == "ok");
  away = true;
  const auto failed = read_all(*reactor, **device, {{0, kDiskBytes}});
  CHECK(failed[0].status.code() == ErrorCode::io_error);
  away = false;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges = {{0, kDiskBytes}};
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t offset = random() % kDiskBytes;
    ranges.emplace_back(offset, random() % (kDiskBytes - offset));
  }
  const auto answers = read_all(*reactor, **device, ranges);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    REQUIRE(answers[i].status.to_string() == "ok");
    CHECK(same_bytes(answers[i].data.span(),
                     std::span(layout.disk).subspan(ranges[i].first, ranges[i].second)));
  }
  CHECK(remote->kept_bytes() <= max_kept_bytes);
  std::uint64_t used_bytes = 0;
  for (const int number : numbers) {
    struct stat attributes = {};
    REQUIRE(::fstat(number, &attributes) == 0);
    used_bytes += static_cast<std::uint64_t>(attributes.st_blocks) * 512;
  }
  CHECK(used_bytes <= max_kept_bytes + 2 * kBlockBytes);
  *device = nullptr;
  remote.reset();
  CHECK(closed);
}

}  // namespace

TEST_CASE("source device: remote files are read when their chunks have come, and fail with them") {
  check_remote(kMiB * 1024);
}

TEST_CASE("source device: of remote files no more is kept than may be, and all is read right") {
  check_remote(200'000);
}

}  // namespace cairn::qcow2
