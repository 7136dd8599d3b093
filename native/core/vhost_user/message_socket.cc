// recvmsg and sendmsg with SCM_RIGHTS; see the header.
#include "vhost_user/message_socket.hh"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace cairn::vhost_user {

namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * kMaxDescriptors);

// Takes every descriptor of a received message, expected or not.
void take_descriptors(msghdr& header, std::vector<FileDescriptor>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      into.emplace_back(fd);
    }
  }
}

Status peer_gone() { return {ErrorCode::disconnected, "the peer closed the connection"}; }

}  // namespace

MessageSocket::MessageSocket(FileDescriptor socket) : socket_(std::move(socket)) {
  socket_.set_nonblocking();
}

Result<std::size_t> MessageSocket::read_some(std::byte* into, std::size_t want) {
  alignas(cmsghdr) char control[kControlBytes];
  iovec piece{into, want};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    if (errno == ECONNRESET) return peer_gone();
    return Status::from_errno(errno, "receive a vhost-user message");
  }
  take_descriptors(header, message_.descriptors);
  // Truncated: the kernel has closed what did not fit.
  if ((header.msg_flags & MSG_CTRUNC) != 0 || message_.descriptors.size() > kMaxDescriptors)
    return Status{ErrorCode::protocol_error, "a message has more than 8 descriptors"};
  if (got == 0) return peer_gone();
  return static_cast<std::size_t>(got);
}

Result<std::optional<Message>> MessageSocket::receive() {
  while (header_read_ < kHeaderBytes) {
    auto got = read_some(header_.data() + header_read_, kHeaderBytes - header_read_);
    if (!got) return got.status();
    if (*got == 0) return std::optional<Message>();
    header_read_ += *got;
    if (header_read_ < kHeaderBytes) continue;
    auto header = decode_header(header_);
    if (!header) return header.status();
    message_.request = header->request;
    message_.reply = (header->flags & kFlagReply) != 0;
    message_.need_reply = (header->flags & kFlagNeedReply) != 0;
    message_.payload.resize(header->payload_bytes);
  }
  while (payload_read_ < message_.payload.size()) {
    auto got =
        read_some(message_.payload.data() + payload_read_, message_.payload.size() - payload_read_);
    if (!got) return got.status();
    if (*got == 0) return std::optional<Message>();
    payload_read_ += *got;
  }
  header_read_ = 0;
  payload_read_ = 0;
  return std::optional<Message>(std::exchange(message_, Message{}));
}

Status MessageSocket::send(const Message& message) {
  CAIRN_ASSERT(message.descriptors.size() <= kMaxDescriptors);
  const std::vector<std::byte> bytes = encode(message);
  alignas(cmsghdr) char control[kControlBytes] = {};
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (const std::size_t count = message.descriptors.size(); count > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (std::size_t i = 0; i < count; ++i) {
      const int fd = message.descriptors[i].get();
      std::memcpy(CMSG_DATA(part) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  while (piece.iov_len > 0) {
    const ssize_t sent = ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) return peer_gone();
      if (errno == EAGAIN || errno == EWOULDBLOCK)
        return {ErrorCode::busy, "the peer does not read what it is sent"};
      return Status::from_errno(errno, "send a vhost-user message");
    }
    piece.iov_base = static_cast<char*>(piece.iov_base) + sent;
    piece.iov_len -= static_cast<std::size_t>(sent);
    header.msg_control = nullptr;  // the descriptors went with the first byte
    header.msg_controllen = 0;
  }
  return Status::ok();
}

bool MessageSocket::peer_closed() const {
  pollfd state{socket_.get(), POLLRDHUP, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace cairn::vhost_user
