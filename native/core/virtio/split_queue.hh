// SplitQueue: the device's half of a split virtqueue. Virtual I/O Device 1.1, section 2.6.
//
// Invariants
// - Every field in guest memory is loaded exactly once; what is validated is the private copy.
// - A walk visits at most size() descriptors of the table and at most max_ranges() in all, so a
//   loop or an endless chain ends as `broken`.
// - At most size() chains are out: a driver that makes more available has broken the ring.
// - used elements are written before the used index, the index before the driver's wish for a
//   call is read; a wish for notifications is written before the available index is read again.
//
// Does not: look at the buffers, translate their addresses, or touch an eventfd.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.hh"
#include "virtio/guest_memory.hh"
#include "virtio/ring_layout.hh"

namespace cairn::virtio {

// A range of guest memory as a descriptor names it; not yet checked.
struct GuestRange {
  std::uint64_t address = 0;
  std::uint32_t length_bytes = 0;
};

// One request's buffers: first those that the device reads, then those that it writes (2.6.4.2).
// Reused from pop to pop, so that its memory is.
struct Chain {
  std::uint16_t head = 0;
  std::vector<GuestRange> readable;
  std::vector<GuestRange> writable;
};

enum class PopResult : std::uint8_t { empty, chain, broken };

class SplitQueue {
 public:
  // A chain may have this many descriptors even on a smaller queue, through an indirect table:
  // Linux checks its request against seg_max, not against the queue size.
  static constexpr std::uint32_t kMinRangeLimit = 1024;

  // size: a power of two up to kMaxQueueSize. next_available: where to go on (the base). features:
  // as negotiated. The used index goes on from what the used ring says.
  // Errors: invalid_argument for a size, an alignment or an address that is not possible.
  static Result<SplitQueue> make(std::shared_ptr<const GuestMemory> memory, std::uint32_t size,
                                 const RingAddresses& addresses, std::uint16_t next_available,
                                 std::uint64_t features);

  // Takes the next chain. broken: the ring is beyond use; error() says why, and every later pop
  // says broken again.
  PopResult pop(Chain& chain);

  // Whether the driver has made more available than was popped (or broken the index). One load.
  bool has_available() {
    return next_available_ != load_shared<std::uint16_t>(available_ + kAvailableIndexAt);
  }

  // Gives a chain back: the element is written, but not shown before publish().
  void push(std::uint16_t head, std::uint32_t written_bytes) {
    std::byte* element = used_ + kUsedRingAt + kUsedElementBytes * (next_used_ & mask_);
    store_shared<std::uint32_t>(element, head);
    store_shared<std::uint32_t>(element + 4, written_bytes);
    ++next_used_;
    --outstanding_;
  }
  // Shows the driver all that was pushed.
  // true: it asked for a call (an interrupt) for it. Afterwards nothing is unpublished.
  bool publish();
  bool unpublished() const { return next_used_ != published_used_; }

  // Asks the driver to notify the device of the next chain. true: one came meanwhile, pop again.
  bool enable_notifications();
  // Asks it not to. With EVENT_IDX that is a matter of not moving avail_event on.
  void disable_notifications();

  // The index of the next chain in the available ring: the base to resume at.
  std::uint16_t next_available() const { return next_available_; }
  std::uint32_t size() const { return mask_ + 1; }
  std::uint32_t max_ranges() const { return size() > kMinRangeLimit ? size() : kMinRangeLimit; }
  std::uint32_t outstanding() const { return outstanding_; }
  bool broken() const { return error_ != nullptr; }
  const char* error() const { return error_; }
  const GuestMemory& memory() const { return *memory_; }

 private:
  SplitQueue() = default;
  PopResult fail(const char* why) {
    error_ = why;
    return PopResult::broken;
  }
  bool walk(const std::byte* table, std::uint32_t entries, std::uint16_t first, bool indirect,
            Chain& chain);
  bool walk_indirect(const RawDescriptor& descriptor, Chain& chain);

  std::shared_ptr<const GuestMemory> memory_;
  std::byte* descriptors_ = nullptr;
  std::byte* available_ = nullptr;
  std::byte* used_ = nullptr;
  std::uint32_t mask_ = 0;
  std::uint32_t outstanding_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t seen_available_ = 0;  // the driver's index, as last read and checked
  std::uint16_t next_used_ = 0;
  std::uint16_t published_used_ = 0;
  bool event_idx_ = false;
  bool indirect_ = false;
  bool published_before_ = false;  // the first publish() always calls: its old index is unknown
  const char* error_ = nullptr;
};

}  // namespace cairn::virtio
