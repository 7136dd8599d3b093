// BlockDevice: a disk as the front ends (virtio, NBD, bench, copy jobs) see it. Offsets and lengths
// in bytes; any alignment is allowed, multiples of 4096 are fast. All methods and callbacks belong
// to one executor. A device may call done before its method returns (NullDevice always does), so a
// caller is ready for that. The buffer of a read may share its bytes with others: it is not
// written. A completed write is durable: there is no volatile write cache. Implementations: Image
// (striped over objects), NullDevice (zeros; measures a front end alone).
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/buffer.hh"
#include "base/status.hh"
#include "base/unique_function.hh"

namespace cairn::image {

using ReadDone = UniqueFunction<void(Status, Buffer)>;  // the buffer has the asked length when ok
using WriteDone = UniqueFunction<void(Status)>;

enum class ExtentState : std::uint8_t { data, zero, absent };
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  ExtentState state = ExtentState::absent;
};
// In order of their offsets, neighbours of one state as one.
std::vector<Extent> merged(std::vector<Extent> extents);
// Begins and ends, ascending, none touching the next.
using ByteRanges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
using PopulatedDone = UniqueFunction<void(Status, std::optional<ByteRanges>)>;
using ExtentsDone = UniqueFunction<void(Status, std::vector<Extent>)>;

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  virtual std::uint64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;
  // out_of_range past the end; read_only; io_error, timed_out... from the cluster.
  virtual void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) = 0;
  // The bytes are the device's from here on: nobody changes them until done has run.
  virtual void write(std::uint64_t offset, Buffer data, WriteDone done) = 0;
  // Reads as zeros afterwards. may_unmap: the space may be given back.
  virtual void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                            WriteDone done) = 0;
  // A hint; whole blocks inside the range read as zeros afterwards, partial ones keep their bytes.
  virtual void discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) = 0;
  // Completes when every write that completed before is durable; here: an ordering point.
  virtual void flush(WriteDone done) = 0;
  // A front end begins to use the device (a ring starts, a client connects), and has ended: all its
  // requests are answered. done: others may take the device over now; maybe inside the call.
  virtual void begin_use() {}
  virtual void end_use(UniqueFunction<void()> done) { done(); }
  // The allocation state of a range, in order and without gaps; nothing with an error.
  virtual void extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) = 0;
  // Ranges outside of which it reads as zeros, coarsely, and for less than extents() of it all
  // costs; nullopt: nothing better is known than the whole device.
  virtual void populated(PopulatedDone done) { done(Status::ok(), std::nullopt); }
};

}  // namespace cairn::image
