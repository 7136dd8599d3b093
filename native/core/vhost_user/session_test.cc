// The session as a state machine: what each message does, without sockets or rings.
#include "vhost_user/session.hh"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>

namespace cairn::vhost_user {
namespace {

constexpr std::uint64_t kOffered = virtio::kFeatureVersion1 | virtio::kFeatureEventIdx;
constexpr std::uint64_t kFrontEnd = 0x7000'0000;

// A device that only answers questions; the session never starts a queue itself.
class StubDevice final : public virtio::Device {
 public:
  std::uint64_t features() const override { return kOffered; }
  std::uint32_t queue_count() const override { return 2; }
  void read_config(std::size_t offset, MutableByteSpan into) const override {
    std::fill(into.begin(), into.end(), std::byte{static_cast<unsigned char>(0x40 + offset)});
  }
  Status write_config(std::size_t, ByteSpan) override {
    return {ErrorCode::unsupported_feature, "not writable"};
  }
  Status start_queue(std::uint32_t, const virtio::QueueSetup&) override { return Status::ok(); }
  void set_call(std::uint32_t, int) override {}
  void stop_queue(std::uint32_t, virtio::StopDone) override {}
};

FileDescriptor memory_file(off_t length) {
  FileDescriptor fd(::memfd_create("session", MFD_CLOEXEC));
  REQUIRE(::ftruncate(fd.get(), length) == 0);
  return fd;
}
FileDescriptor event_file() { return FileDescriptor(::eventfd(0, EFD_CLOEXEC)); }

struct Fixture {
  Session::Outcome send(Request request, const Writer& payload,
                        std::vector<FileDescriptor> descriptors = {}, bool need_reply = false) {
    Message message;
    message.request = request;
    message.need_reply = need_reply;
    message.payload.assign(payload.span().begin(), payload.span().end());
    message.descriptors = std::move(descriptors);
    for (const std::uint32_t index : session.rings_to_stop(message)) {
      stopped.push_back(index);
      session.ring_stopped(index, 77);
    }
    return session.apply(std::move(message));
  }
  Session::Outcome send_u64(Request request, std::uint64_t value,
                            std::vector<FileDescriptor> descriptors = {}, bool need_reply = false) {
    Writer payload;
    payload.put(value);
    return send(request, payload, std::move(descriptors), need_reply);
  }
  Session::Outcome send_state(Request request, std::uint32_t index, std::uint32_t number) {
    Writer payload;
    payload.put(index);
    payload.put(number);
    return send(request, payload);
  }
  Session::Outcome send_memory(std::uint64_t length = 0x10000) {
    Writer payload;
    payload.put(std::uint32_t{1});
    payload.put(std::uint32_t{0});
    write_region(payload, {0, length, kFrontEnd, 0});
    std::vector<FileDescriptor> files;
    files.push_back(memory_file(0x10000));
    return send(Request::set_mem_table, payload, std::move(files));
  }
  Session::Outcome send_addresses(std::uint32_t index, std::uint64_t from) {
    Writer payload;
    payload.put(index);
    payload.put(std::uint32_t{0});
    for (const std::uint64_t at : {from, from + 0x2000, from + 0x1000, std::uint64_t{0}})
      payload.put(at);
    return send(Request::set_vring_addr, payload);
  }
  std::vector<FileDescriptor> event() {
    std::vector<FileDescriptor> list;
    list.push_back(event_file());
    return list;
  }
  // Everything a ring needs, and reports it started.
  void start(std::uint32_t index) {
    send_state(Request::set_vring_num, index, 128);
    send_state(Request::set_vring_base, index, 5);
    send_addresses(index, kFrontEnd + 0x4000);
    send_u64(Request::set_vring_call, index, event());
    send_u64(Request::set_vring_kick, index, event());
    send_state(Request::set_vring_enable, index, 1);
    for (const Session::Start& start : session.rings_to_start()) session.ring_started(start.index);
  }
  void negotiate() {
    send_u64(Request::set_features, kOffered | kFeatureProtocolFeatures);
    send_u64(Request::set_protocol_features, Session::kProtocolFeatures);
  }

  StubDevice device;
  Session session{device};
  std::vector<std::uint32_t> stopped;
};

std::uint64_t number(const Session::Outcome& outcome) {
  REQUIRE(outcome.reply.has_value());
  REQUIRE(outcome.reply->reply);
  REQUIRE(outcome.reply->payload.size() == 8);
  return load_le<std::uint64_t>(outcome.reply->payload.data());
}

TEST_CASE(
    "a channel for our requests is taken when it was negotiated, and only with a descriptor") {
  Fixture f;
  const auto give = [&f](bool with_channel) {
    return f.send(Request::set_backend_req_fd, {},
                  with_channel ? f.event() : std::vector<FileDescriptor>{});
  };
  CHECK_FALSE(give(true).failure.is_ok());
  f.negotiate();
  CHECK_FALSE(give(false).failure.is_ok());
  const Session::Outcome outcome = give(true);
  CHECK(outcome.failure.is_ok());
  CHECK(static_cast<bool>(outcome.backend_channel));
}

TEST_CASE("negotiation offers the device's features and takes nothing else") {
  Fixture f;
  CHECK(number(f.send(Request::get_features, {})) == (kOffered | kFeatureProtocolFeatures));
  CHECK(number(f.send(Request::get_protocol_features, {})) == Session::kProtocolFeatures);
  CHECK(number(f.send(Request::get_queue_num, {})) == 2);
  CHECK(f.send_u64(Request::set_features, kOffered).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_features, 1).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_protocol_features, 2).failure.is_ok());
}

TEST_CASE("a failure is acknowledged when that was negotiated, else it ends the connection") {
  Fixture f;
  auto outcome = f.send_u64(Request::set_features, 1, {}, true);
  CHECK_FALSE(outcome.reply.has_value());
  CHECK_FALSE(outcome.failure.is_ok());
  f.negotiate();
  outcome = f.send_u64(Request::set_features, 1, {}, true);
  CHECK(number(outcome) == 1);
  CHECK(outcome.failure.is_ok());
  CHECK(number(f.send_u64(Request::set_features, kOffered, {}, true)) == 0);
  CHECK_FALSE(f.send_u64(Request::set_features, kOffered).reply.has_value());
  outcome = f.send(static_cast<Request>(6), {}, {}, true);  // SET_LOG_BASE
  CHECK(number(outcome) == 1);
  CHECK_FALSE(f.send(static_cast<Request>(6), {}).failure.is_ok());
}

TEST_CASE("payloads of a wrong size and descriptors that do not belong are refused") {
  Fixture f;
  CHECK_FALSE(f.send(Request::set_features, {}).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::get_features, 0).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_features, 0, f.event()).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_vring_kick, 0).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_vring_kick, 0x100).failure.is_ok());  // polling only
  CHECK(f.send_u64(Request::set_vring_call, 0x100).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_vring_call, 0x100, f.event()).failure.is_ok());
}

TEST_CASE("rings out of range and impossible settings are refused") {
  Fixture f;
  CHECK_FALSE(f.send_state(Request::set_vring_num, 2, 128).failure.is_ok());
  for (const std::uint32_t size : {0U, 3U, 65536U})
    CHECK_FALSE(f.send_state(Request::set_vring_num, 0, size).failure.is_ok());
  CHECK_FALSE(f.send_state(Request::set_vring_base, 0, 65536).failure.is_ok());
  CHECK_FALSE(f.send_state(Request::get_vring_base, 9, 0).failure.is_ok());
  CHECK_FALSE(f.send_state(Request::set_vring_enable, 0, 2).failure.is_ok());
  CHECK_FALSE(f.send_u64(Request::set_vring_kick, 2, f.event()).failure.is_ok());
}

TEST_CASE("memory tables: regions and descriptors must agree and be possible") {
  Fixture f;
  CHECK(f.send_memory().failure.is_ok());
  CHECK_FALSE(f.send_memory(0x10001).failure.is_ok());  // past the end of the file
  Writer nine;
  nine.put(std::uint32_t{9});
  nine.put(std::uint32_t{0});
  for (int i = 0; i < 9; ++i) write_region(nine, {});
  CHECK_FALSE(f.send(Request::set_mem_table, nine).failure.is_ok());
  Writer cut;
  cut.put(std::uint32_t{1});
  cut.put(std::uint32_t{0});
  CHECK_FALSE(f.send(Request::set_mem_table, cut, f.event()).failure.is_ok());
  write_region(cut, {0, 0x1000, 0, 0});
  CHECK_FALSE(f.send(Request::set_mem_table, cut).failure.is_ok());             // no descriptor
  CHECK_FALSE(f.send(Request::set_mem_table, cut, f.event()).failure.is_ok());  // cannot be mapped
}

TEST_CASE("regions are added and removed one by one, and the rings see the change") {
  Fixture f;
  f.negotiate();
  const auto region = [](std::uint64_t guest) {
    Writer payload;
    payload.put(std::uint64_t{0});
    write_region(payload, {guest, 0x10000, kFrontEnd + guest, 0});
    return payload;
  };
  const auto file = [] {
    std::vector<FileDescriptor> list;
    list.push_back(memory_file(0x10000));
    return list;
  };
  CHECK(number(f.send(Request::get_max_mem_slots, {})) == Session::kMaxMemorySlots);
  CHECK(f.send(Request::add_mem_reg, region(0), file()).failure.is_ok());
  CHECK(f.send(Request::add_mem_reg, region(0x10000), file()).failure.is_ok());
  CHECK_FALSE(f.send(Request::add_mem_reg, region(0x8000), file()).failure.is_ok());  // overlaps
  CHECK_FALSE(f.send(Request::add_mem_reg, region(0x20000)).failure.is_ok());
  f.start(0);
  CHECK(f.session.running_rings() == std::vector<std::uint32_t>{0});
  CHECK(f.send(Request::rem_mem_reg, region(0x10000)).failure.is_ok());
  CHECK(f.stopped == std::vector<std::uint32_t>{0});
  CHECK(f.session.rings_to_start().at(0).setup.memory->regions().size() == 1);
  CHECK_FALSE(f.send(Request::rem_mem_reg, region(0x10000)).failure.is_ok());
}

TEST_CASE("a ring starts when it is complete and enabled, with guest addresses") {
  Fixture f;
  f.negotiate();
  f.send_memory();
  f.send_state(Request::set_vring_num, 1, 128);
  f.send_state(Request::set_vring_base, 1, 5);
  f.send_addresses(1, kFrontEnd + 0x4000);
  CHECK(f.session.rings_to_start().empty());
  f.send_u64(Request::set_vring_kick, 1, f.event());
  CHECK(f.session.rings_to_start().empty());
  f.send_state(Request::set_vring_enable, 1, 1);
  const auto starts = f.session.rings_to_start();
  REQUIRE(starts.size() == 1);
  CHECK(starts[0].index == 1);
  CHECK(starts[0].setup.size == 128);
  CHECK(starts[0].setup.next_available == 5);
  CHECK(starts[0].setup.addresses == virtio::RingAddresses{0x4000, 0x5000, 0x6000});
  f.session.ring_refused(1);
  CHECK(f.session.rings_to_start().empty());
  f.send_addresses(1, kFrontEnd);
  CHECK(f.session.rings_to_start().size() == 1);
}

TEST_CASE("without protocol features a ring needs no enable") {
  Fixture f;
  f.send_u64(Request::set_features, kOffered);
  f.send_memory();
  f.send_state(Request::set_vring_num, 0, 128);
  f.send_addresses(0, kFrontEnd);
  f.send_u64(Request::set_vring_kick, 0, f.event());
  CHECK(f.session.rings_to_start().size() == 1);
}

TEST_CASE("which messages stop which rings") {
  Fixture f;
  f.negotiate();
  f.send_memory();
  f.start(0);
  f.start(1);
  REQUIRE(f.session.running_rings().size() == 2);
  f.send_u64(Request::set_features, kOffered | kFeatureProtocolFeatures);  // unchanged
  f.send_u64(Request::set_vring_call, 1, f.event());
  f.send_state(Request::set_vring_enable, 1, 1);
  f.send_state(Request::get_vring_base, 2, 0);
  CHECK(f.stopped.empty());
  const auto outcome = f.send_state(Request::get_vring_base, 1, 0);
  CHECK(f.stopped == std::vector<std::uint32_t>{1});
  REQUIRE(outcome.reply.has_value());
  CHECK(load_le<std::uint32_t>(outcome.reply->payload.data()) == 1);
  CHECK(load_le<std::uint32_t>(outcome.reply->payload.data() + 4) == 77);
  CHECK(f.session.rings_to_start().empty());  // until the next kick descriptor
  f.send_state(Request::set_vring_enable, 0, 0);
  CHECK(f.stopped == std::vector<std::uint32_t>{1, 0});
  f.start(0);
  f.start(1);
  f.stopped.clear();
  f.send_u64(Request::set_features, virtio::kFeatureVersion1 | kFeatureProtocolFeatures);
  CHECK(f.stopped == std::vector<std::uint32_t>{0, 1});
}

TEST_CASE("a new call descriptor of a running ring outlives the one it replaces") {
  Fixture f;
  f.negotiate();
  f.send_memory();
  f.start(0);
  const auto outcome = f.send_u64(Request::set_vring_call, 0, f.event());
  REQUIRE(outcome.new_call.has_value());
  CHECK(outcome.new_call->index == 0);
  CHECK(outcome.new_call->fd >= 0);
  CHECK(outcome.new_call->replaced.get() >= 0);
  CHECK(outcome.new_call->fd != outcome.new_call->replaced.get());
}

TEST_CASE("the configuration space is read as asked, and a bad question gets an empty answer") {
  Fixture f;
  Writer good;
  good.put(std::uint32_t{4});
  good.put(std::uint32_t{8});
  good.put(std::uint32_t{0});
  good.put(std::uint64_t{0});
  const auto outcome = f.send(Request::get_config, good);
  REQUIRE(outcome.reply->payload.size() == 20);
  CHECK(outcome.reply->payload[12] == std::byte{0x44});
  good.put(std::uint8_t{0});
  CHECK(f.send(Request::get_config, good).reply->payload.empty());
  // A guest's write to it must not cost the guest its disk.
  Writer write;
  write.put(std::uint32_t{32});
  write.put(std::uint32_t{1});
  write.put(std::uint32_t{0});
  write.put(std::uint8_t{1});
  CHECK(f.send(Request::set_config, write).failure.is_ok());
  f.negotiate();
  CHECK(number(f.send(Request::set_config, write, {}, true)) == 1);
}

TEST_CASE("headers: version and length are checked") {
  Message message = reply_u64(Request::get_features, 1);
  std::vector<std::byte> bytes = encode(message);
  REQUIRE(bytes.size() == kHeaderBytes + 8);
  const ByteSpan header = ByteSpan(bytes).first(kHeaderBytes);
  CHECK(decode_header(header).value().payload_bytes == 8);
  CHECK_FALSE(decode_header(header.first(11)).is_ok());
  bytes[4] = std::byte{2};
  CHECK_FALSE(decode_header(header).is_ok());
  bytes[4] = std::byte{1};
  store_le(&bytes[8], std::uint32_t{513});
  CHECK_FALSE(decode_header(header).is_ok());
}

}  // namespace
}  // namespace cairn::vhost_user
