// DriverQueue: the driver's half of a split virtqueue, laid out in memory that the caller shares
// with a device. For tests, fuzzers and benchmarks, which have no guest. Virtual I/O Device 1.1,
// section 2.6. It trusts the device: a used element out of range is an assertion.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "virtio/ring_layout.hh"

namespace cairn::virtio {

class DriverQueue {
 public:
  struct Piece {
    std::uint64_t address = 0;  // guest-physical
    std::uint32_t length_bytes = 0;
    bool device_writes = false;
  };
  struct Used {
    std::uint16_t head = 0;
    std::uint32_t written_bytes = 0;
  };

  // Room for a ring of this size, its parts aligned.
  static std::size_t memory_bytes(std::uint32_t size);

  // memory: memory_bytes(size) zeroed bytes, aligned to 16, seen by the device at guest_address.
  // first: where both indices start (a resumed or long-used ring).
  DriverQueue(std::byte* memory, std::uint64_t guest_address, std::uint32_t size,
              std::uint64_t features, std::uint16_t first = 0);

  RingAddresses addresses() const;
  std::uint32_t size() const { return size_; }

  // Puts a chain on the available ring, unseen until publish(). Its head, or nothing when there
  // are not enough free descriptors.
  std::optional<std::uint16_t> add(std::span<const Piece> pieces);
  // The same through one indirect descriptor; table: 16 bytes for each piece, which the device
  // sees at table_address and which stay until the chain is used.
  std::optional<std::uint16_t> add_indirect(std::span<const Piece> pieces, std::byte* table,
                                            std::uint64_t table_address);
  // Shows the device what was added. true: it wants a kick for it.
  bool publish();

  // The next used chain, whose descriptors are free again.
  std::optional<Used> take_used();
  bool has_used() const;
  // Asks for a call at the next used chain. true: there is one already.
  bool enable_calls();
  void disable_calls();

  // For tests that break things: raw descriptors and rings.
  std::byte* descriptor(std::uint32_t index) { return memory_ + std::size_t{16} * index; }
  std::byte* available() { return memory_ + available_at_; }
  std::byte* used() { return memory_ + used_at_; }
  std::uint16_t next_available() const { return next_available_; }

 private:
  void write_descriptor(std::byte* at, const Piece& piece, std::uint16_t flags, std::uint16_t next);
  void make_available(std::uint16_t head);

  std::byte* memory_;
  std::uint64_t guest_address_;
  std::uint32_t size_;
  std::size_t available_at_;
  std::size_t used_at_;
  bool event_idx_;
  std::uint16_t next_available_;
  std::uint16_t published_available_;
  std::uint16_t next_used_;
  std::vector<std::uint16_t> free_;
  std::vector<std::vector<std::uint16_t>> chains_;  // by head: the descriptors it occupies
};

}  // namespace cairn::virtio
