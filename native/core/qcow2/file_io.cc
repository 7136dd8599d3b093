// The loops behind file_io.hh.
#include "qcow2/file_io.hh"

#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <utility>

namespace cairn::qcow2 {

namespace {

std::uint64_t advance(std::uint64_t offset, std::size_t length) {
  return offset == kStreamOffset ? offset : offset + length;
}

struct ReadOperation {
  io::Reactor& reactor;
  int fd;
  MutableByteSpan into;
  std::uint64_t offset;
  FileReadDone done;
  std::size_t filled = 0;
  iovec rest{};
};

void read_on(std::unique_ptr<ReadOperation> operation) {
  ReadOperation& op = *operation;
  op.rest = {op.into.data() + op.filled, op.into.size() - op.filled};
  op.reactor.readv(op.fd, {&op.rest, 1}, advance(op.offset, op.filled),
                   [operation = std::move(operation)](int result) mutable {
                     ReadOperation& read = *operation;
                     if (result == -EINTR) return read_on(std::move(operation));
                     if (result < 0)
                       return read.done(Status::from_errno(-result, "read the image file"), 0);
                     read.filled += static_cast<std::size_t>(result);
                     if (result == 0 || read.filled == read.into.size())
                       return read.done(Status::ok(), read.filled);
                     read_on(std::move(operation));
                   });
}

struct WriteOperation {
  io::Reactor& reactor;
  int fd;
  Buffer from;
  std::uint64_t offset;
  FileWriteDone done;
  std::size_t written = 0;
  iovec rest{};
};

void write_on(std::unique_ptr<WriteOperation> operation) {
  WriteOperation& op = *operation;
  op.rest = {op.from.data() + op.written, op.from.size() - op.written};
  op.reactor.writev(op.fd, {&op.rest, 1}, advance(op.offset, op.written), 0,
                    [operation = std::move(operation)](int result) mutable {
                      WriteOperation& write = *operation;
                      if (result == -EINTR) return write_on(std::move(operation));
                      if (result <= 0)
                        return write.done(Status::from_errno(result == 0 ? EIO : -result,
                                                             "write the image file"));
                      write.written += static_cast<std::size_t>(result);
                      if (write.written == write.from.size()) return write.done(Status::ok());
                      write_on(std::move(operation));
                    });
}

}  // namespace

Status make_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return Status::from_errno(errno, "look at the image file");
  if ((flags & O_NONBLOCK) != 0 && ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
    return Status::from_errno(errno, "set up the image file");
  return Status::ok();
}

void read_fully(io::Reactor& reactor, int fd, MutableByteSpan into, std::uint64_t offset,
                FileReadDone done) {
  read_on(std::make_unique<ReadOperation>(
      ReadOperation{reactor, fd, into, offset, std::move(done), 0, {}}));
}

void write_fully(io::Reactor& reactor, int fd, Buffer from, std::uint64_t offset,
                 FileWriteDone done) {
  write_on(std::make_unique<WriteOperation>(
      WriteOperation{reactor, fd, std::move(from), offset, std::move(done), 0, {}}));
}

}  // namespace cairn::qcow2
