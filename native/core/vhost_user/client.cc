// A front end without a guest; see the header.
#include "vhost_user/client.hh"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace cairn::vhost_user {

namespace {

// Ring addresses are given in the front end's own address space. Any will do that is not the
// guest's, so that the two cannot be mistaken for each other unnoticed.
constexpr std::uint64_t kFrontEndBase = 0x7f00'0000'0000;
constexpr std::uint64_t kWantedProtocolFeatures =
    kProtocolMultiQueue | kProtocolReplyAck | kProtocolBackendRequests | kProtocolConfig;

Result<FileDescriptor> connect_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Status{ErrorCode::invalid_argument, "a socket path has 1 to 107 bytes"};
  std::memcpy(address.sun_path, path.data(), path.size());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Status::from_errno(errno, "connect to " + path);
  return socket;
}

Writer config_header(std::uint32_t length_bytes) {
  Writer writer;
  writer.put(std::uint32_t{0});  // offset
  writer.put(length_bytes);
  writer.put(std::uint32_t{0});  // flags
  return writer;
}

}  // namespace

void Client::Ring::notify() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(kick.get(), &one, sizeof one);
}

bool Client::Ring::wait_for_call(int timeout_ms) const {
  pollfd state{call.get(), POLLIN, 0};
  if (::poll(&state, 1, timeout_ms) != 1) return false;
  std::uint64_t count;
  return ::read(call.get(), &count, sizeof count) == sizeof count;
}

Client::Client(MessageSocket socket, FileDescriptor memory_fd,
               std::shared_ptr<virtio::Mapping> mapping, const Options& options)
    : socket_(std::move(socket)),
      memory_fd_(std::move(memory_fd)),
      mapping_(std::move(mapping)),
      options_(options) {}

Result<std::unique_ptr<Client>> Client::connect_raw(const std::string& path,
                                                    const Options& options) {
  auto socket = connect_socket(path);
  if (!socket) return socket.status();
  FileDescriptor memory(::memfd_create("vhost-user-client", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(options.memory_bytes)) != 0)
    return Status::from_errno(errno, "make shared memory");
  auto mapping = virtio::Mapping::make(memory.get(), 0, options.memory_bytes);
  if (!mapping) return mapping.status();
  return std::unique_ptr<Client>(new Client(MessageSocket(std::move(*socket)), std::move(memory),
                                            std::move(*mapping), options));
}

Result<std::unique_ptr<Client>> Client::connect(const std::string& path, const Options& options) {
  auto client = connect_raw(path, options);
  if (!client) return client.status();
  if (const Status status = (*client)->negotiate(); !status) return status;
  return client;
}

Status Client::negotiate() {
  auto features = ask_u64(Request::get_features);
  if (!features) return features.status();
  if ((*features & kFeatureProtocolFeatures) != 0) {
    auto protocol = ask_u64(Request::get_protocol_features);
    if (!protocol) return protocol.status();
    // Without asking for an acknowledgement: that is only being negotiated here.
    const std::uint64_t wanted = *protocol & kWantedProtocolFeatures;
    CAIRN_RETURN_IF_ERROR(send_u64(Request::set_protocol_features, wanted));
    protocol_features_ = wanted;
  }
  CAIRN_RETURN_IF_ERROR(send(Request::set_owner, {}));
  features_ = *features & (options_.wanted_features | kFeatureProtocolFeatures);
  CAIRN_RETURN_IF_ERROR(send_u64(Request::set_features, features_));
  return send_memory_table();
}

Status Client::send_memory_table() {
  Writer table;
  table.put(std::uint32_t{1});
  table.put(std::uint32_t{0});
  write_region(table, {options_.guest_address, options_.memory_bytes, kFrontEndBase, 0});
  const int fd = memory_fd_.get();
  return send_checked(Request::set_mem_table, table.span(), {&fd, 1});
}

Client::Room Client::take_memory(std::uint64_t length_bytes) {
  const std::uint64_t at = memory_used_;
  CAIRN_ASSERT(length_bytes <= options_.memory_bytes - at);
  memory_used_ = std::min((at + length_bytes + 4095) & ~std::uint64_t{4095}, options_.memory_bytes);
  return {mapping_->data() + at, options_.guest_address + at};
}

Result<std::unique_ptr<Client::Ring>> Client::start_ring(std::uint32_t index, std::uint32_t size,
                                                         std::uint16_t first) {
  auto ring = std::make_unique<Ring>();
  const Room room = take_memory(virtio::DriverQueue::memory_bytes(size));
  ring->queue =
      std::make_unique<virtio::DriverQueue>(room.data, room.guest_address, size, features_, first);
  ring->kick = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ring->call = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ring->kick || !ring->call) return Status::from_errno(errno, "make an eventfd");
  const auto at_front_end = [&](std::uint64_t address) {
    return kFrontEndBase + (address - options_.guest_address);
  };
  const virtio::RingAddresses addresses = ring->queue->addresses();
  Writer place;
  place.put(index);
  place.put(std::uint32_t{0});  // flags
  place.put(at_front_end(addresses.descriptors));
  place.put(at_front_end(addresses.used));
  place.put(at_front_end(addresses.available));
  place.put(std::uint64_t{0});  // no log
  CAIRN_RETURN_IF_ERROR(send_ring_state(Request::set_vring_num, index, size));
  CAIRN_RETURN_IF_ERROR(send_ring_state(Request::set_vring_base, index, first));
  CAIRN_RETURN_IF_ERROR(send_checked(Request::set_vring_addr, place.span()));
  const int call = ring->call.get();
  const int kick = ring->kick.get();
  CAIRN_RETURN_IF_ERROR(send_u64(Request::set_vring_call, index, {&call, 1}));
  CAIRN_RETURN_IF_ERROR(send_u64(Request::set_vring_kick, index, {&kick, 1}));
  if ((features_ & kFeatureProtocolFeatures) != 0)
    CAIRN_RETURN_IF_ERROR(send_ring_state(Request::set_vring_enable, index, 1));
  return ring;
}

Result<std::uint16_t> Client::stop_ring(std::uint32_t index) {
  CAIRN_RETURN_IF_ERROR(send_ring_state(Request::get_vring_base, index, 0));
  auto reply = receive(Request::get_vring_base);
  if (!reply) return reply.status();
  if (reply->payload.size() != 8)
    return Status{ErrorCode::protocol_error, "a vring state of a wrong size"};
  return static_cast<std::uint16_t>(load_le<std::uint32_t>(reply->payload.data() + 4));
}

Result<std::vector<std::byte>> Client::read_config(std::uint32_t length_bytes) {
  Writer payload = config_header(length_bytes);
  payload.raw(std::vector<std::byte>(length_bytes));
  const std::size_t header_bytes = payload.size() - length_bytes;
  CAIRN_RETURN_IF_ERROR(send(Request::get_config, payload.span()));
  auto reply = receive(Request::get_config);
  if (!reply) return reply.status();
  if (reply->payload.size() != header_bytes + length_bytes)
    return Status{ErrorCode::unsupported_feature, "the back end has no such configuration"};
  const auto begin = reply->payload.begin() + static_cast<std::ptrdiff_t>(header_bytes);
  return std::vector<std::byte>(begin, reply->payload.end());
}

// --- The protocol itself

Status Client::send(Request request, ByteSpan payload, std::span<const int> descriptors,
                    bool need_reply) {
  Message message;
  message.request = request;
  message.need_reply = need_reply;
  message.payload.assign(payload.begin(), payload.end());
  for (const int fd : descriptors)
    message.descriptors.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  return socket_.send(message);
}

Result<Message> Client::receive(Request request) {
  while (true) {
    auto received = socket_.receive();
    if (!received) return received.status();
    if (received->has_value()) {
      Message message = std::move(**received);
      if (message.reply && message.request == request) return message;
      return Status{ErrorCode::protocol_error, "a reply to something that was not asked"};
    }
    pollfd state{socket_.fd(), POLLIN, 0};
    if (::poll(&state, 1, options_.reply_timeout_ms) == 0)
      return Status{ErrorCode::timed_out, "the back end does not reply"};
  }
}

Result<std::uint64_t> Client::ask_u64(Request request) {
  CAIRN_RETURN_IF_ERROR(send(request, {}));
  auto reply = receive(request);
  if (!reply) return reply.status();
  if (reply->payload.size() != 8)
    return Status{ErrorCode::protocol_error, "a reply that is not one number"};
  return load_le<std::uint64_t>(reply->payload.data());
}

Status Client::send_u64(Request request, std::uint64_t value, std::span<const int> descriptors) {
  std::byte payload[8];
  store_le(payload, value);
  return send_checked(request, payload, descriptors);
}

Status Client::send_checked(Request request, ByteSpan payload, std::span<const int> descriptors) {
  const bool acknowledged = (protocol_features_ & kProtocolReplyAck) != 0;
  CAIRN_RETURN_IF_ERROR(send(request, payload, descriptors, acknowledged));
  if (!acknowledged) return Status::ok();
  auto reply = receive(request);
  if (!reply) return reply.status();
  if (reply->payload.size() != 8 || load_le<std::uint64_t>(reply->payload.data()) != 0)
    return {ErrorCode::invalid_argument,
            "the back end refused request " + std::to_string(static_cast<unsigned>(request))};
  return Status::ok();
}

Status Client::send_ring_state(Request request, std::uint32_t index, std::uint32_t number) {
  std::byte payload[8];
  store_le(payload, index);
  store_le(payload + 4, number);
  if (request == Request::get_vring_base) return send(request, payload);
  return send_checked(request, payload);
}

}  // namespace cairn::vhost_user
