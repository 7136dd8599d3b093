// Fuzzes the vhost-user back end from the socket to the rings: what a front end sends may be
// refused, but never crashes it, and leaks no descriptor.
//
// The input is a list of sends: u8 kinds of up to 3 descriptors (2 bits each: none, memory,
// eventfd, pipe), u8 length, then that many bytes for the socket.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "vhost_user/message_socket.hh"
#include "vhost_user/session.hh"
#include "virtio/block_config.hh"
#include "virtio/split_queue.hh"

namespace {

using namespace cairn;
using namespace cairn::vhost_user;

constexpr off_t kMemoryBytes = 0x10000;
constexpr int kMaxChains = 64;

// Walks the ring that it is given and stops where it is told to.
class WalkingDevice final : public virtio::Device {
 public:
  std::uint64_t features() const override {
    return virtio::block_features({std::uint64_t{1} << 30, 4, false});
  }
  std::uint32_t queue_count() const override { return 4; }
  void read_config(std::size_t, MutableByteSpan into) const override {
    if (!into.empty()) std::memset(into.data(), 1, into.size());
  }
  Status write_config(std::size_t, ByteSpan) override { return Status::ok(); }
  Status start_queue(std::uint32_t index, const virtio::QueueSetup& setup) override {
    auto ring = virtio::SplitQueue::make(setup.memory, setup.size, setup.addresses,
                                         setup.next_available, setup.features);
    if (!ring) return ring.status();
    CAIRN_ASSERT(::fcntl(setup.kick_fd, F_GETFD) >= 0);
    rings_[index].emplace(std::move(*ring));
    virtio::Chain chain;
    for (int i = 0; i < kMaxChains; ++i) {
      if (rings_[index]->pop(chain) != virtio::PopResult::chain) break;
      rings_[index]->push(chain.head, 0);
    }
    rings_[index]->publish();
    return Status::ok();
  }
  void set_call(std::uint32_t index, int) override { CAIRN_ASSERT(rings_[index].has_value()); }
  void stop_queue(std::uint32_t index, virtio::StopDone done) override {
    const std::uint16_t next = rings_[index]->next_available();
    rings_[index].reset();
    done(next);
  }

 private:
  std::optional<virtio::SplitQueue> rings_[4];
};

int new_descriptor(unsigned kind) {
  static const FileDescriptor memory(::memfd_create("fuzz", MFD_CLOEXEC));
  static const bool sized = ::ftruncate(memory.get(), kMemoryBytes) == 0;
  static const FileDescriptor event(::eventfd(0, EFD_CLOEXEC));
  static const FileDescriptor other(::open("/dev/null", O_RDWR | O_CLOEXEC));
  CAIRN_ASSERT(sized);
  const int from = kind == 1 ? memory.get() : kind == 2 ? event.get() : other.get();
  return ::fcntl(from, F_DUPFD_CLOEXEC, 0);
}

// The lowest free descriptor: it rises for good when one is leaked.
int lowest_free() {
  const FileDescriptor probe(new_descriptor(3));
  return probe.get();
}

void send_raw(int socket, ByteSpan bytes, unsigned kinds) {
  alignas(cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))] = {};
  std::vector<FileDescriptor> held;
  for (; kinds != 0; kinds >>= 2)
    if ((kinds & 3) != 0) held.emplace_back(new_descriptor(kinds & 3));
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (!held.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(held.size() * sizeof(int));
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(held.size() * sizeof(int));
    for (std::size_t i = 0; i < held.size(); ++i) {
      const int fd = held[i].get();
      std::memcpy(CMSG_DATA(part) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  [[maybe_unused]] const ssize_t sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void stop(Session& session, virtio::Device& device, const std::vector<std::uint32_t>& rings) {
  for (const std::uint32_t index : rings)
    device.stop_queue(index, [&](std::uint16_t next) { session.ring_stopped(index, next); });
}

// As the server's connection does it; false: the connection has ended.
bool drive(MessageSocket& socket, Session& session, virtio::Device& device) {
  while (true) {
    auto received = socket.receive();
    if (!received) return false;
    if (!received->has_value()) return true;
    Message message = std::move(**received);
    stop(session, device, session.rings_to_stop(message));
    const Session::Outcome outcome = session.apply(std::move(message));
    if (outcome.new_call) device.set_call(outcome.new_call->index, outcome.new_call->fd);
    if (!outcome.failure.is_ok()) return false;
    if (outcome.reply && !socket.send(*outcome.reply).is_ok()) return false;
    for (const Session::Start& start : session.rings_to_start()) {
      if (device.start_queue(start.index, start.setup).is_ok())
        session.ring_started(start.index);
      else
        session.ring_refused(start.index);
    }
  }
}

void run(ByteSpan input) {
  int ends[2];
  CAIRN_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  const FileDescriptor front(ends[0]);
  MessageSocket socket{FileDescriptor(ends[1])};
  WalkingDevice device;
  Session session(device);
  Reader reader(input);
  while (reader.remaining() > 0) {
    const auto kinds = reader.get<std::uint8_t>();
    const std::size_t length =
        std::min<std::size_t>(reader.get<std::uint8_t>(), reader.remaining());
    if (length == 0) continue;
    send_raw(front.get(), reader.raw(length), kinds & 0x3fU);
    if (!drive(socket, session, device)) break;
    std::byte replies[4096];
    [[maybe_unused]] const ssize_t got = ::recv(front.get(), replies, sizeof replies, 0);
  }
  stop(session, device, session.running_rings());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int before = lowest_free();
  run({reinterpret_cast<const std::byte*>(data), size});
  CAIRN_ASSERT(lowest_free() == before);
  return 0;
}
