// MeteredDevice: limits and statistics in front of any device. Requests pass the limits first, then
// the device with its gate. A device without limits costs a request two looks at the clock.
#pragma once

#include <memory>
#include <vector>

#include "base/histogram.hh"
#include "image/block_device.hh"
#include "image/throttle.hh"
#include "objecter/request_trace.hh"

namespace cairn::image {

struct DeviceCounters {
  std::uint64_t reads = 0, read_bytes = 0;    // that succeeded, as all counts here
  std::uint64_t writes = 0, write_bytes = 0;  // zeroing too, which has no bytes
  std::uint64_t discards = 0, flushes = 0;
  std::uint64_t errors = 0;
  std::uint64_t in_flight = 0;  // the throttled ones not
  // Without the time that a request was throttled.
  Histogram read_ns, write_ns;
};

class MeteredDevice final : public BlockDevice {
 public:
  // tracing: of the objecter that the device's operations go to; nullptr: it can't be traced.
  MeteredDevice(io::Executor& executor, std::shared_ptr<BlockDevice> inner,
                std::shared_ptr<objecter::TraceContext> tracing = nullptr);

  void set_limits(const QosLimits& limits) { throttle_.set(limits); }
  const DeviceCounters& counters() const { return *counters_; }
  const ThrottleCounters& throttled() const { return throttle_.counters(); }
  std::uint64_t waiting() const { return throttle_.waiting(); }
  const std::shared_ptr<BlockDevice>& inner() const { return inner_; }

  std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  bool read_only() const override { return inner_->read_only(); }

  // Requests that begin from now on.
  void trace(std::shared_ptr<objecter::TraceCollector> collector);
  void end_trace(const std::shared_ptr<objecter::TraceCollector>& collector);
  bool can_be_traced() const { return tracing_ != nullptr; }

  void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) override;
  void write(std::uint64_t offset, Buffer data, WriteDone done) override;
  void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                    WriteDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) override;
  // Not throttled: it moves nothing.
  void flush(WriteDone done) override;
  void begin_use() override { inner_->begin_use(); }
  void end_use(UniqueFunction<void()> done) override { inner_->end_use(std::move(done)); }
  void extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) override {
    inner_->extents(offset, length_bytes, std::move(done));
  }
  void populated(PopulatedDone done) override { inner_->populated(std::move(done)); }

 private:
  enum class Kind : std::uint8_t { write, zeroes, discard, flush };
  // The completion of a request that starts now, counted.
  ReadDone counted(std::uint64_t length_bytes, ReadDone done);
  WriteDone counted(Kind kind, std::uint64_t length_bytes, WriteDone done);

  using Trace = std::shared_ptr<objecter::RequestTrace>;
  // nullptr: nobody traces the device, or samples this request.
  Trace traced_request();
  ReadDone traced(const Trace& request, ReadDone done);
  WriteDone traced(const Trace& request, objecter::TracedKind kind, WriteDone done);
  // Runs start when the limits let it go, as part of the request.
  template <typename Start>
  void pass(IoDirection direction, std::uint64_t bytes, Trace request, Start start);

  io::Executor& executor_;
  std::shared_ptr<objecter::TraceContext> tracing_;
  std::vector<std::shared_ptr<objecter::TraceCollector>> collectors_;
  std::shared_ptr<BlockDevice> inner_;
  Throttle throttle_;
  // Shared with the requests in flight, which may end after this.
  std::shared_ptr<DeviceCounters> counters_ = std::make_shared<DeviceCounters>();
};

}  // namespace cairn::image
