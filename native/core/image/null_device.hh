// NullDevice: a disk of zeros that forgets what is written to it. It costs next to nothing, so that
// what is measured over it is the front end. Every callback runs inside the call that asked for it.
#pragma once

#include "image/block_device.hh"

namespace cairn::image {

class NullDevice final : public BlockDevice {
 public:
  explicit NullDevice(std::uint64_t size_bytes);

  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return false; }
  // All of them: out_of_range past the end, else ok.
  void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) override;
  void write(std::uint64_t offset, Buffer data, WriteDone done) override;
  void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                    WriteDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) override;
  void flush(WriteDone done) override;
  void extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) override;

 private:
  Status check(std::uint64_t offset, std::uint64_t length_bytes) const;

  std::uint64_t size_bytes_;
  Buffer zeros_;  // shared by all short reads
};

}  // namespace cairn::image
