// The cache of parents: what is found is what was put in, whoever writes to the file beside us;
// two processes; damage of every kind; single flight and read-ahead of the device in front of it.
#include "image/parent_cache.hh"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "../../test/budget.hh"
#include "../../test/memory_device.hh"
#include "image/cached_device.hh"
#include "io/random.hh"
#include "io/sim_executor.hh"

namespace cairn::image {

namespace {

constexpr std::uint64_t kChunk = ParentCache::kChunkBytes;

// A file of its own for each test.
struct CacheFile {
  CacheFile() { REQUIRE(::mkdtemp(folder.data()) != nullptr); }
  ~CacheFile() {
    ::unlink(path().c_str());
    ::rmdir(folder.c_str());
  }
  CacheFile(const CacheFile&) = delete;
  CacheFile& operator=(const CacheFile&) = delete;
  std::string path() const { return folder + "/cache"; }
  std::unique_ptr<ParentCache> open(std::uint64_t bytes = std::uint64_t{2} << 20) const {
    auto cache = ParentCache::open(path(), bytes);
    REQUIRE(cache.status().to_string() == "ok");
    return std::move(*cache);
  }
  std::string folder = "/dev/shm/cairn-cache-test-XXXXXX";
};

CacheOwner owner_of(std::uint64_t snap) { return {{1, 2, 3}, 7, "rbd_data.1f", snap}; }

// The content of a chunk is known from its key.
Buffer chunk_of(const CacheOwner& owner, std::uint64_t index, std::uint64_t length = kChunk) {
  io::Random random(owner.snap * 1'000'003 + index);
  Buffer chunk = Buffer::allocate(length);
  for (std::uint64_t at = 0; at < length; at += 8) {
    const std::uint64_t value = random.next();
    std::memcpy(chunk.data() + at, &value, std::min<std::uint64_t>(8, length - at));
  }
  return chunk;
}

bool equal(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

// hit: what find() said; it must be right then.
bool look(ParentCache& cache, std::uint64_t snap, std::uint64_t index, std::uint64_t offset,
          std::uint64_t length, bool& right) {
  const CacheOwner owner = owner_of(snap);
  std::vector<std::byte> into(length);
  if (!cache.find(owner, index, kChunk, offset, into)) return false;
  right = right && equal(into, chunk_of(owner, index).span().subspan(offset, length));
  return true;
}

// Random lookups and insertions over more keys than there are slots; false: a wrong answer.
bool hammer(ParentCache& cache, std::uint64_t seed, int rounds, std::uint64_t& hits) {
  io::Random random(seed);
  bool right = true;
  for (int i = 0; i < rounds && right; ++i) {
    const std::uint64_t snap = random.between(1, 2);
    const std::uint64_t index = random.below(32);
    const std::uint64_t offset = random.below(kChunk - 1);
    const std::uint64_t length =
        random.between(1, std::min<std::uint64_t>(kChunk - offset, 20'000));
    if (look(cache, snap, index, offset, length, right)) {
      ++hits;
    } else {
      cache.insert(owner_of(snap), index, chunk_of(owner_of(snap), index).span());
    }
  }
  return right;
}

}  // namespace

TEST_CASE("parent cache: finds what was put in, for exactly that key") {
  const CacheFile file;
  const auto cache = file.open();
  const CacheOwner owner = owner_of(5);
  const Buffer chunk = chunk_of(owner, 3, 10'000);
  Buffer into = Buffer::allocate(10'000);
  CHECK_FALSE(cache->find(owner, 3, 10'000, 0, into.span()));
  cache->insert(owner, 3, chunk.span());
  CHECK(cache->find(owner, 3, 10'000, 0, into.span()));
  CHECK(equal(into.span(), chunk.span()));
  const auto part = into.span().first(5000);
  CHECK(cache->find(owner, 3, 10'000, 4999, part));
  CHECK(equal(part, chunk.span().subspan(4999, 5000)));
  CHECK_FALSE(cache->find(owner, 4, 10'000, 0, into.span()));
  CHECK_FALSE(cache->find(owner, 3, 9'999, 0, part));
  for (int i = 0; i < 4; ++i) {
    CacheOwner other = owner;
    if (i == 0) other.snap = 6;
    if (i == 1) other.pool = 8;
    if (i == 2) other.object_prefix += "f";
    if (i == 3) other.cluster[15] = 1;
    CHECK_FALSE(cache->find(other, 3, 10'000, 0, into.span()));
  }
  // Another process of the user, and a later one.
  CHECK(file.open()->find(owner, 3, 10'000, 0, into.span()));
}

TEST_CASE("parent cache: the slot that was used longest ago goes, and the file does not grow") {
  const CacheFile file;
  const auto cache = file.open(ParentCache::kMinBytes);  // one set
  const CacheOwner owner = owner_of(1);
  for (std::uint64_t index = 0; index < ParentCache::kWays; ++index)
    cache->insert(owner, index, chunk_of(owner, index).span());
  bool right = true;
  for (std::uint64_t index = 0; index < ParentCache::kWays; ++index)
    CHECK(look(*cache, 1, index, 0, kChunk, right));
  cache->insert(owner, 100, chunk_of(owner, 100).span());
  CHECK(look(*cache, 1, 100, 0, kChunk, right));
  CHECK_FALSE(look(*cache, 1, 0, 0, kChunk, right));
  CHECK(look(*cache, 1, 1, 0, kChunk, right));
  CHECK(right);
  struct stat found {};
  REQUIRE(::stat(file.path().c_str(), &found) == 0);
  CHECK(found.st_size <= static_cast<off_t>(ParentCache::kMinBytes + 4096));
  CHECK((found.st_mode & 0777) == 0600);
}

TEST_CASE("parent cache: two processes hammer one file, and no answer is ever wrong") {
  const CacheFile file;
  const int rounds = test::budgeted(6000);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto cache = ParentCache::open(file.path(), std::uint64_t{2} << 20);
    std::uint64_t hits = 0;
    ::_exit(cache && hammer(**cache, 1, rounds, hits) && hits > 0 ? 0 : 1);
  }
  const auto cache = file.open();
  std::uint64_t hits = 0;
  CHECK(hammer(*cache, 2, rounds, hits));
  CHECK(hits > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("parent cache: damage anywhere in the file is a miss, and heals") {
  const CacheFile file;
  const auto cache = file.open();
  std::uint64_t hits = 0;
  REQUIRE(hammer(*cache, 3, 500, hits));
  const int fd = ::open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  const off_t size = ::lseek(fd, 0, SEEK_END);
  io::Random random(4);
  for (int round = 0; round < test::budgeted(200); ++round) {
    INFO("round ", round);
    // One byte, a torn half of a slot, or a whole region of noise; often in the heads.
    const std::uint64_t length = round % 3 == 0 ? 1 : round % 3 == 1 ? 30'000 : 4096;
    std::vector<std::byte> noise(length);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random.next());
    const auto limit = static_cast<std::uint64_t>(round % 2 == 0 ? 6144 : size);
    REQUIRE(::pwrite(fd, noise.data(), noise.size(), static_cast<off_t>(random.below(limit))) > 0);
    REQUIRE(::ftruncate(fd, size) == 0);
    CHECK(hammer(*cache, 100 + static_cast<std::uint64_t>(round), 40, hits));
  }
  // The file is cut short under a process that uses it.
  REQUIRE(::ftruncate(fd, 100) == 0);
  CHECK(hammer(*cache, 5, 100, hits));
  ::close(fd);
}

TEST_CASE("parent cache: a file of another size is replaced, somebody else's is refused") {
  const CacheFile file;
  const auto old_cache = file.open();
  const CacheOwner owner = owner_of(1);
  old_cache->insert(owner, 1, chunk_of(owner, 1).span());
  const auto new_cache = file.open(std::uint64_t{4} << 20);
  bool right = true;
  CHECK_FALSE(look(*new_cache, 1, 1, 0, kChunk, right));
  CHECK(look(*old_cache, 1, 1, 0, kChunk, right));
  REQUIRE(::chmod(file.path().c_str(), 0622) == 0);
  CHECK(ParentCache::open(file.path(), std::uint64_t{4} << 20).status().code() ==
        ErrorCode::permission_denied);
  REQUIRE(::unlink(file.path().c_str()) == 0);
  REQUIRE(::symlink("/etc/passwd", file.path().c_str()) == 0);
  CHECK_FALSE(ParentCache::open(file.path(), std::uint64_t{4} << 20).is_ok());
}

TEST_CASE("cached device: single flight, read-ahead, and the bytes of the device") {
  const CacheFile file;
  std::shared_ptr<ParentCache> cache = file.open(std::uint64_t{8} << 20);
  io::SimExecutor executor;
  constexpr std::uint64_t kSize = 40 * kChunk + 1000;
  auto inner = std::make_shared<test::MemoryDevice>(executor, kSize);
  io::Random random(1);
  for (std::byte& byte : inner->bytes()) byte = static_cast<std::byte>(random.next());
  CachedDevice device(inner, cache, owner_of(9));
  const auto counters = device.counters();
  int done = 0;
  const auto read = [&](std::uint64_t offset, std::uint64_t length) {
    device.read(offset, length, [&, offset, length](const Status& status, const Buffer& data) {
      CHECK(status.to_string() == "ok");
      CHECK(equal(data.span(), inner->bytes().subspan(offset, length)));
      ++done;
    });
  };
  for (int i = 0; i < 3; ++i) read(5000, 4096);
  executor.run_until_idle();
  CHECK(done == 3);
  CHECK(counters->misses == 1);
  CHECK(counters->shared == 2);
  CHECK(counters->read_bytes == kChunk);
  read(100, 512);
  CHECK(done == 4);  // at once
  CHECK(counters->hits == 1);

  // Front to back in small reads: chunks 1-2, 3-6, 7-14, 15-30, 31-40.
  for (std::uint64_t at = 0; at < kSize; at += 4096) {
    read(at, std::min<std::uint64_t>(4096, kSize - at));
    executor.run_until_idle();
  }
  CHECK(counters->misses == 6);
  CHECK(counters->read_bytes == kSize);
  // In another process nothing is read from the device.
  CachedDevice again(inner, file.open(std::uint64_t{8} << 20), owner_of(9));
  again.read(0, kSize, [&](const Status& status, const Buffer& data) {
    CHECK(status.is_ok());
    CHECK(equal(data.span(), inner->bytes()));
    ++done;
  });
  CHECK(again.counters()->read_bytes == 0);
}

TEST_CASE("cached device: random reads, errors, and what it refuses") {
  const CacheFile file;
  io::SimExecutor executor;
  constexpr std::uint64_t kSize = 20 * kChunk + 12'345;
  auto inner = std::make_shared<test::MemoryDevice>(executor, kSize);
  io::Random random(2);
  for (std::byte& byte : inner->bytes()) byte = static_cast<std::byte>(random.next());
  CachedDevice device(inner, file.open(ParentCache::kMinBytes), owner_of(9));
  int good = 0;
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t offset = random.below(kSize);
    const std::uint64_t length = random.below(std::min(kSize - offset, 5 * kChunk) + 1);
    device.read(offset, length, [&, offset, length](const Status& status, const Buffer& data) {
      good += status && equal(data.span(), inner->bytes().subspan(offset, length)) ? 1 : 0;
    });
    if (random.chance(0.3)) executor.run_until_idle();
  }
  executor.run_until_idle();
  CHECK(good == 300);
  inner->fail_with({ErrorCode::io_error, "broken"});
  int failed = 0;
  const auto count = [&failed](const Status& status) { failed += status ? 0 : 1; };
  CachedDevice other(inner, file.open(ParentCache::kMinBytes), owner_of(10));
  for (int i = 0; i < 2; ++i)
    other.read(0, 100'000, [&](const Status& status, const Buffer&) { count(status); });
  executor.run_until_idle();
  CHECK(failed == 2);
  inner->fail_with({});
  other.read(0, 100, [&](const Status& status, const Buffer&) { good += status ? 1 : 0; });
  executor.run_until_idle();
  CHECK(good == 301);  // the error was not kept
  other.read(kSize, 1, [&](const Status& status, const Buffer&) { count(status); });
  other.write(0, Buffer::zeroed(512), count);
  other.discard(0, 4096, count);
  other.write_zeroes(0, 4096, true, count);
  CHECK(failed == 6);
}

}  // namespace cairn::image
