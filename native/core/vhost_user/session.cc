// Dispatch, negotiation and rings; the memory table is in session_memory.cc. See the header.
#include "vhost_user/session.hh"

#include <algorithm>
#include <string>
#include <utility>

namespace cairn::vhost_user {

namespace {

constexpr std::uint64_t kRingIndexMask = 0xff;  // of SET_VRING_{KICK,CALL,ERR}
constexpr std::uint64_t kRingNoDescriptor = 1U << 8;
constexpr std::size_t kConfigHeaderBytes = 12;  // u32 offset, u32 size, u32 flags
constexpr std::uint32_t kMaxConfigBytes = 256;  // VHOST_USER_MAX_CONFIG_SIZE
constexpr std::size_t kNumber = 8;              // payload of one u64
constexpr std::size_t kRingState = 8;           // u32 index, u32 num
constexpr std::size_t kRingAddress = 40;        // u32 index, u32 flags, 4 addresses

Status refuse(std::string why) { return {ErrorCode::protocol_error, std::move(why)}; }

std::uint64_t number_of(const Message& message) {
  return load_le<std::uint64_t>(message.payload.data());
}

// index and num of a vring state payload
std::pair<std::uint32_t, std::uint32_t> ring_state_of(const Message& message) {
  return {load_le<std::uint32_t>(message.payload.data()),
          load_le<std::uint32_t>(message.payload.data() + 4)};
}

std::uint32_t ring_index_of(const Message& message) {
  const auto index = load_le<std::uint32_t>(message.payload.data());
  switch (message.request) {
    case Request::set_vring_kick:
    case Request::set_vring_call:
    case Request::set_vring_err:
      return index & kRingIndexMask;
    default:
      return index;
  }
}

}  // namespace

const Session::Rule Session::kRules[] = {
    {Request::get_features, "GET_FEATURES", 0, 0, Stops::none, &Session::get_features},
    {Request::set_features, "SET_FEATURES", kNumber, 0, Stops::all_if_features_change,
     &Session::set_features},
    {Request::set_owner, "SET_OWNER", 0, 0, Stops::none, &Session::set_owner},
    {Request::reset_owner, "RESET_OWNER", 0, 0, Stops::all, &Session::reset_owner},
    {Request::get_protocol_features, "GET_PROTOCOL_FEATURES", 0, 0, Stops::none,
     &Session::get_protocol_features},
    {Request::set_protocol_features, "SET_PROTOCOL_FEATURES", kNumber, 0, Stops::none,
     &Session::set_protocol_features},
    {Request::get_queue_num, "GET_QUEUE_NUM", 0, 0, Stops::none, &Session::get_queue_num},
    {Request::get_config, "GET_CONFIG", kAnyPayload, 0, Stops::none, &Session::get_config},
    {Request::set_config, "SET_CONFIG", kAnyPayload, 0, Stops::none, &Session::set_config},
    {Request::set_backend_req_fd, "SET_BACKEND_REQ_FD", 0, 1, Stops::none,
     &Session::set_backend_req_fd},
    {Request::set_mem_table, "SET_MEM_TABLE", kAnyPayload, kMaxDescriptors, Stops::all,
     &Session::set_mem_table},
    {Request::get_max_mem_slots, "GET_MAX_MEM_SLOTS", 0, 0, Stops::none,
     &Session::get_max_mem_slots},
    {Request::add_mem_reg, "ADD_MEM_REG", kNumber + kMemoryRegionBytes, 1, Stops::all,
     &Session::add_mem_reg},
    // Some front ends send the region's descriptor here too; it is of no use.
    {Request::rem_mem_reg, "REM_MEM_REG", kNumber + kMemoryRegionBytes, 1, Stops::all,
     &Session::rem_mem_reg},
    {Request::set_vring_num, "SET_VRING_NUM", kRingState, 0, Stops::one, &Session::set_vring_num},
    {Request::set_vring_addr, "SET_VRING_ADDR", kRingAddress, 0, Stops::one,
     &Session::set_vring_addr},
    {Request::set_vring_base, "SET_VRING_BASE", kRingState, 0, Stops::one,
     &Session::set_vring_base},
    {Request::get_vring_base, "GET_VRING_BASE", kRingState, 0, Stops::one,
     &Session::get_vring_base},
    {Request::set_vring_kick, "SET_VRING_KICK", kNumber, 1, Stops::one, &Session::set_vring_kick},
    {Request::set_vring_call, "SET_VRING_CALL", kNumber, 1, Stops::none, &Session::set_vring_call},
    {Request::set_vring_err, "SET_VRING_ERR", kNumber, 1, Stops::one, &Session::set_vring_err},
    {Request::set_vring_enable, "SET_VRING_ENABLE", kRingState, 0, Stops::one_if_disabled,
     &Session::set_vring_enable},
};

const Session::Rule* Session::find_rule(Request request) {
  const auto* found = std::find_if(std::begin(kRules), std::end(kRules),
                                   [&](const Rule& rule) { return rule.request == request; });
  return found == std::end(kRules) ? nullptr : found;
}

Session::Session(virtio::Device& device) : device_(device), rings_(device.queue_count()) {}

std::vector<std::uint32_t> Session::running_rings() const {
  std::vector<std::uint32_t> running;
  for (std::uint32_t i = 0; i < rings_.size(); ++i)
    if (rings_[i].running) running.push_back(i);
  return running;
}

std::vector<std::uint32_t> Session::rings_to_stop(const Message& message) const {
  const Rule* rule = find_rule(message.request);
  // A message that apply() will refuse stops nothing.
  if (rule == nullptr || message.reply) return {};
  if (rule->payload_bytes != kAnyPayload && rule->payload_bytes != message.payload.size())
    return {};
  switch (rule->stops) {
    case Stops::none:
      return {};
    case Stops::all:
      return running_rings();
    case Stops::all_if_features_change:
      if (number_of(message) == features_) return {};
      return running_rings();
    case Stops::one_if_disabled:
      if (ring_state_of(message).second != 0) return {};
      break;
    case Stops::one:
      break;
  }
  const std::uint32_t index = ring_index_of(message);
  if (index >= rings_.size() || !rings_[index].running) return {};
  return {index};
}

void Session::ring_stopped(std::uint32_t index, std::uint16_t next_available) {
  CAIRN_ASSERT(index < rings_.size() && rings_[index].running);
  rings_[index].running = false;
  rings_[index].base = next_available;
}

bool Session::acknowledges(const Message& message) const {
  return message.need_reply && (protocol_features_ & kProtocolReplyAck) != 0;
}

Session::Outcome Session::fail(const Message& message, const Status& why) const {
  Outcome outcome;
  if (acknowledges(message)) {
    outcome.reply = reply_u64(message.request, 1);
  } else if (why.code() != ErrorCode::unsupported_feature ||
             find_rule(message.request) == nullptr) {
    // Without an acknowledgement the front end would take it for done.
    outcome.failure = why;
  }
  return outcome;
}

Session::Outcome Session::apply(Message message) {
  const Rule* rule = find_rule(message.request);
  if (rule == nullptr) {
    return fail(message, {ErrorCode::unsupported_feature,
                          "request " + std::to_string(static_cast<std::uint32_t>(message.request)) +
                              " is not supported"});
  }
  const std::string name = rule->name;
  if (message.reply) return fail(message, refuse(name + " is marked as a reply"));
  if (rule->payload_bytes != kAnyPayload && rule->payload_bytes != message.payload.size())
    return fail(message, refuse(name + " has a payload of " +
                                std::to_string(message.payload.size()) + " bytes"));
  if (message.descriptors.size() > rule->max_descriptors)
    return fail(message, refuse(name + " has too many descriptors"));
  Outcome outcome;
  const Status status = (this->*rule->handler)(message, outcome);
  if (!status) return fail(message, {status.code(), name + ": " + status.message()});
  if (!outcome.reply && acknowledges(message)) outcome.reply = reply_u64(message.request, 0);
  return outcome;
}

// --- Negotiation

Status Session::get_features(Message&, Outcome& outcome) {
  outcome.reply = reply_u64(Request::get_features, device_.features() | kFeatureProtocolFeatures);
  return Status::ok();
}

Status Session::set_features(Message& message, Outcome&) {
  const std::uint64_t features = number_of(message);
  if ((features & ~(device_.features() | kFeatureProtocolFeatures)) != 0)
    return refuse("features that were not offered");
  features_ = features;
  for (Ring& ring : rings_) ring.refused = false;
  return Status::ok();
}

Status Session::set_owner(Message&, Outcome&) { return Status::ok(); }

Status Session::reset_owner(Message&, Outcome&) {
  for (Ring& ring : rings_) ring = Ring{};
  return Status::ok();
}

Status Session::get_protocol_features(Message&, Outcome& outcome) {
  outcome.reply = reply_u64(Request::get_protocol_features, kProtocolFeatures);
  return Status::ok();
}

Status Session::set_protocol_features(Message& message, Outcome&) {
  const std::uint64_t features = number_of(message);
  if ((features & ~kProtocolFeatures) != 0) return refuse("features that were not offered");
  protocol_features_ = features;
  return Status::ok();
}

Status Session::get_queue_num(Message&, Outcome& outcome) {
  outcome.reply = reply_u64(Request::get_queue_num, device_.queue_count());
  return Status::ok();
}

Status Session::get_config(Message& message, Outcome& outcome) {
  Reader reader(message.payload);
  const auto offset = reader.get<std::uint32_t>();
  const auto size = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // flags: only migration has some
  outcome.reply.emplace();
  outcome.reply->request = Request::get_config;
  outcome.reply->reply = true;
  // An empty payload is the protocol's way to say no.
  if (!reader.ok() || reader.remaining() != size || size > kMaxConfigBytes) return Status::ok();
  outcome.reply->payload = std::move(message.payload);
  device_.read_config(offset, MutableByteSpan(outcome.reply->payload).subspan(kConfigHeaderBytes));
  return Status::ok();
}

Status Session::set_config(Message& message, Outcome&) {
  Reader reader(message.payload);
  const auto offset = reader.get<std::uint32_t>();
  const auto size = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();
  if (!reader.ok() || reader.remaining() != size) return refuse("its size is wrong");
  return device_.write_config(offset, reader.raw(size));
}

Status Session::set_backend_req_fd(Message& message, Outcome& outcome) {
  if ((protocol_features_ & kProtocolBackendRequests) == 0) return refuse("it was not negotiated");
  if (message.descriptors.empty()) return refuse("it has no descriptor");
  outcome.backend_channel = std::move(message.descriptors.front());
  return Status::ok();
}

// --- Rings

bool Session::ring_enabled(const Ring& ring) const {
  // Without protocol features there is no SET_VRING_ENABLE, and a ring starts enabled.
  return ring.enabled || (features_ & kFeatureProtocolFeatures) == 0;
}

Result<Session::Ring*> Session::ring_of(std::uint64_t index) {
  if (index >= rings_.size()) return refuse("ring " + std::to_string(index) + " does not exist");
  return &rings_[index];
}

Status Session::set_vring_num(Message& message, Outcome&) {
  const auto [index, size] = ring_state_of(message);
  const auto ring = ring_of(index);
  if (!ring) return ring.status();
  if (size == 0 || size > virtio::kMaxQueueSize || (size & (size - 1)) != 0)
    return refuse("a queue size of " + std::to_string(size));
  ring.value()->size = size;
  ring.value()->refused = false;
  return Status::ok();
}

Status Session::set_vring_addr(Message& message, Outcome&) {
  Reader reader(message.payload);
  const auto index = reader.get<std::uint32_t>();
  const auto flags = reader.get<std::uint32_t>();
  virtio::RingAddresses addresses;
  addresses.descriptors = reader.get<std::uint64_t>();
  addresses.used = reader.get<std::uint64_t>();
  addresses.available = reader.get<std::uint64_t>();
  const auto ring = ring_of(index);
  if (!ring) return ring.status();
  if (flags != 0) return refuse("dirty logging was not negotiated");
  ring.value()->front_end_addresses = addresses;
  ring.value()->refused = false;
  return Status::ok();
}

Status Session::set_vring_base(Message& message, Outcome&) {
  const auto [index, base] = ring_state_of(message);
  const auto ring = ring_of(index);
  if (!ring) return ring.status();
  if (base > 0xffff) return refuse("a base of " + std::to_string(base));
  ring.value()->base = static_cast<std::uint16_t>(base);
  ring.value()->refused = false;
  return Status::ok();
}

Status Session::get_vring_base(Message& message, Outcome& outcome) {
  const std::uint32_t index = ring_state_of(message).first;
  const auto ring = ring_of(index);
  if (!ring) return ring.status();
  CAIRN_ASSERT(!ring.value()->running);
  ring.value()->kick = FileDescriptor();  // it starts again with the next SET_VRING_KICK
  outcome.reply.emplace();
  outcome.reply->request = Request::get_vring_base;
  outcome.reply->reply = true;
  Writer writer;
  writer.put(index);
  writer.put(std::uint32_t{ring.value()->base});
  outcome.reply->payload = writer.take();
  return Status::ok();
}

Result<Session::Ring*> Session::take_ring_fd(Message& message, FileDescriptor& fd) {
  const std::uint64_t number = number_of(message);
  const auto ring = ring_of(number & kRingIndexMask);
  if (!ring) return ring.status();
  const bool has_fd = !message.descriptors.empty();
  if (has_fd == ((number & kRingNoDescriptor) != 0))
    return refuse("the descriptor and the flag for it do not agree");
  if (!has_fd) return ring;
  fd = std::move(message.descriptors.front());
  if (!fd.set_nonblocking()) return refuse("the descriptor is of no use");
  return ring;
}

Status Session::set_vring_kick(Message& message, Outcome&) {
  FileDescriptor fd;
  const auto ring = take_ring_fd(message, fd);
  if (!ring) return ring.status();
  if (!fd) return refuse("a ring without a kick descriptor would have to be polled for ever");
  ring.value()->kick = std::move(fd);
  ring.value()->refused = false;
  return Status::ok();
}

Status Session::set_vring_call(Message& message, Outcome& outcome) {
  FileDescriptor fd;
  const auto ring = take_ring_fd(message, fd);
  if (!ring) return ring.status();
  std::swap(ring.value()->call, fd);
  if (ring.value()->running) {
    const auto index = static_cast<std::uint32_t>(ring.value() - rings_.data());
    outcome.new_call = NewCall{index, ring.value()->call.get(), std::move(fd)};
  }
  return Status::ok();
}

Status Session::set_vring_err(Message& message, Outcome&) {
  FileDescriptor fd;
  const auto ring = take_ring_fd(message, fd);
  if (!ring) return ring.status();
  ring.value()->error = std::move(fd);
  return Status::ok();
}

Status Session::set_vring_enable(Message& message, Outcome&) {
  const auto [index, enable] = ring_state_of(message);
  const auto ring = ring_of(index);
  if (!ring) return ring.status();
  if (enable > 1) return refuse("neither 0 nor 1");
  ring.value()->enabled = enable == 1;
  return Status::ok();
}

std::vector<Session::Start> Session::rings_to_start() {
  std::vector<Start> starts;
  for (std::uint32_t index = 0; index < rings_.size(); ++index) {
    Ring& ring = rings_[index];
    if (ring.running || ring.refused || !ring_enabled(ring) || !ring.kick || ring.size == 0 ||
        !ring.front_end_addresses || memory_ == nullptr)
      continue;
    Start start;
    start.index = index;
    start.setup.size = ring.size;
    start.setup.next_available = ring.base;
    start.setup.features = features_;
    start.setup.memory = memory_;
    start.setup.kick_fd = ring.kick.get();
    start.setup.call_fd = ring.call.get();
    start.setup.error_fd = ring.error.get();
    // An address that is in no region stays one that is in no guest memory: the device refuses it.
    constexpr std::uint64_t kNowhere = ~std::uint64_t{0xfff};
    const auto& from = *ring.front_end_addresses;
    start.setup.addresses = {to_guest_address(from.descriptors).value_or(kNowhere),
                             to_guest_address(from.available).value_or(kNowhere),
                             to_guest_address(from.used).value_or(kNowhere)};
    starts.push_back(std::move(start));
  }
  return starts;
}

}  // namespace cairn::vhost_user
