// The file of parent_cache.hh.
#include "image/parent_cache.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/crc32c.hh"

namespace cairn::image {

namespace {

// Of the format: another layout has another magic, so that its slots are foreign.
constexpr std::uint64_t kMagic = 0x3145484341434e43ULL;  // "CNCACHE1"
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

std::uint64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kNsPerSecond +
         static_cast<std::uint64_t>(time.tv_nsec);
}

bool read_all(int fd, void* into, std::size_t length, std::uint64_t offset) {
  const ssize_t got = ::pread(fd, into, length, static_cast<off_t>(offset));
  return got >= 0 && static_cast<std::size_t>(got) == length;
}

bool write_all(int fd, const void* from, std::size_t length, std::uint64_t offset) {
  const ssize_t put = ::pwrite(fd, from, length, static_cast<off_t>(offset));
  return put >= 0 && static_cast<std::size_t>(put) == length;
}

}  // namespace

// As it lies in the file: the key, then the checksums of the blocks.
struct ParentCache::Head {
  std::uint64_t magic = 0;
  std::array<std::uint8_t, 16> cluster{};
  std::uint64_t snap = 0;
  std::uint64_t index = 0;
  PoolId pool = 0;
  std::uint32_t chunk_bytes = 0;
  std::uint32_t prefix_bytes = 0;
  std::uint32_t reserved = 0;
  std::array<char, kMaxPrefixBytes> prefix{};
  // Up to here the key.
  std::uint64_t used_ns = 0;
  std::array<std::uint32_t, kBlocksPerChunk> crcs{};

  static constexpr std::size_t kKeyBytes = 120;
  ByteSpan key() const { return {reinterpret_cast<const std::byte*>(this), kKeyBytes}; }
  std::uint32_t crc_of(std::uint64_t block, ByteSpan bytes) const {
    const std::uint32_t number = static_cast<std::uint32_t>(block);
    const std::uint32_t seed =
        crc32c({reinterpret_cast<const std::byte*>(&number), sizeof number}, crc32c(key()));
    return crc32c(bytes, seed);
  }
};

ParentCache::Head ParentCache::key_of(const CacheOwner& owner, std::uint64_t index,
                                      std::uint64_t chunk_bytes) {
  static_assert(sizeof(Head) == 192 && offsetof(Head, used_ns) == Head::kKeyBytes);
  CAIRN_ASSERT(fits(owner) && chunk_bytes <= kChunkBytes);
  Head key;
  key.magic = kMagic;
  key.cluster = owner.cluster;
  key.snap = owner.snap;
  key.index = index;
  key.pool = owner.pool;
  key.chunk_bytes = static_cast<std::uint32_t>(chunk_bytes);
  key.prefix_bytes = static_cast<std::uint32_t>(owner.object_prefix.size());
  std::memcpy(key.prefix.data(), owner.object_prefix.data(), owner.object_prefix.size());
  return key;
}

std::uint64_t ParentCache::head_at(std::uint64_t slot) const { return slot * sizeof(Head); }

std::uint64_t ParentCache::chunk_at(std::uint64_t slot) const {
  const std::uint64_t heads = set_count_ * kWays * sizeof(Head);
  return (heads + kBlockBytes - 1) / kBlockBytes * kBlockBytes + slot * kChunkBytes;
}

Result<std::unique_ptr<ParentCache>> ParentCache::open(const std::string& path,
                                                       std::uint64_t size_bytes) {
  if (size_bytes < kMinBytes)
    return Status(ErrorCode::invalid_argument, "the parent cache has at least 512K");
  // A second round when the file had another size and was replaced.
  for (int round = 0; round < 2; ++round) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return Status::from_errno(errno, "open the parent cache " + path);
    std::unique_ptr<ParentCache> cache(new ParentCache(fd, size_bytes / kMinBytes));
    const auto wanted = static_cast<off_t>(cache->chunk_at(cache->set_count_ * kWays));
    struct stat found {};
    if (::fstat(fd, &found) != 0) return Status::from_errno(errno, "look at the parent cache");
    const bool ours =
        S_ISREG(found.st_mode) && found.st_uid == ::geteuid() && (found.st_mode & 077) == 0;
    if (!ours)
      return Status(ErrorCode::permission_denied,
                    path + " is no file that only this user can write");
    // Sparse: the memory is taken as the chunks come. Two that make it at a time do the same.
    if (found.st_size == 0 && ::ftruncate(fd, wanted) == 0) return cache;
    if (found.st_size == wanted) return cache;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return Status::from_errno(errno, "replace the parent cache " + path);
  }
  return Status(ErrorCode::busy, "others replace the parent cache " + path);
}

ParentCache::~ParentCache() { ::close(fd_); }

bool ParentCache::load_set(const Head& key, std::uint64_t& first_slot, Head* heads) const {
  // Neighbouring chunks lie in neighbouring sets, so that an image fills the cache evenly.
  Head base = key;
  base.index = 0;
  base.chunk_bytes = 0;
  const std::uint64_t start = std::uint64_t{crc32c(base.key())} * 0x9e3779b97f4a7c15ULL >> 16;
  first_slot = (start + key.index) % set_count_ * kWays;
  return read_all(fd_, heads, kWays * sizeof(Head), head_at(first_slot));
}

bool ParentCache::find(const CacheOwner& owner, std::uint64_t index, std::uint64_t chunk_bytes,
                       std::uint64_t offset, MutableByteSpan into) {
  CAIRN_ASSERT(offset + into.size() <= chunk_bytes);
  const Head key = key_of(owner, index, chunk_bytes);
  Head heads[kWays];
  std::uint64_t slot = 0;
  if (!load_set(key, slot, heads)) return false;
  const Head* const hit = std::find_if(heads, heads + kWays, [&key](const Head& head) {
    return std::memcmp(&head, &key, Head::kKeyBytes) == 0;
  });
  if (hit == heads + kWays) return false;
  slot += static_cast<std::uint64_t>(hit - heads);
  // Blocks that the range covers in part are checked whole, in a buffer of their own.
  std::byte block_bytes[kBlockBytes];
  for (std::uint64_t done = 0; done < into.size();) {
    const std::uint64_t at = offset + done;
    const std::uint64_t block = at / kBlockBytes;
    const std::uint64_t begin = block * kBlockBytes;
    const std::uint64_t length = std::min(kBlockBytes, chunk_bytes - begin);
    const std::uint64_t part = std::min(begin + length - at, into.size() - done);
    std::byte* const target = part == length ? into.data() + done : block_bytes;
    if (!read_all(fd_, target, length, chunk_at(slot) + begin)) return false;
    if (hit->crc_of(block, {target, length}) != hit->crcs[block]) return false;
    if (part != length) std::memcpy(into.data() + done, block_bytes + (at - begin), part);
    done += part;
  }
  const std::uint64_t now = now_ns();
  // At most once a second: the order of use needs no more.
  if (now - hit->used_ns > kNsPerSecond) {
    write_all(fd_, &now, sizeof now, head_at(slot) + offsetof(Head, used_ns));
  }
  return true;
}

void ParentCache::insert(const CacheOwner& owner, std::uint64_t index, ByteSpan chunk) {
  Head key = key_of(owner, index, chunk.size());
  Head heads[kWays];
  std::uint64_t slot = 0;
  if (chunk.empty() || !load_set(key, slot, heads)) return;
  const std::uint64_t now = now_ns();
  // The slot that has this key already (damaged, or another process was as fast), else an empty
  // one, else the one that was used longest ago; a time in the future is damage.
  const auto rank = [&key, now](const Head& head) {
    if (std::memcmp(&head, &key, Head::kKeyBytes) == 0) return std::uint64_t{0};
    const bool usable = head.magic == kMagic && head.used_ns <= now;
    return usable ? head.used_ns + 2 : std::uint64_t{1};
  };
  const Head* const victim = std::min_element(
      heads, heads + kWays, [&rank](const Head& a, const Head& b) { return rank(a) < rank(b); });
  slot += static_cast<std::uint64_t>(victim - heads);
  key.used_ns = now;
  for (std::uint64_t at = 0; at < chunk.size(); at += kBlockBytes) {
    const std::uint64_t block = at / kBlockBytes;
    key.crcs[block] =
        key.crc_of(block, chunk.subspan(at, std::min(kBlockBytes, chunk.size() - at)));
  }
  // The old head goes first: nobody takes the new bytes for the old key's but by chance of the
  // checksum, and that not even while nothing is in between.
  const Head nobody;
  if (!write_all(fd_, &nobody, sizeof nobody, head_at(slot))) return;
  if (!write_all(fd_, chunk.data(), chunk.size(), chunk_at(slot))) return;
  write_all(fd_, &key, sizeof key, head_at(slot));
}

}  // namespace cairn::image
