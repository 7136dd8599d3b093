// A disk of zeros; see the header.
#include "image/null_device.hh"

#include <utility>

namespace cairn::image {

namespace {
constexpr std::size_t kSharedZerosBytes = std::size_t{1} << 20;
}

NullDevice::NullDevice(std::uint64_t size_bytes)
    : size_bytes_(size_bytes), zeros_(Buffer::zeroed(kSharedZerosBytes)) {}

Status NullDevice::check(std::uint64_t offset, std::uint64_t length_bytes) const {
  if (offset <= size_bytes_ && length_bytes <= size_bytes_ - offset) return Status::ok();
  return {ErrorCode::out_of_range, "past the end of the disk"};
}

void NullDevice::read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) {
  Status status = check(offset, length_bytes);
  if (!status)
    done(std::move(status), Buffer());
  else if (length_bytes <= kSharedZerosBytes)
    done(Status::ok(), zeros_.slice(0, length_bytes));
  else
    done(Status::ok(), Buffer::zeroed(length_bytes));
}

void NullDevice::write(std::uint64_t offset, Buffer data, WriteDone done) {
  done(check(offset, data.size()));
}

void NullDevice::write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool,
                              WriteDone done) {
  done(check(offset, length_bytes));
}

void NullDevice::discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) {
  done(check(offset, length_bytes));
}

void NullDevice::flush(WriteDone done) { done(Status::ok()); }

void NullDevice::extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) {
  Status status = check(offset, length_bytes);
  std::vector<Extent> extents;
  if (status && length_bytes > 0) extents.push_back({offset, length_bytes, ExtentState::zero});
  done(std::move(status), std::move(extents));
}

}  // namespace cairn::image
