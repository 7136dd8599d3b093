// Session: one front end's connection as a state machine, without its socket. It keeps what was
// negotiated, the memory table and each ring's settings, and says what every message means.
//
// How it is driven, message by message:
//   1. rings_to_stop(message): running rings whose settings the message is about to change (or
//      whose base it asks for). The driver of the session stops and drains them, and reports each
//      with ring_stopped().
//   2. apply(message): changes the state; a reply to send, or a failure that ends the connection.
//   3. rings_to_start(): rings that are complete, enabled and not running; reported back with
//      ring_started() or ring_refused().
// So a ring never runs while its settings change, and nothing that a queue uses (memory, eventfds)
// goes away under it.
//
// Does not: read or write sockets, wait, or start anything by itself. It maps the memory that
// messages bring.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "vhost_user/message.hh"
#include "virtio/device.hh"

namespace cairn::vhost_user {

class Session {
 public:
  static constexpr std::size_t kMaxMemorySlots = 64;  // regions by ADD_MEM_REG
  static constexpr std::uint64_t kProtocolFeatures = kProtocolMultiQueue | kProtocolReplyAck |
                                                     kProtocolBackendRequests | kProtocolConfig |
                                                     kProtocolConfigureMemSlots;

  struct NewCall {
    std::uint32_t index = 0;
    int fd = -1;
    FileDescriptor replaced;  // to be closed after the queue has taken the new one
  };
  struct Outcome {
    std::optional<Message> reply;
    std::optional<NewCall> new_call;  // of a running ring
    FileDescriptor backend_channel;   // if there: for requests to the front end from now on
    Status failure;                   // not ok: end the connection, with this as the reason
  };
  struct Start {
    std::uint32_t index = 0;
    virtio::QueueSetup setup;
  };

  // The device outlives the session.
  explicit Session(virtio::Device& device);

  std::vector<std::uint32_t> rings_to_stop(const Message& message) const;
  // next_available: where the ring is to go on.
  void ring_stopped(std::uint32_t index, std::uint16_t next_available);
  Outcome apply(Message message);
  std::vector<Start> rings_to_start();
  void ring_started(std::uint32_t index) { rings_[index].running = true; }
  // It is not offered again before its settings have changed.
  void ring_refused(std::uint32_t index) { rings_[index].refused = true; }

  std::vector<std::uint32_t> running_rings() const;

 private:
  struct Ring {
    std::uint32_t size = 0;
    std::optional<virtio::RingAddresses> front_end_addresses;
    std::uint16_t base = 0;
    FileDescriptor kick;
    FileDescriptor call;
    FileDescriptor error;
    bool enabled = false;
    bool running = false;
    bool refused = false;
  };
  struct Slot {
    MemoryRegion region;
    std::shared_ptr<virtio::Mapping> mapping;
  };
  // What a message has to do with running rings.
  enum class Stops : std::uint8_t { none, one, one_if_disabled, all, all_if_features_change };
  using Handler = Status (Session::*)(Message& message, Outcome& outcome);
  struct Rule {
    Request request;
    const char* name;
    std::size_t payload_bytes;
    std::size_t max_descriptors;
    Stops stops;
    Handler handler;
  };
  static constexpr std::size_t kAnyPayload = ~std::size_t{0};  // the handler checks it
  static const Rule kRules[];

  static const Rule* find_rule(Request request);
  Outcome fail(const Message& message, const Status& why) const;
  bool acknowledges(const Message& message) const;
  bool ring_enabled(const Ring& ring) const;
  Result<Ring*> ring_of(std::uint64_t index);
  // The ring and the descriptor, if any, of a SET_VRING_{KICK,CALL,ERR}.
  Result<Ring*> take_ring_fd(Message& message, FileDescriptor& fd);
  std::optional<std::uint64_t> to_guest_address(std::uint64_t front_end_address) const;
  Status use_slots(std::vector<Slot> slots);

  Status get_features(Message& message, Outcome& outcome);
  Status set_features(Message& message, Outcome& outcome);
  Status set_owner(Message& message, Outcome& outcome);
  Status reset_owner(Message& message, Outcome& outcome);
  Status get_protocol_features(Message& message, Outcome& outcome);
  Status set_protocol_features(Message& message, Outcome& outcome);
  Status get_queue_num(Message& message, Outcome& outcome);
  Status get_config(Message& message, Outcome& outcome);
  Status set_config(Message& message, Outcome& outcome);
  Status set_backend_req_fd(Message& message, Outcome& outcome);
  Status set_mem_table(Message& message, Outcome& outcome);
  Status get_max_mem_slots(Message& message, Outcome& outcome);
  Status add_mem_reg(Message& message, Outcome& outcome);
  Status rem_mem_reg(Message& message, Outcome& outcome);
  Status set_vring_num(Message& message, Outcome& outcome);
  Status set_vring_addr(Message& message, Outcome& outcome);
  Status set_vring_base(Message& message, Outcome& outcome);
  Status get_vring_base(Message& message, Outcome& outcome);
  Status set_vring_kick(Message& message, Outcome& outcome);
  Status set_vring_call(Message& message, Outcome& outcome);
  Status set_vring_err(Message& message, Outcome& outcome);
  Status set_vring_enable(Message& message, Outcome& outcome);

  virtio::Device& device_;
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
  std::vector<Slot> slots_;
  std::shared_ptr<const virtio::GuestMemory> memory_;  // of slots_; null without any
  std::vector<Ring> rings_;
};

}  // namespace cairn::vhost_user
