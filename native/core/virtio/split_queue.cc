// The walk over descriptors and the notification arithmetic; see the header.
#include "virtio/split_queue.hh"

#include <bit>
#include <utility>

#include "base/planted_bug.hh"

namespace cairn::virtio {

namespace {

// A descriptor in two loads: its fields cannot change between a check and their use.
RawDescriptor load_descriptor(const std::byte* from) {
  RawDescriptor descriptor;
  descriptor.address = load_shared<std::uint64_t>(from);
  const auto rest = load_shared<std::uint64_t>(from + 8);
  descriptor.length = static_cast<std::uint32_t>(rest);
  descriptor.flags = static_cast<std::uint16_t>(rest >> 32);
  descriptor.next = static_cast<std::uint16_t>(rest >> 48);
  return descriptor;
}

// The planted bug: `next` as the driver has it now. The window is made wide, so that a fuzzer's
// second thread hits it within seconds.
std::uint16_t next_fetched_again(const std::byte* from, std::uint16_t checked) {
  std::uint16_t next = checked;
  for (int turn = 0; turn < 1000 && next == checked; ++turn) next = load_descriptor(from).next;
  return next;
}

bool aligned(std::uint64_t address, std::uint64_t to) { return (address & (to - 1)) == 0; }

}  // namespace

Result<SplitQueue> SplitQueue::make(std::shared_ptr<const GuestMemory> memory, std::uint32_t size,
                                    const RingAddresses& addresses, std::uint16_t next_available,
                                    std::uint64_t features) {
  const auto refuse = [](const char* why) { return Status{ErrorCode::invalid_argument, why}; };
  if (!std::has_single_bit(size) || size > kMaxQueueSize)
    return refuse("the queue size is not a power of two up to 32768");
  // 2.6: descriptor table 16, available ring 2, used ring 4.
  if (!aligned(addresses.descriptors, 16) || !aligned(addresses.available, 2) ||
      !aligned(addresses.used, 4))
    return refuse("a part of the ring is not aligned");
  SplitQueue queue;
  queue.descriptors_ = memory->contiguous(addresses.descriptors, descriptor_table_bytes(size));
  queue.available_ = memory->contiguous(addresses.available, available_ring_bytes(size));
  queue.used_ = memory->contiguous(addresses.used, used_ring_bytes(size));
  if (queue.descriptors_ == nullptr || queue.available_ == nullptr || queue.used_ == nullptr)
    return refuse("a part of the ring is outside the guest's memory");
  // A guest address may be aligned where its mapping is not: the file offset is the front end's.
  if (!aligned(reinterpret_cast<std::uintptr_t>(queue.descriptors_), 16) ||
      !aligned(reinterpret_cast<std::uintptr_t>(queue.available_), 2) ||
      !aligned(reinterpret_cast<std::uintptr_t>(queue.used_), 4))
    return refuse("a part of the ring is not aligned in its file");
  queue.memory_ = std::move(memory);
  queue.mask_ = size - 1;
  queue.next_available_ = next_available;
  queue.seen_available_ = next_available;
  queue.next_used_ = load_shared<std::uint16_t>(queue.used_ + kUsedIndexAt);
  queue.published_used_ = queue.next_used_;
  queue.event_idx_ = (features & kFeatureEventIdx) != 0;
  queue.indirect_ = (features & kFeatureIndirectDescriptors) != 0;
  return queue;
}

PopResult SplitQueue::pop(Chain& chain) {
  if (error_ != nullptr) return PopResult::broken;
  if (next_available_ == seen_available_) {
    // Acquire: the ring entries and descriptors below were written before the index.
    seen_available_ =
        load_shared<std::uint16_t>(available_ + kAvailableIndexAt, std::memory_order_acquire);
    if (next_available_ == seen_available_) return PopResult::empty;
    if (static_cast<std::uint16_t>(seen_available_ - next_available_) > size())
      return fail("the available index is ahead by more than the queue size");
  }
  if (outstanding_ >= size()) return fail("more chains are available than there are descriptors");
  const auto head = load_shared<std::uint16_t>(available_ + kAvailableRingAt +
                                               std::size_t{2} * (next_available_ & mask_));
  if (head >= size()) return fail("a chain starts outside the descriptor table");
  chain.head = head;
  chain.readable.clear();
  chain.writable.clear();
  if (!walk(descriptors_, size(), head, false, chain)) return PopResult::broken;
  ++next_available_;
  ++outstanding_;
  return PopResult::chain;
}

bool SplitQueue::walk(const std::byte* table, std::uint32_t entries, std::uint16_t first,
                      bool indirect, Chain& chain) {
  std::uint16_t at = first;
  for (std::uint32_t visited = 0; visited < entries; ++visited) {
    const RawDescriptor descriptor = load_descriptor(table + std::size_t{16} * at);
    if ((descriptor.flags & kDescriptorIndirect) != 0) {
      if (indirect || !indirect_) {
        fail("an indirect descriptor where none is allowed");
        return false;
      }
      return walk_indirect(descriptor, chain);
    }
    if (chain.readable.size() + chain.writable.size() >= max_ranges()) {
      fail("a chain has too many descriptors");
      return false;
    }
    const bool write = (descriptor.flags & kDescriptorWrite) != 0;
    if (!write && !chain.writable.empty()) {
      fail("a readable descriptor follows a writable one");
      return false;
    }
    (write ? chain.writable : chain.readable).push_back({descriptor.address, descriptor.length});
    if ((descriptor.flags & kDescriptorNext) == 0) return true;
    if (descriptor.next >= entries) {
      fail("a chain continues outside its descriptor table");
      return false;
    }
    at = planted(PlantedBug::double_fetch)
             ? next_fetched_again(table + std::size_t{16} * at, descriptor.next)
             : descriptor.next;
  }
  fail("a chain is longer than its descriptor table");
  return false;
}

bool SplitQueue::walk_indirect(const RawDescriptor& descriptor, Chain& chain) {
  // 2.6.5.3.1: INDIRECT is never combined with NEXT, and the table is a whole number of entries.
  const std::uint32_t entries = descriptor.length / sizeof(RawDescriptor);
  if ((descriptor.flags & kDescriptorNext) != 0 || entries == 0 ||
      descriptor.length % sizeof(RawDescriptor) != 0 || entries > max_ranges()) {
    fail("an indirect descriptor with a bad length or a continuation");
    return false;
  }
  const std::byte* table = memory_->contiguous(descriptor.address, descriptor.length);
  // The spec asks for no alignment here; every driver gives 16, and single loads need 8.
  if (table == nullptr || !aligned(reinterpret_cast<std::uintptr_t>(table), 8)) {
    fail("an indirect table is outside the guest's memory or not aligned");
    return false;
  }
  return walk(table, entries, 0, true, chain);
}

bool SplitQueue::publish() {
  const std::uint16_t before = published_used_;
  published_used_ = next_used_;
  store_shared<std::uint16_t>(used_ + kUsedIndexAt, next_used_, std::memory_order_release);
  // The index must be visible before the driver's wish is read: it writes its wish, then looks at
  // the index once more (2.6.7.1).
  full_fence();
  const bool first = !std::exchange(published_before_, true);
  if (!event_idx_) {
    const auto flags = load_shared<std::uint16_t>(available_ + kAvailableFlagsAt);
    return (flags & kAvailableNoInterrupt) == 0;
  }
  const auto used_event =
      load_shared<std::uint16_t>(available_ + kAvailableRingAt + std::size_t{2} * size());
  return first || event_needed(used_event, next_used_, before);
}

bool SplitQueue::enable_notifications() {
  if (event_idx_)
    store_shared<std::uint16_t>(used_ + kUsedRingAt + kUsedElementBytes * size(), next_available_);
  else
    store_shared<std::uint16_t>(used_ + kUsedFlagsAt, 0);
  // The wish must be visible before the index is read: see publish() for the other half.
  full_fence();
  return has_available();
}

void SplitQueue::disable_notifications() {
  if (!event_idx_) store_shared<std::uint16_t>(used_ + kUsedFlagsAt, kUsedNoNotify);
}

}  // namespace cairn::virtio
