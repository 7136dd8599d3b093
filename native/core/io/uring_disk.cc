// Opening, locking and the requests of UringDisk; see the header for its invariants.
#include "io/uring_disk.hh"

#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/flush_place.hh"
#include "io/write_cache.hh"

namespace cairn::io {

namespace {

constexpr std::uint64_t kAlignment = Buffer::kAlignment;
constexpr std::uint64_t kStatBlockBytes = 512;  // the unit of st_blocks, stat(2)
// Bytes of one system call: the kernel cuts reads and writes at 2 GiB - 4096 (MAX_RW_COUNT).
constexpr std::size_t kMaxCallBytes = std::size_t{1} << 30;

bool is_aligned(std::uint64_t value) { return value % kAlignment == 0; }

// Closes the descriptor unless it was taken.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int open_retrying(const std::string& path, int flags) {
  while (true) {
    const int fd = ::open(path.c_str(), flags | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

// A file of the page cache when the file system refuses O_DIRECT; direct tells which it became.
int open_data(const std::string& path, int flags, bool& direct) {
  if (direct) {
    const int fd = open_retrying(path, flags | O_DIRECT);
    if (fd >= 0 || errno != EINVAL) return fd;
    // Some kernels made the file before they refused the flag.
    flags &= ~O_EXCL;
    direct = false;
  }
  return open_retrying(path, flags);
}

Status lock(int fd, const std::string& path) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &whole) == 0) return Status::ok();
  if (errno == EAGAIN || errno == EACCES)
    return {ErrorCode::busy, path + " is in use by another process"};
  return Status::from_errno(errno, "lock " + path);
}

// Makes the new directory entry survive a power cut.
Status flush_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  const Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0)
    return Status::from_errno(errno, "flush folder " + directory);
  return Status::ok();
}

Status size_new_file(int fd, const std::string& path, std::uint64_t size_bytes) {
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0 || ::fsync(fd) != 0)
    return Status::from_errno(errno, "make " + path);
  return flush_directory_of(path);
}

Result<std::uint64_t> size_of(int fd, const struct stat& info, const std::string& path) {
  std::uint64_t size = static_cast<std::uint64_t>(info.st_size);
  if (S_ISBLK(info.st_mode) && ::ioctl(fd, BLKGETSIZE64, &size) != 0)
    return Status::from_errno(errno, "size of " + path);
  size -= size % kAlignment;
  if (size == 0) return Status(ErrorCode::invalid_argument, path + " is smaller than 4096 bytes");
  return size;
}

// The block layer may cut a longer write, and would flush behind each part.
constexpr std::uint64_t kMaxFlushedWriteBytes = 128 * 1024;

Status short_transfer(const char* what, std::uint64_t offset, std::uint64_t length,
                      std::uint64_t moved) {
  return {ErrorCode::io_error, std::string(what) + " at offset " + std::to_string(offset) +
                                   " ended after " + std::to_string(moved) + " of " +
                                   std::to_string(length) + " bytes"};
}

Status outside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return {ErrorCode::out_of_range, "offset " + std::to_string(offset) + ", length " +
                                       std::to_string(length) + " is not inside the disk of " +
                                       std::to_string(size) + " bytes"};
}

bool is_inside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

}  // namespace

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

  // Whether the reactor's thread may make the next fdatasync. One that was asked for as such comes
  // after many writes, and may take long.
  bool may_flush_here() const {
    return flush_place.is_own_thread(reactor.now_ns()) &&
           std::ranges::all_of(sync_waiters, [](const auto& waiter) {
             return waiter->kind == Request::Kind::write;
           });
  }
};

// Whether RWF_DSYNC makes it durable without a thread that waits. On a block device the request
// carries FUA, and where the device has a volatile cache but no FUA, the kernel's block layer adds
// the flush behind it by itself (Documentation/block/writeback_cache_control.rst). A file system
// leaves the flush to a worker: see join_sync.
bool UringDisk::Request::is_durable_by_itself() const {
  if (!durable) return false;
  return state->writes_through || (state->is_block_device && length <= kMaxFlushedWriteBytes);
}

Result<std::unique_ptr<UringDisk>> UringDisk::open(Reactor& reactor, const std::string& path,
                                                   const Options& options) {
  struct stat info {};
  const bool is_device = ::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode);
  const bool make_file = options.create && !is_device;
  if (options.create && (options.size_bytes == 0 || !is_aligned(options.size_bytes)))
    return Status(ErrorCode::invalid_argument, "the size of " + path +
                                                   " must be a multiple of 4096 bytes, not " +
                                                   std::to_string(options.size_bytes));
  // O_EXCL without O_CREAT refuses a block device that is mounted, open(2).
  const int flags = make_file ? O_CREAT | O_EXCL : is_device ? O_EXCL : 0;
  bool direct = options.direct;
  Descriptor file(open_data(path, flags, direct));
  if (file.get() < 0 && errno == EBUSY)
    return Status(ErrorCode::busy, path + " is mounted or in use by another process");
  if (file.get() < 0) return Status::from_errno(errno, "open " + path);

  const auto undo = [&](Status status) {
    if (make_file) ::unlink(path.c_str());
    return status;
  };
  if (Status locked = lock(file.get(), path); !locked) return locked;
  if (make_file)
    if (Status sized = size_new_file(file.get(), path, options.size_bytes); !sized)
      return undo(std::move(sized));
  if (::fstat(file.get(), &info) != 0) return undo(Status::from_errno(errno, "stat " + path));
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
    return Status(ErrorCode::invalid_argument, path + " is neither a file nor a block device");
  Result<std::uint64_t> size = size_of(file.get(), info, path);
  if (!size) return size.status();
  if (options.create && *size < options.size_bytes)
    return Status(ErrorCode::too_large, path + " has only " + std::to_string(*size) + " bytes");

  auto state = std::make_shared<State>(reactor, file.take());
  state->size = options.create ? options.size_bytes : *size;
  state->direct = direct;
  state->is_block_device = S_ISBLK(info.st_mode);
  state->writes_through = direct && options.writes_through.value_or(device_writes_through(
                                        state->is_block_device ? info.st_rdev : info.st_dev));
  state->path = path;
  return std::unique_ptr<UringDisk>(new UringDisk(std::move(state)));
}

UringDisk::UringDisk(std::shared_ptr<State> state) : state_(std::move(state)) {}

UringDisk::~UringDisk() {
  state_->closed = true;
  // Requests own the state, so what the state owns must go first. No kernel memory is involved.
  const auto dropped = std::exchange(state_->sync_waiters, {});
}

std::uint64_t UringDisk::size_bytes() const { return state_->size; }

bool UringDisk::is_direct() const { return state_->direct; }

UringDisk::FlushCounts UringDisk::flush_counts() const { return state_->flush_counts; }

Result<DiskSpace> UringDisk::space() const {
  if (state_->is_block_device) return DiskSpace{state_->size, state_->size, state_->size};
  struct statvfs system {};
  struct stat file {};
  if (::fstatvfs(state_->fd, &system) != 0 || ::fstat(state_->fd, &file) != 0)
    return Status::from_errno(errno, "free space of " + state_->path);
  return DiskSpace{std::uint64_t{system.f_blocks} * system.f_frsize,
                   std::uint64_t{system.f_bavail} * system.f_frsize,
                   static_cast<std::uint64_t>(file.st_blocks) * kStatBlockBytes};
}

// --- The blocking half

Status UringDisk::read_now(std::uint64_t offset, MutableByteSpan into) {
  CAIRN_ASSERT(is_aligned(offset) && is_aligned(into.size()));
  if (!is_inside(offset, into.size(), state_->size))
    return outside(offset, into.size(), state_->size);
  std::size_t moved = 0;
  while (moved < into.size()) {
    const std::size_t part = std::min(into.size() - moved, kMaxCallBytes);
    const ssize_t got =
        ::pread(state_->fd, into.data() + moved, part, static_cast<off_t>(offset + moved));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, "read " + state_->path);
    moved += static_cast<std::size_t>(got);
    if (static_cast<std::size_t>(got) < part)
      return short_transfer("read", offset, into.size(), moved);
  }
  return Status::ok();
}

Status UringDisk::write_now(std::uint64_t offset, ByteSpan from) {
  CAIRN_ASSERT(is_aligned(offset) && is_aligned(from.size()));
  if (!is_inside(offset, from.size(), state_->size))
    return outside(offset, from.size(), state_->size);
  std::size_t moved = 0;
  while (moved < from.size()) {
    const std::size_t part = std::min(from.size() - moved, kMaxCallBytes);
    const ssize_t put =
        ::pwrite(state_->fd, from.data() + moved, part, static_cast<off_t>(offset + moved));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Status::from_errno(errno, "write " + state_->path);
    if (put == 0) return short_transfer("write", offset, from.size(), moved);
    moved += static_cast<std::size_t>(put);
  }
  return Status::ok();
}

Status UringDisk::flush_now() {
  if (::fdatasync(state_->fd) != 0) return Status::from_errno(errno, "flush " + state_->path);
  return Status::ok();
}

// --- Requests

bool UringDisk::refuse_outside(std::uint64_t offset, std::uint64_t length, DiskDone& done) {
  if (is_inside(offset, length, state_->size)) return false;
  state_->reactor.post([state = state_, done = std::move(done), offset, length]() mutable {
    if (!state->closed) done(outside(offset, length, state->size));
  });
  return true;
}

void UringDisk::read(std::uint64_t offset, Buffer into, DiskDone done) {
  CAIRN_ASSERT(is_aligned(offset));
  if (refuse_outside(offset, into.size(), done)) return;
  Request* request = state_->take_request(Request::Kind::read, offset, std::move(done));
  request->state = state_;
  request->add(std::move(into));
  state_->flush_place.read_seen(state_->reactor.now_ns());
  submit(request);
}

void UringDisk::write(std::uint64_t offset, std::vector<Buffer> from, bool durable, DiskDone done) {
  CAIRN_ASSERT(is_aligned(offset) && !from.empty());
  std::uint64_t length = 0;
  for (const Buffer& buffer : from) length += buffer.size();
  if (refuse_outside(offset, length, done)) return;
  Request* request = state_->take_request(Request::Kind::write, offset, std::move(done));
  request->state = state_;
  request->durable = durable;
  for (Buffer& buffer : from) request->add(std::move(buffer));
  submit(request);
}

void UringDisk::flush(DiskDone done) {
  Request* request = state_->take_request(Request::Kind::flush, 0, std::move(done));
  request->state = state_;
  join_sync(request);
}

void UringDisk::discard(std::uint64_t offset, std::uint64_t length, DiskDone done) {
  CAIRN_ASSERT(is_aligned(offset) && is_aligned(length) && length > 0);
  if (refuse_outside(offset, length, done)) return;
  Request* request = state_->take_request(Request::Kind::discard, offset, std::move(done));
  request->state = state_;
  request->length = length;
  submit(request);
}

// Hands the request, or what is left of it, to the ring.
void UringDisk::submit(Request* request) {
  State& state = *request->state;
  // The closure owns the request: a reactor that goes away frees it.
  IoDone done = [owned = std::unique_ptr<Request>(request)](int result) mutable {
    complete(owned.release(), result);
  };
  const std::uint64_t offset = request->offset + request->moved;
  const std::size_t count =
      std::min<std::size_t>(request->vectors.size() - request->next_vector, IOV_MAX);
  const std::span<const iovec> vectors(request->vectors.data() + request->next_vector, count);
  switch (request->kind) {
    case Request::Kind::read:
      state.reactor.readv(state.fd, vectors, offset, std::move(done));
      break;
    case Request::Kind::write:
      state.reactor.writev(state.fd, vectors, offset,
                           request->is_durable_by_itself() ? RWF_DSYNC : 0, std::move(done));
      break;
    case Request::Kind::discard:
      // For a block device too: its fallocate unmaps like BLKDISCARD, but does not block us.
      state.reactor.fallocate(state.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                              request->length, std::move(done));
      break;
    case Request::Kind::flush:
      CAIRN_ASSERT(false);  // goes through join_sync
  }
}

void UringDisk::complete(Request* request, int result) {
  if (request->kind == Request::Kind::read)
    request->state->flush_place.read_seen(request->state->reactor.now_ns());
  if (result == -EINTR) return submit(request);
  if (result < 0) return finish(request, failure(*request, -result));
  if (request->kind == Request::Kind::discard) return finish(request, Status::ok());
  request->advance(static_cast<std::uint64_t>(result));
  if (request->moved < request->length) {
    const bool goes_on = request->kind == Request::Kind::write && result > 0;
    if (goes_on) return submit(request);
    return finish(
        request, short_transfer(request->name(), request->offset, request->length, request->moved));
  }
  const bool needs_sync = request->durable && !request->is_durable_by_itself();
  if (needs_sync && !request->state->closed) return join_sync(request);
  finish(request, Status::ok());
}

Status UringDisk::failure(const Request& request, int error_number) {
  if (request.kind == Request::Kind::discard && error_number == EOPNOTSUPP)
    return Status::ok();  // a hint
  if (error_number == ECANCELED)
    return {ErrorCode::canceled, std::string("the ") + request.name() + " was cancelled"};
  return Status::from_errno(error_number, std::string(request.name()) + " " + request.state->path);
}

// Flushes, and durable writes whose bytes have been written, wait here for the next fdatasync.
// Those of one turn of the loop share it.
//
// Why not always RWF_DSYNC: where the device must be flushed, ext4 completes such a direct write in
// a kernel worker that is bound to one CPU. As soon as the CPUs are busy it waits a whole time
// slice (3.6 ms measured), where io_uring's own worker goes to the other CPU (110 us), and the
// reactor's thread is mostly running already. A link in the ring saves nothing over two submissions
// and could not be shared. Where the device needs no flush, nobody has to wait for one, and the
// kernel's worker has little to do (a kernel of 6.18: 0.29 ms at depth 1 on three OSDs, with the
// ring's 0.36).
void UringDisk::join_sync(Request* request) {
  State& state = *request->state;
  state.sync_waiters.emplace_back(request);
  if (state.sync_waiters.size() > 1) return;
  state.reactor.post([state = request->state] {
    // Behind what this turn has still to send: nobody is to wait for it but those who write.
    if (state->may_flush_here())
      state->reactor.post([state] { start_sync(state); });
    else
      start_sync(state);
  });
}

void UringDisk::start_sync(std::shared_ptr<State> state) {
  if (state->sync_waiters.empty()) return;  // the disk has gone
  const bool here = state->may_flush_here();
  auto waiters = std::exchange(state->sync_waiters, {});
  if (here) {
    const std::uint64_t start_ns = state->reactor.now_ns();
    const int result = state->reactor.fdatasync_here(state->fd);
    ++state->flush_counts.own_thread;
    finish_sync(*state, std::move(waiters), start_ns, result);
  } else {
    flush_by_worker(std::move(state), std::move(waiters));
  }
}

void UringDisk::flush_by_worker(std::shared_ptr<State> state,
                                std::vector<std::unique_ptr<Request>> waiters) {
  Reactor& reactor = state->reactor;
  const int fd = state->fd;
  state->flush_place.worker_began();
  ++state->flush_counts.worker;
  reactor.fdatasync(fd, [state = std::move(state), waiters = std::move(waiters),
                         start_ns = reactor.now_ns()](int result) mutable {
    state->flush_place.worker_ended();
    if (result == -EINTR) return flush_by_worker(std::move(state), std::move(waiters));
    finish_sync(*state, std::move(waiters), start_ns, result);
  });
}

// result: 0 or -errno
void UringDisk::finish_sync(State& state, std::vector<std::unique_ptr<Request>> waiters,
                            std::uint64_t start_ns, int result) {
  state.flush_place.flushed(state.reactor.now_ns() - start_ns);
  for (auto& waiter : waiters) {
    Request* request = waiter.release();
    finish(request, result < 0 ? failure(*request, -result) : Status::ok());
  }
}

// Recycles the request and tells its owner.
void UringDisk::finish(Request* request, Status status) {
  DiskDone done = std::move(request->done);
  const std::shared_ptr<State> state = std::move(request->state);
  state->give_request(std::unique_ptr<Request>(request));
  if (!state->closed) done(std::move(status));
}

}  // namespace cairn::io
