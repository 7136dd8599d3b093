// The driver's half of a split virtqueue; see the header.
#include "virtio/driver_queue.hh"

#include "base/assert.hh"

namespace cairn::virtio {

namespace {

constexpr std::size_t kPartAlignment = 64;  // a cache line: the two sides write different ones

std::size_t align_up(std::size_t value) {
  return (value + kPartAlignment - 1) & ~(kPartAlignment - 1);
}

}  // namespace

std::size_t DriverQueue::memory_bytes(std::uint32_t size) {
  return align_up(align_up(descriptor_table_bytes(size)) + available_ring_bytes(size)) +
         align_up(used_ring_bytes(size));
}

DriverQueue::DriverQueue(std::byte* memory, std::uint64_t guest_address, std::uint32_t size,
                         std::uint64_t features, std::uint16_t first)
    : memory_(memory),
      guest_address_(guest_address),
      size_(size),
      available_at_(align_up(descriptor_table_bytes(size))),
      used_at_(align_up(available_at_ + available_ring_bytes(size))),
      event_idx_((features & kFeatureEventIdx) != 0),
      next_available_(first),
      published_available_(first),
      next_used_(first),
      chains_(size) {
  for (std::uint32_t i = size; i > 0; --i) free_.push_back(static_cast<std::uint16_t>(i - 1));
  store_shared<std::uint16_t>(available() + kAvailableIndexAt, first);
  store_shared<std::uint16_t>(used() + kUsedIndexAt, first);
}

RingAddresses DriverQueue::addresses() const {
  return {guest_address_, guest_address_ + available_at_, guest_address_ + used_at_};
}

void DriverQueue::write_descriptor(std::byte* at, const Piece& piece, std::uint16_t flags,
                                   std::uint16_t next) {
  if (piece.device_writes) flags |= kDescriptorWrite;
  store_shared<std::uint64_t>(at, piece.address);
  store_shared<std::uint64_t>(
      at + 8, std::uint64_t{next} << 48 | std::uint64_t{flags} << 32 | piece.length_bytes);
}

void DriverQueue::make_available(std::uint16_t head) {
  store_shared<std::uint16_t>(
      available() + kAvailableRingAt + std::size_t{2} * (next_available_ & (size_ - 1)), head);
  ++next_available_;
}

std::optional<std::uint16_t> DriverQueue::add(std::span<const Piece> pieces) {
  CAIRN_ASSERT(!pieces.empty());
  if (free_.size() < pieces.size()) return std::nullopt;
  const std::uint16_t head = free_.back();
  std::vector<std::uint16_t>& chain = chains_[head];
  chain.assign(free_.rbegin(), free_.rbegin() + static_cast<std::ptrdiff_t>(pieces.size()));
  free_.resize(free_.size() - pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool last = i + 1 == pieces.size();
    write_descriptor(descriptor(chain[i]), pieces[i], last ? 0 : kDescriptorNext,
                     last ? std::uint16_t{0} : chain[i + 1]);
  }
  make_available(head);
  return head;
}

std::optional<std::uint16_t> DriverQueue::add_indirect(std::span<const Piece> pieces,
                                                       std::byte* table,
                                                       std::uint64_t table_address) {
  CAIRN_ASSERT(!pieces.empty());
  if (free_.empty()) return std::nullopt;
  const std::uint16_t head = free_.back();
  free_.pop_back();
  chains_[head].assign(1, head);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool last = i + 1 == pieces.size();
    write_descriptor(table + 16 * i, pieces[i], last ? 0 : kDescriptorNext,
                     static_cast<std::uint16_t>(last ? 0 : i + 1));
  }
  const auto table_bytes = static_cast<std::uint32_t>(16 * pieces.size());
  write_descriptor(descriptor(head), {table_address, table_bytes, false}, kDescriptorIndirect, 0);
  make_available(head);
  return head;
}

bool DriverQueue::publish() {
  const std::uint16_t before = published_available_;
  if (before == next_available_) return false;
  published_available_ = next_available_;
  store_shared<std::uint16_t>(available() + kAvailableIndexAt, next_available_,
                              std::memory_order_release);
  full_fence();
  if (!event_idx_) return (load_shared<std::uint16_t>(used() + kUsedFlagsAt) & kUsedNoNotify) == 0;
  const auto avail_event =
      load_shared<std::uint16_t>(used() + kUsedRingAt + kUsedElementBytes * size_);
  return event_needed(avail_event, next_available_, before);
}

bool DriverQueue::has_used() const {
  return load_shared<std::uint16_t>(memory_ + used_at_ + kUsedIndexAt, std::memory_order_acquire) !=
         next_used_;
}

std::optional<DriverQueue::Used> DriverQueue::take_used() {
  if (!has_used()) return std::nullopt;
  const std::byte* element = used() + kUsedRingAt + kUsedElementBytes * (next_used_ & (size_ - 1));
  const auto head = load_shared<std::uint32_t>(element);
  CAIRN_ASSERT(head < size_ && !chains_[head].empty());
  std::vector<std::uint16_t>& chain = chains_[head];
  free_.insert(free_.end(), chain.rbegin(), chain.rend());
  chain.clear();
  ++next_used_;
  return Used{static_cast<std::uint16_t>(head), load_shared<std::uint32_t>(element + 4)};
}

bool DriverQueue::enable_calls() {
  if (event_idx_)
    store_shared<std::uint16_t>(available() + kAvailableRingAt + std::size_t{2} * size_,
                                next_used_);
  else
    store_shared<std::uint16_t>(available() + kAvailableFlagsAt, 0);
  full_fence();
  return has_used();
}

void DriverQueue::disable_calls() {
  if (!event_idx_)
    store_shared<std::uint16_t>(available() + kAvailableFlagsAt, kAvailableNoInterrupt);
}

}  // namespace cairn::virtio
