// Lookups, single flight and read-ahead: see cached_device.hh.
#include "image/cached_device.hh"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cairn::image {

namespace {

constexpr std::uint64_t kChunkBytes = ParentCache::kChunkBytes;
constexpr std::uint64_t kMaxAheadChunks = CachedDevice::kMaxAheadBytes / kChunkBytes;

// A read of a user: it is over when all of its chunks are there.
struct Request {
  Buffer bytes;
  ReadDone done;
  std::size_t pending = 1;  // the loop that looks for the chunks counts as one
  Status status;

  void part_ended(const Status& part) {
    if (status && !part) status = part;
    if (--pending == 0) done(std::move(status), std::move(bytes));
  }
};

Status refusal() { return {ErrorCode::read_only, "a snapshot is read-only"}; }

}  // namespace

class CachedDevice::Chunks : public std::enable_shared_from_this<Chunks> {
 public:
  Chunks(std::shared_ptr<BlockDevice> inner, std::shared_ptr<ParentCache> cache, CacheOwner owner)
      : device(std::move(inner)),
        size_bytes(device->size_bytes()),
        cache_(std::move(cache)),
        owner_(std::move(owner)) {}

  void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) {
    auto request = std::make_shared<Request>();
    request->bytes = Buffer::allocate(length_bytes);
    request->done = std::move(done);
    std::vector<std::uint64_t> missing;
    for (std::uint64_t at = offset; at < offset + length_bytes;) {
      const std::uint64_t index = at / kChunkBytes;
      const std::uint64_t in_chunk = at % kChunkBytes;
      const std::uint64_t length = std::min(offset + length_bytes - at, kChunkBytes - in_chunk);
      const Wish wish{request, in_chunk, at - offset, length};
      if (const auto flight = flights_.find(index); flight != flights_.end()) {
        ++counters->shared;
        ++request->pending;
        flight->second.push_back(wish);
      } else if (cache_->find(owner_, index, chunk_bytes(index), in_chunk,
                              request->bytes.span().subspan(wish.request_offset, length))) {
        ++counters->hits;
      } else {
        ++counters->misses;
        ++request->pending;
        flights_[index].push_back(wish);
        missing.push_back(index);
      }
      at += length;
    }
    fetch_all(missing);
    request->part_ended(Status::ok());
  }

  std::shared_ptr<BlockDevice> device;
  const std::uint64_t size_bytes;
  std::shared_ptr<CacheCounters> counters = std::make_shared<CacheCounters>();

 private:
  // What a request wants of a chunk.
  struct Wish {
    std::shared_ptr<Request> request;
    std::uint64_t chunk_offset = 0;
    std::uint64_t request_offset = 0;
    std::uint64_t length = 0;
  };

  std::uint64_t chunk_bytes(std::uint64_t index) const {
    return std::min(kChunkBytes, size_bytes - index * kChunkBytes);
  }

  // The chunks are in flights_ and in order; neighbours go as one read.
  void fetch_all(const std::vector<std::uint64_t>& missing) {
    for (std::size_t i = 0; i < missing.size();) {
      std::size_t end = i + 1;
      while (end < missing.size() && missing[end] == missing[end - 1] + 1 &&
             end - i < kMaxAheadChunks)
        ++end;
      fetch(missing[i], end - i);
      i = end;
    }
  }

  void fetch(std::uint64_t first, std::uint64_t count) {
    ahead_chunks_ = first == next_miss_ ? std::min(ahead_chunks_ * 2, kMaxAheadChunks) : 1;
    const std::uint64_t all = (size_bytes + kChunkBytes - 1) / kChunkBytes;
    while (count < ahead_chunks_ && first + count < all && !flights_.contains(first + count)) {
      flights_[first + count];
      ++count;
    }
    next_miss_ = first + count;
    const std::uint64_t offset = first * kChunkBytes;
    const std::uint64_t length = std::min(count * kChunkBytes, size_bytes - offset);
    counters->read_bytes += length;
    device->read(offset, length,
                 [self = shared_from_this(), first, count, length](Status status, Buffer data) {
                   if (status && data.size() != length)
                     status = {ErrorCode::protocol_error, "a read of another length came back"};
                   self->fetched(first, count, status, data);
                 });
  }

  void fetched(std::uint64_t first, std::uint64_t count, const Status& status, const Buffer& data) {
    for (std::uint64_t index = first; index < first + count; ++index) {
      const auto flight = flights_.find(index);
      const std::vector<Wish> wishes = std::move(flight->second);
      flights_.erase(flight);
      ByteSpan chunk;
      if (status) {
        chunk = data.span().subspan((index - first) * kChunkBytes, chunk_bytes(index));
        cache_->insert(owner_, index, chunk);
      }
      for (const Wish& wish : wishes) {
        if (status) {
          std::memcpy(wish.request->bytes.data() + wish.request_offset,
                      chunk.data() + wish.chunk_offset, wish.length);
        }
        wish.request->part_ended(status);
      }
    }
  }

  std::shared_ptr<ParentCache> cache_;
  CacheOwner owner_;
  std::map<std::uint64_t, std::vector<Wish>> flights_;  // chunks that are being read
  std::uint64_t next_miss_ = ~std::uint64_t{0};         // where a sequential reader misses next
  std::uint64_t ahead_chunks_ = 1;
};

CachedDevice::CachedDevice(std::shared_ptr<BlockDevice> inner, std::shared_ptr<ParentCache> cache,
                           CacheOwner owner)
    : chunks_(std::make_shared<Chunks>(std::move(inner), std::move(cache), std::move(owner))) {}

std::shared_ptr<const CacheCounters> CachedDevice::counters() const { return chunks_->counters; }

std::uint64_t CachedDevice::size_bytes() const { return chunks_->size_bytes; }

void CachedDevice::read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) {
  if (offset > chunks_->size_bytes || length_bytes > chunks_->size_bytes - offset)
    return done(Status(ErrorCode::out_of_range, "beyond the end of the image"), {});
  chunks_->read(offset, length_bytes, std::move(done));
}

void CachedDevice::write(std::uint64_t, Buffer, WriteDone done) { done(refusal()); }

void CachedDevice::write_zeroes(std::uint64_t, std::uint64_t, bool, WriteDone done) {
  done(refusal());
}

void CachedDevice::discard(std::uint64_t, std::uint64_t, WriteDone done) { done(refusal()); }

void CachedDevice::extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) {
  chunks_->device->extents(offset, length_bytes, std::move(done));
}

void CachedDevice::populated(PopulatedDone done) { chunks_->device->populated(std::move(done)); }

}  // namespace cairn::image
