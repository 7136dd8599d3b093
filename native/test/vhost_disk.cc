// A disk behind a vhost-user-blk back end, for tests: requests come on the standard input, replies
// go to the standard output, several at a time (up to kSlots). It ends when the input ends.
//   vhost_disk SOCKET
//   vhost_disk SOCKET --sizes
// With --sizes it only prints the capacity, as a line of text in bytes: at the start, and each time
// that the back end says that it has changed.
// Little-endian. First it writes the capacity: u64 bytes.
// Request: u32 type (virtio-blk's), u32 flags (1: unmap), u64 tag, u64 offset, u64 length, all in
// bytes; data behind a write. Reply: u64 tag, u32 status (virtio-blk's), u32 zero; data behind an
// answered read, of the length that was asked for.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "vhost_user/client.hh"
#include "virtio/block_request.hh"

namespace {

using namespace cairn;
using virtio::BlockRequestType;
using virtio::DriverQueue;

constexpr std::uint32_t kSlots = 16;
constexpr std::uint64_t kMaxDataBytes = std::uint64_t{1} << 20;
constexpr std::size_t kRequestBytes = 32;
constexpr std::size_t kReplyBytes = 16;
// virtio-blk's segment of discard and write zeroes: u64 sector, u32 sectors, u32 flags.
constexpr std::uint64_t kSegmentBytes = 16;
constexpr int kStallMs = 60'000;

bool read_all(std::byte* into, std::size_t length) {
  for (std::size_t done = 0; done < length;) {
    const ssize_t result = ::read(STDIN_FILENO, into + done, length - done);
    if (result <= 0) return false;
    done += static_cast<std::size_t>(result);
  }
  return true;
}

bool write_all(const std::byte* from, std::size_t length) {
  for (std::size_t done = 0; done < length;) {
    const ssize_t result = ::write(STDOUT_FILENO, from + done, length - done);
    if (result <= 0) return false;
    done += static_cast<std::size_t>(result);
  }
  return true;
}

bool input_is_ready() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) > 0;
}

class Disk {
 public:
  Disk(vhost_user::Client& client, vhost_user::Client::Ring& ring)
      : ring_(ring), queue_(*ring.queue), slots_(kSlots), slot_of_head_(queue_.size()) {
    for (std::uint32_t i = 0; i < kSlots; ++i) {
      slots_[i].header = client.take_memory(virtio::kBlockHeaderBytes + 1);
      slots_[i].data = client.take_memory(kMaxDataBytes);
      free_.push_back(i);
    }
  }

  // Until the input ends and all is answered; false when the back end or the reader has gone.
  bool run() {
    bool open = true;
    while (open || free_.size() < kSlots) {
      // Sleeps on the input only when nothing is under way.
      while (open && !free_.empty() && (free_.size() == kSlots || input_is_ready())) {
        open = take_request();
      }
      if (queue_.publish()) ring_.notify();
      if (free_.size() < kSlots && !answer_some()) return false;
    }
    return true;
  }

 private:
  struct Slot {
    vhost_user::Client::Room header;
    vhost_user::Client::Room data;
    BlockRequestType type = BlockRequestType::in;
    std::uint64_t tag = 0;
    std::uint64_t length_bytes = 0;
  };

  bool take_request() {
    std::byte bytes[kRequestBytes];
    if (!read_all(bytes, sizeof bytes)) return false;
    const std::uint32_t index = free_.back();
    Slot& slot = slots_[index];
    slot.type = static_cast<BlockRequestType>(load_le<std::uint32_t>(bytes));
    const auto flags = load_le<std::uint32_t>(bytes + 4);
    slot.tag = load_le<std::uint64_t>(bytes + 8);
    const auto sector = load_le<std::uint64_t>(bytes + 16) / virtio::kSectorBytes;
    slot.length_bytes = load_le<std::uint64_t>(bytes + 24);
    const bool ranged =
        slot.type == BlockRequestType::discard || slot.type == BlockRequestType::write_zeroes;
    CAIRN_ASSERT(ranged || slot.length_bytes <= kMaxDataBytes);
    if (slot.type == BlockRequestType::out && !read_all(slot.data.data, slot.length_bytes)) {
      return false;
    }
    store_le(slot.header.data, static_cast<std::uint32_t>(slot.type));
    store_le(slot.header.data + 4, std::uint32_t{0});
    store_le(slot.header.data + 8, ranged ? std::uint64_t{0} : sector);
    slot.header.data[virtio::kBlockHeaderBytes] = std::byte{0xff};
    std::uint64_t data_bytes = slot.type == BlockRequestType::flush ? 0 : slot.length_bytes;
    if (ranged) {
      data_bytes = kSegmentBytes;
      store_le(slot.data.data, sector);
      store_le(slot.data.data + 8,
               static_cast<std::uint32_t>(slot.length_bytes / virtio::kSectorBytes));
      store_le(slot.data.data + 12, flags);
    }
    submit(index, static_cast<std::uint32_t>(data_bytes));
    free_.pop_back();
    return true;
  }

  void submit(std::uint32_t index, std::uint32_t data_bytes) {
    const Slot& slot = slots_[index];
    std::vector<DriverQueue::Piece> pieces;
    pieces.push_back({slot.header.guest_address, virtio::kBlockHeaderBytes, false});
    if (data_bytes != 0) {
      pieces.push_back({slot.data.guest_address, data_bytes, slot.type == BlockRequestType::in});
    }
    pieces.push_back({slot.header.guest_address + virtio::kBlockHeaderBytes, 1, true});
    const auto head = queue_.add(pieces);
    CAIRN_ASSERT(head.has_value());
    slot_of_head_[*head] = index;
  }

  // Waits until at least one request is answered.
  bool answer_some() {
    while (!queue_.has_used()) {
      if (!queue_.enable_calls() && !ring_.wait_for_call(kStallMs)) return queue_.has_used();
    }
    queue_.disable_calls();
    while (const auto used = queue_.take_used()) {
      const std::uint32_t index = slot_of_head_[used->head];
      if (!answer(slots_[index])) return false;
      free_.push_back(index);
    }
    return true;
  }

  static bool answer(const Slot& slot) {
    std::byte reply[kReplyBytes] = {};
    store_le(reply, slot.tag);
    const auto status = static_cast<std::uint32_t>(slot.header.data[virtio::kBlockHeaderBytes]);
    store_le(reply + 8, status);
    if (!write_all(reply, sizeof reply)) return false;
    if (slot.type != BlockRequestType::in || status != 0) return true;
    return write_all(slot.data.data, slot.length_bytes);
  }

  vhost_user::Client::Ring& ring_;
  DriverQueue& queue_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> slot_of_head_;
};

Result<std::uint64_t> capacity_bytes(vhost_user::Client& client) {
  auto config = client.read_config(virtio::kBlockConfigBytes);
  if (!config) return config.status();
  return load_le<std::uint64_t>(config->data()) * virtio::kSectorBytes;
}

// Until nobody reads any more; then the status says why.
Status print_sizes(vhost_user::Client& client) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Status::from_errno(errno, "make a channel");
  vhost_user::MessageSocket channel{vhost_user::FileDescriptor(ends[0])};
  {
    const vhost_user::FileDescriptor theirs(ends[1]);
    CAIRN_RETURN_IF_ERROR(
        client.send_checked(vhost_user::Request::set_backend_req_fd, {}, {&ends[1], 1}));
  }
  while (true) {
    auto size = capacity_bytes(client);
    if (!size) return size.status();
    std::printf("%llu\n", static_cast<unsigned long long>(*size));
    if (std::fflush(stdout) != 0) return {ErrorCode::disconnected, "the reader has gone"};
    pollfd readable{channel.fd(), POLLIN, 0};
    if (::poll(&readable, 1, -1) < 0) return Status::from_errno(errno, "poll");
    if (const auto told = channel.receive(); !told) return told.status();
  }
}

int fail(const Status& status) {
  std::fprintf(stderr, "vhost_disk: %s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool sizes_only = argc == 3 && std::strcmp(argv[2], "--sizes") == 0;
  if (argc != 2 && !sizes_only) {
    std::fprintf(stderr, "usage: %s SOCKET [--sizes]\n", argv[0]);
    return 2;
  }
  auto client = vhost_user::Client::connect(argv[1], {});
  if (!client) return fail(client.status());
  if (sizes_only) return fail(print_sizes(**client));
  auto size = capacity_bytes(**client);
  if (!size) return fail(size.status());
  std::byte capacity[8];
  store_le(capacity, *size);
  if (!write_all(capacity, sizeof capacity)) return 1;
  auto ring = (*client)->start_ring(0, 256);
  if (!ring) return fail(ring.status());
  if (!Disk(**client, **ring).run()) {
    return fail({ErrorCode::disconnected, "the back end or the reader has gone"});
  }
  if (const auto base = (*client)->stop_ring(0); !base) return fail(base.status());
  return 0;
}
