// MessageSocket: whole vhost-user messages over a connected unix stream socket. It never waits, and
// it owns every descriptor that arrives: those of a message that is refused are closed with it.
#pragma once

#include <array>
#include <optional>

#include "vhost_user/message.hh"

namespace cairn::vhost_user {

class MessageSocket {
 public:
  // The socket becomes non-blocking.
  explicit MessageSocket(FileDescriptor socket);

  // The next message, or nothing when it is not there yet in full. Errors: disconnected (the peer
  // has gone), protocol_error (header, or more than kMaxDescriptors descriptors), io_error. After
  // an error the socket is of no more use.
  Result<std::optional<Message>> receive();

  // Sends the whole message, its descriptors with its first byte. Errors: disconnected; busy when
  // the peer does not read what it is sent (the message may be half sent then).
  Status send(const Message& message);

  // Whether the peer has closed its end, even if messages are left to read.
  bool peer_closed() const;

  int fd() const { return socket_.get(); }

 private:
  // Reads up to `want` bytes and the descriptors with them; 0: nothing is there.
  Result<std::size_t> read_some(std::byte* into, std::size_t want);

  FileDescriptor socket_;
  std::array<std::byte, kHeaderBytes> header_{};
  std::size_t header_read_ = 0;
  std::size_t payload_read_ = 0;
  Message message_;  // being received
};

}  // namespace cairn::vhost_user
