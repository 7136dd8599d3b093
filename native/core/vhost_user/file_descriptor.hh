// FileDescriptor: a descriptor that closes itself, so that nothing a peer sends is ever leaked.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace cairn::vhost_user {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  // Reads and writes answer EAGAIN instead of waiting: the peer holds the other end, and must not
  // be able to make us wait. It is a property of the open file, so the peer's descriptor has it
  // too.
  bool set_nonblocking() const {
    const int flags = ::fcntl(fd_, F_GETFL);
    return flags >= 0 && ::fcntl(fd_, F_SETFL, flags | O_NONBLOCK) == 0;
  }

 private:
  int fd_ = -1;
};

}  // namespace cairn::vhost_user
