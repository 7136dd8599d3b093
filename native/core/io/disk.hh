// Disk: one data file or block device, as a port. Offsets, lengths and memory are multiples of
// 4096 (O_DIRECT). Completions run on the executor, in any order. A completed write may still be
// lost by a power cut until a flush that was started after its completion has completed, or until
// it was itself written with durable = true.
// Implementations: UringDisk (real), SimDisk (seeded; can lose, tear and flip).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.hh"
#include "base/status.hh"
#include "base/unique_function.hh"

namespace cairn::io {

using DiskDone = UniqueFunction<void(Status)>;

// Room in the file system below a disk, in bytes. A block device has all its room at once: its
// available_bytes equals its size.
struct DiskSpace {
  std::uint64_t total_bytes = 0;      // of the file system
  std::uint64_t available_bytes = 0;  // to a process without privileges
  std::uint64_t allocated_bytes = 0;  // taken by the disk itself (it may be sparse)
};

// The blocking half, for the key-value store's own thread (and for opening a store).
class BlockingDisk {
 public:
  virtual ~BlockingDisk() = default;
  virtual std::uint64_t size_bytes() const = 0;
  virtual Status read_now(std::uint64_t offset, MutableByteSpan into) = 0;
  virtual Status write_now(std::uint64_t offset, ByteSpan from) = 0;
  virtual Status flush_now() = 0;
  // Asks the file system; io_error when it cannot tell.
  virtual Result<DiskSpace> space() const = 0;
};

class Disk : public BlockingDisk {
 public:
  // Fills into completely; short reads are errors. The buffer is kept alive until done has run.
  virtual void read(std::uint64_t offset, Buffer into, DiskDone done) = 0;
  // Writes the buffers one behind the other from offset.
  virtual void write(std::uint64_t offset, std::vector<Buffer> from, bool durable,
                     DiskDone done) = 0;
  virtual void flush(DiskDone done) = 0;
  // Gives the space back to the file system below (hole punch or BLKDISCARD); a hint: contents are
  // undefined afterwards.
  virtual void discard(std::uint64_t offset, std::uint64_t length, DiskDone done) = 0;
};

}  // namespace cairn::io
