// The session's memory table: SET_MEM_TABLE replaces it, ADD_MEM_REG and REM_MEM_REG change it by
// one region. Every change is a new GuestMemory over mappings that the old one may share.
#include <algorithm>
#include <utility>

#include "vhost_user/session.hh"

namespace cairn::vhost_user {

namespace {

Status refuse(const char* why) { return {ErrorCode::protocol_error, why}; }

bool same_place(const MemoryRegion& a, const MemoryRegion& b) {
  return a.guest_address == b.guest_address && a.length_bytes == b.length_bytes &&
         a.front_end_address == b.front_end_address;
}

}  // namespace

Status Session::use_slots(std::vector<Slot> slots) {
  std::vector<virtio::GuestMemory::Region> regions;
  for (const Slot& slot : slots)
    regions.push_back({slot.region.guest_address, slot.region.length_bytes, slot.mapping});
  auto memory = virtio::GuestMemory::make(std::move(regions));
  if (!memory) return memory.status();
  slots_ = std::move(slots);
  memory_ = slots_.empty() ? nullptr : std::move(*memory);
  for (Ring& ring : rings_) ring.refused = false;
  return Status::ok();
}

Status Session::set_mem_table(Message& message, Outcome&) {
  Reader reader(message.payload);
  const auto count = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // padding
  if (!reader.ok() || count > kMaxDescriptors || reader.remaining() < count * kMemoryRegionBytes)
    return refuse("the table is too long or cut short");
  if (message.descriptors.size() != count) return refuse("not one descriptor for each region");
  std::vector<Slot> slots;
  for (std::uint32_t i = 0; i < count; ++i) {
    const MemoryRegion region = read_region(reader);
    auto mapping = virtio::Mapping::make(message.descriptors[i].get(), region.file_offset,
                                         region.length_bytes);
    if (!mapping) return mapping.status();
    slots.push_back({region, std::move(*mapping)});
  }
  return use_slots(std::move(slots));
}

Status Session::get_max_mem_slots(Message&, Outcome& outcome) {
  outcome.reply = reply_u64(Request::get_max_mem_slots, kMaxMemorySlots);
  return Status::ok();
}

Status Session::add_mem_reg(Message& message, Outcome&) {
  if (message.descriptors.size() != 1) return refuse("no descriptor");
  if (slots_.size() >= kMaxMemorySlots) return refuse("no memory slot is left");
  Reader reader(message.payload);
  reader.get<std::uint64_t>();  // padding
  const MemoryRegion region = read_region(reader);
  auto mapping =
      virtio::Mapping::make(message.descriptors[0].get(), region.file_offset, region.length_bytes);
  if (!mapping) return mapping.status();
  std::vector<Slot> slots = slots_;
  slots.push_back({region, std::move(*mapping)});
  return use_slots(std::move(slots));
}

Status Session::rem_mem_reg(Message& message, Outcome&) {
  Reader reader(message.payload);
  reader.get<std::uint64_t>();  // padding
  const MemoryRegion region = read_region(reader);
  std::vector<Slot> slots = slots_;
  const auto found = std::find_if(slots.begin(), slots.end(), [&](const Slot& slot) {
    return same_place(slot.region, region);
  });
  if (found == slots.end()) return refuse("there is no such region");
  slots.erase(found);
  return use_slots(std::move(slots));
}

std::optional<std::uint64_t> Session::to_guest_address(std::uint64_t front_end_address) const {
  for (const Slot& slot : slots_) {
    const std::uint64_t at = front_end_address - slot.region.front_end_address;
    // No wrap: a region that reaches 2^64 is refused by GuestMemory.
    if (at < slot.region.length_bytes) return slot.region.guest_address + at;
  }
  return std::nullopt;
}

}  // namespace cairn::vhost_user
