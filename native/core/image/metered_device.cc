// Counting and delaying: see metered_device.hh.
#include "image/metered_device.hh"

#include <utility>

namespace cairn::image {

MeteredDevice::MeteredDevice(io::Executor& executor, std::shared_ptr<BlockDevice> inner,
                             std::shared_ptr<objecter::TraceContext> tracing)
    : executor_(executor),
      tracing_(std::move(tracing)),
      inner_(std::move(inner)),
      throttle_(executor) {}

void MeteredDevice::trace(std::shared_ptr<objecter::TraceCollector> collector) {
  CAIRN_ASSERT(can_be_traced());
  collectors_.push_back(std::move(collector));
}

void MeteredDevice::end_trace(const std::shared_ptr<objecter::TraceCollector>& collector) {
  std::erase(collectors_, collector);
}

MeteredDevice::Trace MeteredDevice::traced_request() {
  std::vector<std::shared_ptr<objecter::TraceCollector>> sampling;
  for (const auto& collector : collectors_) {
    if (collector->samples_next()) sampling.push_back(collector);
  }
  if (sampling.empty()) return nullptr;
  return std::make_shared<objecter::RequestTrace>(executor_.now_ns(), std::move(sampling));
}

ReadDone MeteredDevice::traced(const Trace& request, ReadDone done) {
  if (request == nullptr) return done;
  return [&clock = executor_, request, done = std::move(done)](Status status, Buffer data) mutable {
    if (status) request->finish(objecter::TracedKind::read, clock.now_ns());
    done(std::move(status), std::move(data));
  };
}

WriteDone MeteredDevice::traced(const Trace& request, objecter::TracedKind kind, WriteDone done) {
  if (request == nullptr) return done;
  return [&clock = executor_, request, kind, done = std::move(done)](Status status) mutable {
    if (status) request->finish(kind, clock.now_ns());
    done(std::move(status));
  };
}

template <typename Start>
void MeteredDevice::pass(IoDirection direction, std::uint64_t bytes, Trace request, Start start) {
  if (throttle_.idle()) {
    // What a traced request's end begins is no part of it.
    const objecter::TraceScope scope(tracing_.get(), std::move(request));
    return start();
  }
  throttle_.admit(direction, bytes,
                  [this, since_ns = executor_.now_ns(), request = std::move(request),
                   start = std::move(start)]() mutable {
                    if (request != nullptr) request->waited(executor_.now_ns() - since_ns);
                    const objecter::TraceScope scope(tracing_.get(), std::move(request));
                    start();
                  });
}

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
  Trace request = traced_request();
  done = traced(request, std::move(done));
  pass(IoDirection::read, length_bytes, std::move(request),
       [this, offset, length_bytes, done = std::move(done)]() mutable {
         inner_->read(offset, length_bytes, counted(length_bytes, std::move(done)));
       });
}

void MeteredDevice::write(std::uint64_t offset, Buffer data, WriteDone done) {
  Trace request = traced_request();
  done = traced(request, objecter::TracedKind::write, std::move(done));
  const std::uint64_t length_bytes = data.size();
  pass(IoDirection::write, length_bytes, std::move(request),
       [this, offset, length_bytes, data = std::move(data), done = std::move(done)]() mutable {
         inner_->write(offset, std::move(data),
                       counted(Kind::write, length_bytes, std::move(done)));
       });
}

void MeteredDevice::write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                                 WriteDone done) {
  Trace request = traced_request();
  done = traced(request, objecter::TracedKind::write, std::move(done));
  pass(IoDirection::write, 0, std::move(request),
       [this, offset, length_bytes, may_unmap, done = std::move(done)]() mutable {
         inner_->write_zeroes(offset, length_bytes, may_unmap,
                              counted(Kind::zeroes, 0, std::move(done)));
       });
}

void MeteredDevice::discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) {
  Trace request = traced_request();
  done = traced(request, objecter::TracedKind::discard, std::move(done));
  pass(IoDirection::write, 0, std::move(request),
       [this, offset, length_bytes, done = std::move(done)]() mutable {
         inner_->discard(offset, length_bytes, counted(Kind::discard, 0, std::move(done)));
       });
}

void MeteredDevice::flush(WriteDone done) {
  Trace request = traced_request();
  done = traced(request, objecter::TracedKind::flush, std::move(done));
  const objecter::TraceScope scope(tracing_.get(), std::move(request));
  inner_->flush(counted(Kind::flush, 0, std::move(done)));
}

}  // namespace cairn::image
