// Mapping and translation of guest memory; see the header.
#include "virtio/guest_memory.hh"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/planted_bug.hh"

namespace cairn::virtio {

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

// Mappings start and end at the file's own page size, which is larger than the system's on
// hugetlbfs, where st_blksize tells it.
std::uint64_t page_bytes_of(const struct stat& info) {
  const auto system = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto file = static_cast<std::uint64_t>(info.st_blksize);
  return std::has_single_bit(file) && file > system ? file : system;
}

}  // namespace

Result<std::shared_ptr<Mapping>> Mapping::make(int fd, std::uint64_t offset,
                                               std::uint64_t length_bytes) {
  if (length_bytes == 0 || offset > kMax - length_bytes)
    return Status{ErrorCode::invalid_argument, "memory region is empty or wraps"};
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Status::from_errno(errno, "stat memory region");
  const auto file_bytes = static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0));
  if (!S_ISREG(info.st_mode) || offset + length_bytes > file_bytes)
    return Status{ErrorCode::invalid_argument, "memory region is not inside a mappable file"};
  const std::uint64_t page = page_bytes_of(info);
  const std::uint64_t start = offset & ~(page - 1);
  const std::uint64_t head = offset - start;
  // No wrap: both are at most the file's size, which is below 2^63.
  const std::uint64_t mapped = (head + length_bytes + page - 1) & ~(page - 1);
  void* base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                      static_cast<off_t>(start));
  if (base == MAP_FAILED) return Status::from_errno(errno, "map memory region");
  // The guest's memory does not belong into our core dumps.
  ::madvise(base, mapped, MADV_DONTDUMP);
  return std::shared_ptr<Mapping>(new Mapping(base, mapped, static_cast<std::byte*>(base) + head));
}

Mapping::~Mapping() { ::munmap(base_, mapped_bytes_); }

Result<std::shared_ptr<const GuestMemory>> GuestMemory::make(std::vector<Region> regions) {
  std::sort(regions.begin(), regions.end(),
            [](const Region& a, const Region& b) { return a.guest_address < b.guest_address; });
  std::uint64_t free_from = 0;
  for (const Region& region : regions) {
    if (region.length_bytes == 0 || region.guest_address > kMax - region.length_bytes)
      return Status{ErrorCode::invalid_argument, "memory region is empty or wraps"};
    if (region.guest_address < free_from)
      return Status{ErrorCode::invalid_argument, "memory regions overlap"};
    free_from = region.guest_address + region.length_bytes;
  }
  return std::shared_ptr<const GuestMemory>(new GuestMemory(std::move(regions)));
}

Result<std::shared_ptr<const GuestMemory>> GuestMemory::map(std::span<const RegionSource> sources) {
  std::vector<Region> regions;
  for (const RegionSource& source : sources) {
    auto mapping = Mapping::make(source.fd, source.file_offset, source.length_bytes);
    if (!mapping) return mapping.status();
    regions.push_back({source.guest_address, source.length_bytes, std::move(*mapping)});
  }
  return make(std::move(regions));
}

bool GuestMemory::translate(std::uint64_t address, std::uint64_t length_bytes,
                            std::vector<MutableByteSpan>& into) const {
  if (planted(PlantedBug::no_address_wrap_check)) {
    for (const Region& region : regions_) {
      const std::uint64_t region_end = region.guest_address + region.length_bytes;
      if (address < region.guest_address || address + length_bytes > region_end) continue;
      into.emplace_back(region.mapping->data() + (address - region.guest_address), length_bytes);
      return true;
    }
  }
  while (length_bytes > 0) {
    const Region* region = find(address);
    if (region == nullptr) return false;
    const std::uint64_t at = address - region->guest_address;
    const std::uint64_t piece = std::min(length_bytes, region->length_bytes - at);
    into.emplace_back(region->mapping->data() + at, piece);
    length_bytes -= piece;
    address += piece;  // no wrap: make() refuses a region that reaches 2^64
  }
  return true;
}

}  // namespace cairn::virtio
