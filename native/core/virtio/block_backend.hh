// BlockBackend: a virtio-blk device over a BlockDevice, on a Reactor. It owns one BlockQueue per
// running virtqueue and decides when each looks at its ring: at a kick, or by polling for a while
// after a completion (SpinWindow), so that a busy guest needs no kicks and an idle one no CPU.
//
// Invariants
// - A queue that is neither polled nor about to be has asked the driver for kicks and has then
//   looked at the ring once more: no chain waits unseen.
// - While it is polled it has not asked: the driver is spared the kick.
//
// Does not: open or close descriptors, negotiate, or know where its rings come from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.hh"
#include "image/block_device.hh"
#include "io/reactor.hh"
#include "virtio/block_queue.hh"
#include "virtio/device.hh"
#include "virtio/spin_window.hh"

namespace cairn::virtio {

class BlockBackend final : public Device {
 public:
  static constexpr std::uint32_t kMaxQueues = 64;

  struct Options {
    std::uint32_t queue_count = 1;  // 1 to kMaxQueues
    std::string serial;             // for GET_ID; the first 20 bytes count
  };

  // The device and the reactor outlive the backend.
  BlockBackend(image::BlockDevice& device, io::Reactor& reactor, Options options, LogFunction log);
  // Every queue has been stopped.
  ~BlockBackend() override;

  std::uint64_t features() const override;
  std::uint32_t queue_count() const override { return options_.queue_count; }
  void read_config(std::size_t offset, MutableByteSpan into) const override;
  Status write_config(std::size_t offset, ByteSpan bytes) override;
  Status start_queue(std::uint32_t index, const QueueSetup& setup) override;
  void set_call(std::uint32_t index, int call_fd) override;
  void stop_queue(std::uint32_t index, StopDone done) override;

 private:
  class Runner;

  BlockGeometry geometry() const;

  image::BlockDevice& device_;
  io::Reactor& reactor_;
  Options options_;
  LogFunction log_;
  std::vector<std::unique_ptr<Runner>> runners_;  // by queue index; null: stopped
};

}  // namespace cairn::virtio
