// Device: a virtio device as a transport (vhost_user) drives it. The transport negotiates, maps the
// guest's memory and hands over rings; the device serves them. All methods and callbacks belong to
// one executor.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.hh"
#include "base/status.hh"
#include "base/unique_function.hh"
#include "virtio/guest_memory.hh"
#include "virtio/ring_layout.hh"

namespace cairn::virtio {

// One virtqueue, ready to run. The descriptors are the transport's: they stay open until the queue
// has stopped or set_call() has replaced them; -1: none.
struct QueueSetup {
  std::uint32_t size = 0;
  RingAddresses addresses;
  std::uint16_t next_available = 0;  // the base: where in the available ring to go on
  std::uint64_t features = 0;        // as the driver acknowledged them
  std::shared_ptr<const GuestMemory> memory;
  int kick_fd = -1;   // eventfd, readable when the driver has made chains available
  int call_fd = -1;   // eventfd, written to interrupt the driver
  int error_fd = -1;  // eventfd, written when the ring is broken
};

using StopDone = UniqueFunction<void(std::uint16_t next_available)>;

class Device {
 public:
  virtual ~Device() = default;
  // What may be acknowledged; the same for the device's whole life.
  virtual std::uint64_t features() const = 0;
  virtual std::uint32_t queue_count() const = 0;
  // Fills `into` from the configuration space; zeros past its end.
  virtual void read_config(std::size_t offset, MutableByteSpan into) const = 0;
  // Errors: unsupported_feature for a field that the driver may not write.
  virtual Status write_config(std::size_t offset, ByteSpan bytes) = 0;
  // The queue with this index, below queue_count(), is stopped. Errors: invalid_argument when the
  // ring is not possible; the queue stays stopped then.
  virtual Status start_queue(std::uint32_t index, const QueueSetup& setup) = 0;
  // Of a running queue. Interrupts once, for a completion that the old descriptor may have missed.
  virtual void set_call(std::uint32_t index, int call_fd) = 0;
  // Of a running queue: takes no more requests, finishes those in flight, shows them to the driver,
  // then calls done, never before stop_queue() has returned.
  virtual void stop_queue(std::uint32_t index, StopDone done) = 0;
};

}  // namespace cairn::virtio
