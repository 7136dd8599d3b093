// GuestMemory: the guest's memory as this process has it mapped, and the only way from a guest's
// address to a pointer.
//
// Invariants
// - A pointer is given out only for a range that lies wholly inside mapped regions; sums of guest
//   values are never formed before they are known not to wrap.
// - The set of regions never changes after make(): a new memory table is a new object, and the old
//   mappings live until their last user has gone.
// - The bytes behind the pointers belong to the guest, which may change them at any time.
//
// Does not: protect against a front end that truncates the file behind a mapping while it is in
// use (it is the guest's own hypervisor; the kernel answers with SIGBUS). The size is checked when
// the region is mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.hh"
#include "base/status.hh"

namespace cairn::virtio {

// What one region is made of.
struct RegionSource {
  std::uint64_t guest_address = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t file_offset = 0;  // of its first byte in fd
  int fd = -1;                    // only needed until make() returns
};

// A shared mapping of (part of) a file, unmapped at its end.
class Mapping {
 public:
  // length_bytes bytes from offset, both of any alignment. Errors: invalid_argument (empty, wraps,
  // past the end of the file, or no file that can be mapped).
  static Result<std::shared_ptr<Mapping>> make(int fd, std::uint64_t offset,
                                               std::uint64_t length_bytes);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::byte* data() const { return data_; }

 private:
  Mapping(void* base, std::size_t mapped_bytes, std::byte* data)
      : base_(base), mapped_bytes_(mapped_bytes), data_(data) {}
  void* base_;
  std::size_t mapped_bytes_;
  std::byte* data_;
};

class GuestMemory {
 public:
  struct Region {
    std::uint64_t guest_address = 0;
    std::uint64_t length_bytes = 0;
    std::shared_ptr<Mapping> mapping;
  };

  // Regions in any order. Errors: invalid_argument for an empty, wrapping or overlapping region.
  static Result<std::shared_ptr<const GuestMemory>> make(std::vector<Region> regions);
  // Maps the sources first.
  static Result<std::shared_ptr<const GuestMemory>> map(std::span<const RegionSource> sources);

  // The bytes at address when all of them are in one region, else null. length_bytes 0 is null.
  std::byte* contiguous(std::uint64_t address, std::uint64_t length_bytes) const {
    const Region* region = find(address);
    if (region == nullptr || length_bytes == 0) return nullptr;
    const std::uint64_t at = address - region->guest_address;
    if (length_bytes > region->length_bytes - at) return nullptr;
    return region->mapping->data() + at;
  }

  // Appends the pieces of a range, which may span regions that adjoin, to `into`. false when a
  // byte of it is not guest memory (`into` may then have some pieces). An empty range is true.
  bool translate(std::uint64_t address, std::uint64_t length_bytes,
                 std::vector<MutableByteSpan>& into) const;

  const std::vector<Region>& regions() const { return regions_; }

 private:
  explicit GuestMemory(std::vector<Region> regions) : regions_(std::move(regions)) {}
  // The region with this address, or null. Regions are few (a PC has two), so a scan is fastest.
  const Region* find(std::uint64_t address) const {
    for (const Region& region : regions_)
      if (address - region.guest_address < region.length_bytes) return &region;
    return nullptr;
  }
  std::vector<Region> regions_;  // by guest address
};

}  // namespace cairn::virtio
