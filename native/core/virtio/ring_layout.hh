// The split virtqueue's layout in guest memory and the feature bits that every device shares.
// Virtual I/O Device 1.1, sections 2.6 (split virtqueues) and 6 (reserved feature bits). All fields
// are little-endian; legacy drivers use the guest's order, which is the same on the hosts that the
// core supports.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cairn::virtio {

// --- Feature bits

constexpr std::uint64_t feature_bit(unsigned bit) { return std::uint64_t{1} << bit; }

constexpr std::uint64_t kFeatureIndirectDescriptors = feature_bit(28);
constexpr std::uint64_t kFeatureEventIdx = feature_bit(29);
constexpr std::uint64_t kFeatureVersion1 = feature_bit(32);

// --- Descriptor table (2.6.5)

struct RawDescriptor {
  std::uint64_t address = 0;  // guest-physical
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
static_assert(sizeof(RawDescriptor) == 16);

constexpr std::uint16_t kDescriptorNext = 1;
constexpr std::uint16_t kDescriptorWrite = 2;  // the device writes it
constexpr std::uint16_t kDescriptorIndirect = 4;

// --- Available ring (2.6.6): flags, idx, ring[size], used_event

constexpr std::uint16_t kAvailableNoInterrupt = 1;
constexpr std::size_t kAvailableFlagsAt = 0;
constexpr std::size_t kAvailableIndexAt = 2;
constexpr std::size_t kAvailableRingAt = 4;

// --- Used ring (2.6.8): flags, idx, ring[size] of {id, len}, avail_event

constexpr std::uint16_t kUsedNoNotify = 1;
constexpr std::size_t kUsedFlagsAt = 0;
constexpr std::size_t kUsedIndexAt = 2;
constexpr std::size_t kUsedRingAt = 4;
constexpr std::size_t kUsedElementBytes = 8;

constexpr std::uint32_t kMaxQueueSize = 32768;  // 2.6: a power of two up to this

// used_event and avail_event are counted in whether or not EVENT_IDX is negotiated, as 2.6 does.
constexpr std::size_t descriptor_table_bytes(std::uint32_t size) { return std::size_t{16} * size; }
constexpr std::size_t available_ring_bytes(std::uint32_t size) { return 6 + std::size_t{2} * size; }
constexpr std::size_t used_ring_bytes(std::uint32_t size) { return 6 + std::size_t{8} * size; }

// Guest-physical addresses of the three parts.
struct RingAddresses {
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  bool operator==(const RingAddresses&) const = default;
};

// --- Access to memory that the other side changes at any time: one load or store each, never
// repeated or split by the compiler. The pointer is aligned to its type.

template <typename T>
T load_shared(const std::byte* from, std::memory_order order = std::memory_order_relaxed) {
  return __atomic_load_n(reinterpret_cast<const T*>(from), static_cast<int>(order));
}
template <typename T>
void store_shared(std::byte* to, T value, std::memory_order order = std::memory_order_relaxed) {
  __atomic_store_n(reinterpret_cast<T*>(to), value, static_cast<int>(order));
}

// Orders an own store before an own load of what the peer stores: the one order that release and
// acquire do not give, and that both notification protocols below rest on.
inline void full_fence() {
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"  // the fence is for another process, unseen by TSan
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

// Whether a side that moved its index from old_index to new_index has to notify a peer that asked
// for it at event_index (2.6.7.1, 2.6.8; modulo 2^16).
constexpr bool event_needed(std::uint16_t event_index, std::uint16_t new_index,
                            std::uint16_t old_index) {
  return static_cast<std::uint16_t>(new_index - event_index - 1) <
         static_cast<std::uint16_t>(new_index - old_index);
}

}  // namespace cairn::virtio
