// SourceDevice: a read-only BlockDevice over image files whose extents somebody else found (qcow2/
// in TypeScript, or one extent for a raw file), so that an image can be used while it is imported.
//
// Extents in guest order, found by binary search. What no extent covers is absent and reads as
// zeros. Compressed clusters are decompressed as a whole; the last ones are kept, up to
// kMaxCachedBytes, and one that is being read is not read a second time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "image/block_device.hh"
#include "io/reactor.hh"
#include "qcow2/piece_builder.hh"
#include "qcow2/remote_ranges.hh"

namespace cairn::qcow2 {

class SourceDevice final : public image::BlockDevice {
 public:
  static constexpr std::size_t kMaxCachedBytes = std::size_t{8} << 20;

  // The descriptors are duplicated. invalid_argument: check_extent() refuses one of the extents,
  // which are in guest order; or what dup reports. remote: the files fill as they are
  // read, and must be writable: what is dropped is punched out of them.
  static Result<std::unique_ptr<SourceDevice>> open(io::Reactor& reactor, std::span<const int> fds,
                                                    std::vector<SourceExtent> extents,
                                                    std::uint64_t size_bytes,
                                                    std::shared_ptr<RemoteRanges> remote = {});

  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return true; }
  // corrupt: a file ends inside an extent, or a compressed cluster is damaged.
  void read(std::uint64_t offset, std::uint64_t length_bytes, image::ReadDone done) override;
  // read_only.
  void write(std::uint64_t offset, Buffer data, image::WriteDone done) override;
  void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                    image::WriteDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length_bytes, image::WriteDone done) override;
  void flush(image::WriteDone done) override { done(Status::ok()); }
  void extents(std::uint64_t offset, std::uint64_t length_bytes, image::ExtentsDone done) override;

 private:
  class Files;
  SourceDevice(std::shared_ptr<Files> files, std::vector<SourceExtent> extents,
               std::uint64_t size_bytes);
  Status check(std::uint64_t offset, std::uint64_t length_bytes) const;
  // Calls visit(offset, length, extent or nullptr) for the parts of a range, in order.
  template <typename Visit>
  void for_each_part(std::uint64_t offset, std::uint64_t length_bytes, Visit visit) const;

  // Shared with the reads in flight, which may end after this.
  std::shared_ptr<Files> files_;
  std::vector<SourceExtent> extents_;
  std::uint64_t size_bytes_;
};

}  // namespace cairn::qcow2
