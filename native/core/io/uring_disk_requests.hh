// The state and the requests of UringDisk, for its two sources alone: uring_disk.cc opens, locks
// and blocks, uring_disk_requests.cc talks to the ring.
#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/flush_place.hh"
#include "io/uring_disk.hh"

namespace cairn::io {

inline bool is_aligned(std::uint64_t value) { return value % Buffer::kAlignment == 0; }

inline bool is_inside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

inline Status outside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return {ErrorCode::out_of_range, "offset " + std::to_string(offset) + ", length " +
                                       std::to_string(length) + " is not inside the disk of " +
                                       std::to_string(size) + " bytes"};
}

inline Status short_transfer(const char* what, std::uint64_t offset, std::uint64_t length,
                             std::uint64_t moved) {
  return {ErrorCode::io_error, std::string(what) + " at offset " + std::to_string(offset) +
                                   " ended after " + std::to_string(moved) + " of " +
                                   std::to_string(length) + " bytes"};
}

// One request: what the kernel reads while it works, and how it goes on after a part.
struct UringDisk::Request {
  enum class Kind : std::uint8_t { read, write, flush, discard };

  std::shared_ptr<State> state;  // keeps the descriptor open
  Kind kind = Kind::read;
  bool durable = false;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t moved = 0;      // bytes done
  std::vector<Buffer> buffers;  // kept alive
  std::vector<iovec> vectors;
  std::size_t next_vector = 0;  // the first that is not done completely
  DiskDone done;

  const char* name() const {
    static constexpr const char* kNames[] = {"read", "write", "flush", "discard"};
    return kNames[static_cast<std::size_t>(kind)];
  }

  void add(Buffer buffer) {
    CAIRN_ASSERT(is_aligned(buffer.size()) && !buffer.empty());
    vectors.push_back({buffer.data(), buffer.size()});
    length += buffer.size();
    buffers.push_back(std::move(buffer));
  }

  bool is_durable_by_itself() const;

  void advance(std::uint64_t bytes) {
    moved += bytes;
    while (bytes > 0) {
      iovec& vector = vectors[next_vector];
      const std::uint64_t part = std::min<std::uint64_t>(bytes, vector.iov_len);
      vector.iov_base = static_cast<std::byte*>(vector.iov_base) + part;
      vector.iov_len -= part;
      bytes -= part;
      if (vector.iov_len == 0) ++next_vector;
    }
  }
};

struct UringDisk::State {
  State(Reactor& r, int descriptor) : reactor(r), fd(descriptor) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ::close(fd); }

  // A request of this kind with nothing to move yet.
  Request* take_request(Request::Kind kind, std::uint64_t offset, DiskDone done) {
    std::unique_ptr<Request> request;
    if (free_requests.empty()) {
      request = std::make_unique<Request>();
    } else {
      request = std::move(free_requests.back());
      free_requests.pop_back();
    }
    request->kind = kind;
    request->offset = offset;
    request->durable = false;
    request->length = request->moved = 0;
    request->next_vector = 0;
    request->done = std::move(done);
    return request.release();
  }
  void give_request(std::unique_ptr<Request> request) {
    request->buffers.clear();
    request->vectors.clear();  // keeps its memory: no allocation next time
    if (free_requests.size() < kMaxFreeRequests) free_requests.push_back(std::move(request));
  }

  static constexpr std::size_t kMaxFreeRequests = 256;
  Reactor& reactor;
  int fd;
  std::uint64_t size = 0;
  bool direct = false;
  bool is_block_device = false;
  bool writes_through = false;
  bool closed = false;  // the UringDisk has gone
  std::string path;
  std::vector<std::unique_ptr<Request>> free_requests;
  std::vector<std::unique_ptr<Request>> sync_waiters;  // for the next fdatasync
  FlushPlace flush_place;
  FlushCounts flush_counts;
  // A flush has failed, of either half. Of what had been written before nobody knows whether the
  // device still has it, and the kernel tells that once: the next flush would succeed.
  std::atomic<bool> has_lost_writes{false};

  // error_number: of the fdatasync, or 0.
  Status flush_outcome(int error_number) {
    if (error_number == ECANCELED) return {ErrorCode::canceled, "the flush was cancelled"};
    if (error_number != 0) {
      has_lost_writes = true;
      return Status::from_errno(error_number, "flush " + path);
    }
    if (!has_lost_writes) return {};
    return {ErrorCode::io_error, "flush " + path +
                                     ": an earlier one has failed, and what was written before " +
                                     "it may be lost"};
  }

  // Whether the reactor's thread may make the next fdatasync. One that was asked for as such comes
  // after many writes, and may take long.
  bool may_flush_here() const {
    return flush_place.is_own_thread(reactor.now_ns()) &&
           std::ranges::all_of(sync_waiters, [](const auto& waiter) {
             return waiter->kind == Request::Kind::write;
           });
  }
};

}  // namespace cairn::io
