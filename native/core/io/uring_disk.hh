// UringDisk: a Disk on a regular file or a block device, through a Reactor.
//
// Invariants
// - One opener: the file is locked for as long as the disk is open (an open file description lock,
//   so that a second opener in the same process is refused as well).
// - A request keeps its buffers until the kernel has answered, also when the disk is destroyed
//   before that; its completion is then dropped and the descriptor is closed after the last one.
// - A block past size_bytes() is never touched.
// - After a flush that has failed, of either half, every later one fails, and so does a durable
//   write that needs one: the kernel tells an error of the device once, to one of two who ask. Not
//   so for a flush that began before the failing one had returned.
//
// A durable write is a write and then an fdatasync, shared with other durable writes and flushes of
// the same turn of the loop; or one write (RWF_DSYNC), where the device needs no flush for that,
// and for a short one to a block device (uring_disk_requests.cc says why not always). While flushes
// are short and nobody reads, the reactor's thread makes them itself (flush_place.hh).
//
// The asynchronous half belongs to the reactor's thread; the blocking half may be called from any
// thread. Does not: cache, merge or reorder requests, retry what the device refused.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/disk.hh"
#include "io/reactor.hh"

namespace cairn::io {

class UringDisk final : public Disk {
 public:
  struct Options {
    // Make a sparse regular file of size_bytes with mode 0600; it must not exist. A block device
    // is taken as it is.
    bool create = false;
    // With create: a multiple of 4096, not 0; at most the size of a block device. Else ignored.
    std::uint64_t size_bytes = 0;
    // O_DIRECT. A file system that refuses it (some tmpfs) is used through the page cache.
    bool direct = true;
    // Whether durable writes of any length are single writes; none: as the device is
    // (write_cache.hh). Either is right on every device.
    std::optional<bool> writes_through{};
  };

  // Who made the fdatasyncs of the asynchronous half, since the disk was opened.
  struct FlushCounts {
    std::uint64_t own_thread = 0;  // the reactor's
    std::uint64_t worker = 0;      // of the ring
  };

  // Opens and locks the file. The reactor must outlive the disk.
  // Errors: busy (another opener, or a mounted block device), not_found, already_exists,
  // permission_denied, no_space, invalid_argument (not a file or device, wrong size), io_error.
  static Result<std::unique_ptr<UringDisk>> open(Reactor& reactor, const std::string& path,
                                                 const Options& options);
  ~UringDisk() override;

  std::uint64_t size_bytes() const override;
  Status read_now(std::uint64_t offset, MutableByteSpan into) override;
  Status write_now(std::uint64_t offset, ByteSpan from) override;
  Status flush_now() override;
  Result<DiskSpace> space() const override;

  void read(std::uint64_t offset, Buffer into, DiskDone done) override;
  void write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) override;
  void flush(DiskDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length, DiskDone done) override;

  // False when the page cache is in between.
  bool is_direct() const;
  FlushCounts flush_counts() const;

 private:
  struct Request;
  struct State;

  explicit UringDisk(std::shared_ptr<State> state);
  static void submit(Request* request);
  static void complete(Request* request, int result);
  static Status failure(const Request& request, int error_number);
  static void join_sync(Request* request);
  static void start_sync(std::shared_ptr<State> state);
  static void flush_by_worker(std::shared_ptr<State> state,
                              std::vector<std::unique_ptr<Request>> waiters);
  static void finish_sync(State& state, std::vector<std::unique_ptr<Request>> waiters,
                          std::uint64_t start_ns, int result);
  static void finish(Request* request, Status status);
  bool refuse_outside(std::uint64_t offset, std::uint64_t length, DiskDone& done);

  std::shared_ptr<State> state_;
};

}  // namespace cairn::io
