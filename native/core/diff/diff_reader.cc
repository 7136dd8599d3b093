// Reading in chunks: see diff_reader.hh.
#include "diff/diff_reader.hh"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "qcow2/file_io.hh"

namespace cairn::diff {

Result<std::shared_ptr<DiffReader>> DiffReader::open(io::Reactor& reactor, int fd) {
  CAIRN_RETURN_IF_ERROR(qcow2::make_blocking(fd));
  struct stat attributes {};
  if (::fstat(fd, &attributes) != 0) return Status::from_errno(errno, "look at the diff");
  std::shared_ptr<DiffReader> reader(new DiffReader(reactor, fd));
  if (!S_ISREG(attributes.st_mode)) return reader;
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  if (at < 0) return Status::from_errno(errno, "look at the diff");
  reader->is_regular_ = true;
  reader->start_ = static_cast<std::uint64_t>(at);
  reader->file_bytes_ = static_cast<std::uint64_t>(attributes.st_size);
  return reader;
}

DiffReader::DiffReader(io::Reactor& reactor, int fd)
    : reactor_(reactor), fd_(fd), chunk_(Buffer::allocate(kChunkBytes)) {}

void DiffReader::fill(Done done) {
  CAIRN_ASSERT(rest_.empty());
  target_ = {chunk_.data(), chunk_.size()};
  reactor_.readv(fd_, {&target_, 1}, qcow2::kStreamOffset,
                 [self = shared_from_this(), done = std::move(done)](int result) mutable {
                   if (result == -EINTR) return self->fill(std::move(done));
                   if (result < 0) return done(Status::from_errno(-result, "read the diff"));
                   if (result == 0) return done(self->parser_.end_of_input());
                   self->rest_ = self->chunk_.span().first(static_cast<std::size_t>(result));
                   done(Status::ok());
                 });
}

void DiffReader::check(Done done) {
  if (!is_regular_) return done(Status::ok());
  check_done_ = std::move(done);
  check_on();
}

void DiffReader::check_on() {
  while (true) {
    const Result<DiffEvent> event = next();
    if (!event) return checked(event.status());
    if (event.value().kind == EventKind::finished) return checked(Status::ok());
    if (event.value().kind != EventKind::need_bytes) continue;
    if (Status skipped = skip_payload(); !skipped) return checked(std::move(skipped));
    return fill([self = shared_from_this()](Status status) {
      if (!status) return self->checked(std::move(status));
      self->check_on();
    });
  }
}

// The rest of a payload that lies behind the chunk.
Status DiffReader::skip_payload() {
  const std::uint64_t length = parser_.payload_bytes();
  if (length == 0) return Status::ok();
  if (start_ + parser_.position() + length > file_bytes_) return parser_.end_of_input();
  if (::lseek(fd_, static_cast<off_t>(length), SEEK_CUR) < 0)
    return Status::from_errno(errno, "read the diff");
  parser_.skip_payload(length);
  return Status::ok();
}

void DiffReader::checked(Status status) {
  parser_ = {};
  rest_ = {};
  if (::lseek(fd_, static_cast<off_t>(start_), SEEK_SET) < 0 && status)
    status = Status::from_errno(errno, "read the diff");
  std::exchange(check_done_, nullptr)(std::move(status));
}

}  // namespace cairn::diff
