// The platform of an OSD daemon: a reactor with its thread, io_uring, TCP.
#include <utility>

#include "core_thread.hh"
#include "io/uring_disk.hh"
#include "net/tcp_messenger.hh"
#include "osd_platform.hh"

namespace cairn::binding {

namespace {

// A few times what a record and its flush take on an SSD.
constexpr std::uint64_t kGroupWaitNs = 500'000;

class RealOsdPlatform final : public OsdPlatform {
 public:
  RealOsdPlatform(std::unique_ptr<CoreThread> thread, OsdSelf self)
      : thread_(std::move(thread)), self_(std::move(self)) {}

  CoreHost& host() override { return *thread_; }
  io::Executor& executor() override { return thread_->reactor(); }
  Result<std::shared_ptr<io::Disk>> open_disk() override {
    auto disk = io::UringDisk::open(thread_->reactor(), self_.path, {});
    if (!disk) return disk.status();
    return std::shared_ptr<io::Disk>(std::move(*disk));
  }
  object_store::Options store_options() override {
    object_store::Options options;
    options.group_wait_ns = kGroupWaitNs;
    if (!self_.moves_overwrites) options.redirect_run_blocks = 0;
    if (self_.metadata_cache_bytes) options.metadata_cache_bytes = *self_.metadata_cache_bytes;
    return options;
  }
  std::unique_ptr<net::Messenger> make_messenger(net::MessengerHandler& handler,
                                                 LogLine log) override {
    net::TcpConfig config;
    config.cluster = self_.cluster;
    config.self = {net::EntityKind::osd, static_cast<std::uint64_t>(self_.osd), self_.incarnation};
    config.local_sockets = self_.local_sockets;
    config.log = std::move(log);
    return std::make_unique<net::TcpMessenger>(thread_->reactor(), handler, std::move(config));
  }
  void on_death(std::function<void()>) override {}  // the whole process dies with it

 private:
  std::unique_ptr<CoreThread> thread_;
  OsdSelf self_;
};

}  // namespace

Result<std::unique_ptr<OsdPlatform>> make_real_osd_platform(Napi::Env env, OsdSelf self) {
  auto thread = CoreThread::start(env, "cairn-osd");
  if (!thread) return thread.status();
  return std::unique_ptr<OsdPlatform>(
      std::make_unique<RealOsdPlatform>(std::move(*thread), std::move(self)));
}

}  // namespace cairn::binding
