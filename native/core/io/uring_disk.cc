// Opening, locking and the blocking half of UringDisk; see the header for its invariants.
#include "io/uring_disk.hh"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "io/uring_disk_requests.hh"
#include "io/write_cache.hh"

namespace cairn::io {

namespace {

constexpr std::uint64_t kStatBlockBytes = 512;  // the unit of st_blocks, stat(2)
// Bytes of one system call: the kernel cuts reads and writes at 2 GiB - 4096 (MAX_RW_COUNT).
constexpr std::size_t kMaxCallBytes = std::size_t{1} << 30;

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
  size -= size % Buffer::kAlignment;
  if (size == 0) return Status(ErrorCode::invalid_argument, path + " is smaller than 4096 bytes");
  return size;
}

}  // namespace

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
  while (::fdatasync(state_->fd) != 0)
    if (errno != EINTR) return state_->flush_outcome(errno);
  return state_->flush_outcome(0);
}

}  // namespace cairn::io
