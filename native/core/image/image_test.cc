// Striping over a simulated cluster of three OSDs: ranges over object borders, zeroing and
// discarding at any alignment, extents, refusals; and random operations against a model.
#include "image/image.hh"

#include <algorithm>
#include <cstring>

#include "io/random.hh"
#include "pg/sim_osds.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kObjectBytes = std::uint64_t{64} << 10;
// The last object is not whole, and its last block neither.
constexpr std::uint64_t kImageBytes = 7 * kObjectBytes + 3 * kBlockBytes + 512;

// An image, and what it should hold.
struct Disk {
  explicit Disk(std::uint64_t seed, net::SimNetworkConfig network = {}, bool read_only = false)
      : cluster(seed, network),
        image(cluster.executor, *cluster.client,
              {pg::kTestPg.pool, "rbd_data.1", kImageBytes, kObjectBytes, read_only}) {
    cluster.new_interval({0, 1, 2});
  }

  // Runs a call that takes a WriteDone to its end.
  template <typename Call>
  Status finish(Call call) {
    bool answered = false;
    Status outcome;
    call([&](Status status) {
      answered = true;
      outcome = std::move(status);
    });
    CHECK_FALSE(answered);  // never inside the call
    cluster.run_until([&answered] { return answered; });
    return outcome;
  }

  Status write(std::uint64_t offset, std::uint64_t length, int value) {
    Buffer data = Buffer::allocate(length);
    std::memset(data.data(), value, length);
    const Status status =
        finish([&](WriteDone done) { image.write(offset, data, std::move(done)); });
    if (status) fill(offset, offset + length, value);
    return status;
  }

  Status zero(std::uint64_t offset, std::uint64_t length, bool may_unmap) {
    const Status status = finish(
        [&](WriteDone done) { image.write_zeroes(offset, length, may_unmap, std::move(done)); });
    if (status) fill(offset, offset + length, 0);
    return status;
  }

  // Whole blocks inside the range become zeros, the others keep their bytes.
  Status discard(std::uint64_t offset, std::uint64_t length) {
    const Status status =
        finish([&](WriteDone done) { image.discard(offset, length, std::move(done)); });
    const std::uint64_t begin = (offset + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    const std::uint64_t end = (offset + length) / kBlockBytes * kBlockBytes;
    if (status && begin < end) fill(begin, end, 0);
    return status;
  }

  Status read(std::uint64_t offset, std::uint64_t length, Buffer& into) {
    return finish([&](WriteDone done) {
      image.read(offset, length,
                 [&into, done = std::move(done)](Status status, Buffer data) mutable {
                   into = std::move(data);
                   done(std::move(status));
                 });
    });
  }

  void check(std::uint64_t offset, std::uint64_t length) {
    Buffer data;
    CHECK(read(offset, length, data).to_string() == "ok");
    REQUIRE(data.size() == length);
    const auto expected = model.begin() + static_cast<std::ptrdiff_t>(offset);
    const bool equal = std::equal(data.span().begin(), data.span().end(), expected);
    CHECK_MESSAGE(equal, "read of ", length, " bytes at ", offset);
  }
  void check() { check(0, kImageBytes); }

  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length) {
    std::vector<Extent> found;
    const Status status = finish([&](WriteDone done) {
      image.extents(offset, length,
                    [&found, done = std::move(done)](Status s, std::vector<Extent> list) mutable {
                      found = std::move(list);
                      done(std::move(s));
                    });
    });
    CHECK(status.to_string() == "ok");
    return found;
  }

  void fill(std::uint64_t begin, std::uint64_t end, int value) {
    std::fill(model.begin() + static_cast<std::ptrdiff_t>(begin),
              model.begin() + static_cast<std::ptrdiff_t>(end), static_cast<std::byte>(value));
  }

  pg::SimOsds cluster;
  Image image;
  std::vector<std::byte> model = std::vector<std::byte>(kImageBytes);
};

std::string text_of(const std::vector<Extent>& extents) {
  std::string text;
  for (const Extent& extent : extents) {
    const char* state = extent.state == ExtentState::data   ? "data"
                        : extent.state == ExtentState::zero ? "zero"
                                                            : "absent";
    text += state + (" " + std::to_string(extent.offset)) + "+" +
            std::to_string(extent.length_bytes) + "; ";
  }
  return text;
}

std::string data_object(int number) {
  return "rbd_data.1.000000000000000" + std::to_string(number);
}

}  // namespace

TEST_CASE("image: what was never written reads as zeros and takes no object") {
  Disk disk(1);
  disk.check();
  CHECK(disk.cluster.digest(0, data_object(0)).starts_with("absent"));
  CHECK(text_of(disk.extents(0, kImageBytes)) == "absent 0+" + std::to_string(kImageBytes) + "; ");
}

TEST_CASE("image: unaligned ranges over object borders") {
  Disk disk(2);
  CHECK(disk.write(kObjectBytes - 1000, 3000, 1).is_ok());
  CHECK(disk.cluster.digest(0, data_object(0)).starts_with("exists"));
  CHECK(disk.cluster.digest(0, data_object(1)).starts_with("exists"));
  CHECK(disk.cluster.digest(0, data_object(2)).starts_with("absent"));
  CHECK(disk.write(kObjectBytes / 2 + 1, 3 * kObjectBytes, 2).is_ok());
  CHECK(disk.write(3 * kObjectBytes, kObjectBytes, 3).is_ok());
  CHECK(disk.write(kImageBytes - 1, 1, 4).is_ok());
  disk.check();
  disk.check(kObjectBytes - 1, 2);
  disk.check(kObjectBytes - 700, 2 * kObjectBytes + 1400);
}

TEST_CASE("image: zeroing takes exactly its bytes, with and without giving the space back") {
  for (const bool may_unmap : {false, true}) {
    Disk disk(3);
    CHECK(disk.write(0, 3 * kObjectBytes, 1).is_ok());
    CHECK(disk.zero(100, 50, may_unmap).is_ok());     // inside a block
    CHECK(disk.zero(5000, 4000, may_unmap).is_ok());  // two blocks, none whole
    CHECK(disk.zero(3 * kBlockBytes - 1, kBlockBytes + 2, may_unmap).is_ok());  // one whole block
    CHECK(disk.zero(kObjectBytes - 5, kObjectBytes + 10, may_unmap).is_ok());   // a whole object
    disk.check();
    const std::vector<Extent> extents = disk.extents(3 * kBlockBytes, kBlockBytes);
    REQUIRE(extents.size() == 1);
    CHECK(extents[0].state == (may_unmap ? ExtentState::absent : ExtentState::zero));
  }
}

TEST_CASE("image: a discard gives back whole blocks and whole objects, and no byte beside them") {
  Disk disk(4);
  CHECK(disk.write(0, kImageBytes, 1).is_ok());
  CHECK(disk.discard(100, 200).is_ok());
  CHECK(disk.discard(kBlockBytes - 1, 2 * kBlockBytes).is_ok());
  CHECK(disk.discard(kObjectBytes - 1, kObjectBytes + kBlockBytes + 1).is_ok());
  CHECK(disk.discard(kImageBytes - kBlockBytes, kBlockBytes).is_ok());
  disk.check();
  CHECK(disk.cluster.digest(0, data_object(1)).starts_with("absent"));
  CHECK(disk.cluster.digest(0, data_object(0)).starts_with("exists"));
  CHECK(disk.discard(0, kImageBytes).is_ok());
  disk.check();
}

TEST_CASE("image: extents tell data, zeros and holes, merged over object borders") {
  Disk disk(5);
  CHECK(disk.write(kObjectBytes - kBlockBytes, 2 * kBlockBytes, 1).is_ok());
  CHECK(disk.zero(kObjectBytes + kBlockBytes, kBlockBytes, false).is_ok());
  CHECK(text_of(disk.extents(kObjectBytes - 2 * kBlockBytes, 6 * kBlockBytes)) ==
        "absent 57344+4096; data 61440+8192; zero 69632+4096; absent 73728+8192; ");
  // Any alignment: the runs are cut at the range.
  CHECK(text_of(disk.extents(kObjectBytes - 10, 30)) == "data 65526+30; ");
}

TEST_CASE("image: ranges beyond the end, and empty ones") {
  Disk disk(6);
  Buffer data;
  CHECK(disk.write(kImageBytes, 1, 1).code() == ErrorCode::out_of_range);
  CHECK(disk.write(kImageBytes - 1, 2, 1).code() == ErrorCode::out_of_range);
  CHECK(disk.read(~std::uint64_t{0}, 2, data).code() == ErrorCode::out_of_range);
  CHECK(disk.zero(1, ~std::uint64_t{0}, true).code() == ErrorCode::out_of_range);
  CHECK(disk.discard(kImageBytes + 1, 0).code() == ErrorCode::out_of_range);
  CHECK(disk.write(kImageBytes, 0, 1).is_ok());
  CHECK(disk.read(kImageBytes, 0, data).is_ok());
  CHECK(data.empty());
  disk.image.set_size(kImageBytes - 1);
  CHECK(disk.write(kImageBytes - 1, 1, 1).code() == ErrorCode::out_of_range);
}

TEST_CASE("image: a read-only image is read only") {
  Disk disk(7, {}, true);
  CHECK(disk.image.read_only());
  CHECK(disk.write(0, 512, 1).code() == ErrorCode::read_only);
  CHECK(disk.zero(0, 512, true).code() == ErrorCode::read_only);
  CHECK(disk.discard(0, kBlockBytes).code() == ErrorCode::read_only);
  CHECK(disk.finish([&](WriteDone done) { disk.image.flush(std::move(done)); }).is_ok());
  disk.check();
}

TEST_CASE("image: random operations do what the model does, also over breaking connections") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    INFO("seed ", seed);
    net::SimNetworkConfig network;
    network.resets_per_million = seed % 2 == 0 ? 10'000 : 0;
    Disk disk(100 + seed, network);
    io::Random random(seed);
    for (int i = 0; i < 80; ++i) {
      const std::uint64_t offset = random.below(kImageBytes);
      const std::uint64_t longest = std::min(kImageBytes - offset, 2 * kObjectBytes);
      std::uint64_t length =
          1 + random.below(random.chance(0.5) ? longest : std::min<std::uint64_t>(longest, 9000));
      length = std::min(length, kImageBytes - offset);
      switch (random.below(5)) {
        case 0:
        case 1:
          CHECK(disk.write(offset, length, 1 + i).is_ok());
          break;
        case 2:
          CHECK(disk.zero(offset, length, random.chance(0.5)).is_ok());
          break;
        case 3:
          CHECK(disk.discard(offset, length).is_ok());
          break;
        default:
          disk.check(offset, length);
      }
    }
    disk.check();
    for (int number = 0; number < 8; ++number) {
      const std::string expected = disk.cluster.digest(0, data_object(number));
      CHECK(disk.cluster.digest(1, data_object(number)) == expected);
      CHECK(disk.cluster.digest(2, data_object(number)) == expected);
    }
  }
}

}  // namespace cairn::image
