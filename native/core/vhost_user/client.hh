// Client: a vhost-user front end without a guest, for tests and benchmarks. Its memory is a memfd,
// its driver half of each ring a virtio::DriverQueue. It waits for replies, so it belongs to a
// thread of its own, not to a reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "vhost_user/message_socket.hh"
#include "virtio/driver_queue.hh"
#include "virtio/guest_memory.hh"

namespace cairn::vhost_user {

class Client {
 public:
  struct Options {
    std::uint64_t memory_bytes = 64U << 20;
    std::uint64_t guest_address = 0x10'0000;  // where the memory begins for the device
    int reply_timeout_ms = 5'000;
    // Acknowledged as far as the back end offers them.
    std::uint64_t wanted_features = ~std::uint64_t{0};
  };
  // The driver's side of a running ring.
  struct Ring {
    std::unique_ptr<virtio::DriverQueue> queue;
    FileDescriptor kick;
    FileDescriptor call;
    void notify() const;
    // Waits until the device has called; false after timeout_ms (-1: never gives up).
    bool wait_for_call(int timeout_ms) const;
  };

  // Connects, negotiates, sends the memory. Errors: not_found, disconnected, protocol_error,
  // timed_out (no reply), io_error.
  static Result<std::unique_ptr<Client>> connect(const std::string& path, const Options& options);
  // Only connects and maps memory: for tests that speak the protocol themselves.
  static Result<std::unique_ptr<Client>> connect_raw(const std::string& path,
                                                     const Options& options);

  // Sets ring `index` up at the beginning of `size` descriptors' room, taken from the memory, and
  // starts it. first: where its indices start.
  Result<std::unique_ptr<Ring>> start_ring(std::uint32_t index, std::uint32_t size,
                                           std::uint16_t first = 0);
  // GET_VRING_BASE: drains the ring; the base to resume at.
  Result<std::uint16_t> stop_ring(std::uint32_t index);

  Result<std::vector<std::byte>> read_config(std::uint32_t length_bytes);
  std::uint64_t features() const { return features_; }
  std::uint64_t protocol_features() const { return protocol_features_; }

  // Room in the shared memory, aligned to 4096; there is no way to give it back.
  struct Room {
    std::byte* data = nullptr;
    std::uint64_t guest_address = 0;
  };
  Room take_memory(std::uint64_t length_bytes);

  // --- The protocol itself
  Status send(Request request, ByteSpan payload, std::span<const int> descriptors = {},
              bool need_reply = false);
  // The reply to `request`.
  Result<Message> receive(Request request);
  Result<std::uint64_t> ask_u64(Request request);
  Status send_u64(Request request, std::uint64_t value, std::span<const int> descriptors = {});
  // With an acknowledgement, where that was negotiated.
  Status send_checked(Request request, ByteSpan payload, std::span<const int> descriptors = {});
  Status send_ring_state(Request request, std::uint32_t index, std::uint32_t number);
  Status send_memory_table();
  MessageSocket& socket() { return socket_; }
  int memory_fd() const { return memory_fd_.get(); }

 private:
  Client(MessageSocket socket, FileDescriptor memory_fd, std::shared_ptr<virtio::Mapping> mapping,
         const Options& options);
  Status negotiate();

  MessageSocket socket_;
  FileDescriptor memory_fd_;
  std::shared_ptr<virtio::Mapping> mapping_;
  Options options_;
  std::uint64_t memory_used_ = 0;
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
};

}  // namespace cairn::vhost_user
