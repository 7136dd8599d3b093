// Counting and delaying: see metered_device.hh.
#include "image/metered_device.hh"

#include <utility>

namespace cairn::image {

MeteredDevice::MeteredDevice(io::Executor& executor, std::shared_ptr<BlockDevice> inner)
    : executor_(executor), inner_(std::move(inner)), throttle_(executor) {}

// The executor outlives its callbacks, this device may not.
ReadDone MeteredDevice::counted(std::uint64_t length_bytes, ReadDone done) {
  ++counters_->in_flight;
  return [counters = counters_, &clock = executor_, started_ns = executor_.now_ns(), length_bytes,
          done = std::move(done)](Status status, Buffer data) mutable {
    --counters->in_flight;
    if (status) {
      ++counters->reads;
      counters->read_bytes += length_bytes;
      counters->read_ns.record(clock.now_ns() - started_ns);
    } else {
      ++counters->errors;
    }
    done(std::move(status), std::move(data));
  };
}

WriteDone MeteredDevice::counted(Kind kind, std::uint64_t length_bytes, WriteDone done) {
  ++counters_->in_flight;
  return [counters = counters_, &clock = executor_, started_ns = executor_.now_ns(), kind,
          length_bytes, done = std::move(done)](Status status) mutable {
    --counters->in_flight;
    if (!status) {
      ++counters->errors;
    } else if (kind == Kind::discard) {
      ++counters->discards;
    } else if (kind == Kind::flush) {
      ++counters->flushes;
    } else {
      ++counters->writes;
      counters->write_bytes += length_bytes;
      counters->write_ns.record(clock.now_ns() - started_ns);
    }
    done(std::move(status));
  };
}

void MeteredDevice::read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) {
  if (!throttle_.idle()) {
    return throttle_.admit(IoDirection::read, length_bytes,
                           [this, offset, length_bytes, done = std::move(done)]() mutable {
                             inner_->read(offset, length_bytes,
                                          counted(length_bytes, std::move(done)));
                           });
  }
  inner_->read(offset, length_bytes, counted(length_bytes, std::move(done)));
}

void MeteredDevice::write(std::uint64_t offset, Buffer data, WriteDone done) {
  const std::uint64_t length_bytes = data.size();
  if (!throttle_.idle()) {
    return throttle_.admit(
        IoDirection::write, length_bytes,
        [this, offset, data = std::move(data), done = std::move(done)]() mutable {
          const std::uint64_t bytes = data.size();
          inner_->write(offset, std::move(data), counted(Kind::write, bytes, std::move(done)));
        });
  }
  inner_->write(offset, std::move(data), counted(Kind::write, length_bytes, std::move(done)));
}

void MeteredDevice::write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                                 WriteDone done) {
  if (!throttle_.idle()) {
    return throttle_.admit(
        IoDirection::write, 0,
        [this, offset, length_bytes, may_unmap, done = std::move(done)]() mutable {
          inner_->write_zeroes(offset, length_bytes, may_unmap,
                               counted(Kind::zeroes, 0, std::move(done)));
        });
  }
  inner_->write_zeroes(offset, length_bytes, may_unmap, counted(Kind::zeroes, 0, std::move(done)));
}

void MeteredDevice::discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) {
  if (!throttle_.idle()) {
    return throttle_.admit(
        IoDirection::write, 0, [this, offset, length_bytes, done = std::move(done)]() mutable {
          inner_->discard(offset, length_bytes, counted(Kind::discard, 0, std::move(done)));
        });
  }
  inner_->discard(offset, length_bytes, counted(Kind::discard, 0, std::move(done)));
}

void MeteredDevice::flush(WriteDone done) {
  inner_->flush(counted(Kind::flush, 0, std::move(done)));
}

}  // namespace cairn::image
