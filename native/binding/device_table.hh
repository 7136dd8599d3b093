// DeviceTable: the open devices of a NativeClient by their handles: images with their parents and
// the cache of these, image files, null devices; each but the last behind its limits and counters.
// A parent stays open as long as a clone of it does, whatever becomes of its own handle.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hh"
#include "image/cached_device.hh"
#include "image/image.hh"
#include "image/image_job.hh"
#include "image/metered_device.hh"
#include "io/reactor.hh"
#include "net/handshake.hh"
#include "qcow2/piece_builder.hh"
#include "qcow2/remote_ranges.hh"

namespace cairn::binding {

struct ParentCacheOptions {
  std::string path;
  std::uint64_t size_bytes = 0;  // 0: there is none
};

struct ParentSpec {
  std::uint32_t device = 0;
  std::uint64_t overlap_bytes = 0;
};

struct ImageSpec {
  image::ImageLayout layout;  // without parent
  std::optional<ParentSpec> parent;
  // The image's name for the log, when its chunks go through the cache of parents.
  std::optional<std::string> cached_as;
};

struct DeviceFigures {
  image::DeviceCounters io;
  image::ThrottleCounters throttled;
  std::uint64_t throttled_now = 0;
  image::CloneCounters clone;
  image::CacheCounters cache;  // of the device itself and of the parents that it was opened with
};

class DeviceTable {
 public:
  using Log = std::function<void(LogLevel, std::string_view)>;
  DeviceTable(io::Reactor& reactor, const net::ClusterId& cluster, ParentCacheOptions cache,
              Log log);

  // A device that can't be opened is not in the table; the log says why.
  void open_image(std::uint32_t handle, objecter::Objecter& objecter, const ImageSpec& spec,
                  std::function<void(image::AccessEvent)> on_access);
  void open_plain(std::uint32_t handle, std::unique_ptr<image::BlockDevice> device);
  Status open_source(std::uint32_t handle, const std::vector<int>& fds,
                     std::vector<qcow2::SourceExtent> extents, std::uint64_t size_bytes,
                     std::shared_ptr<qcow2::RemoteRanges> remote);
  void close(std::uint32_t handle);
  void clear();

  // nullptr: closed. As front ends use it, behind its limits.
  image::BlockDevice* find(std::uint32_t handle);
  // nullptr: closed, or no image.
  image::Image* image(std::uint32_t handle);
  // done: when nothing that began with the parent before goes on.
  void set_parent(std::uint32_t handle, const std::optional<ParentSpec>& parent,
                  UniqueFunction<void(Status)> done);
  Status retarget(std::uint32_t handle, const image::ImageLayout& layout);
  Status set_qos(std::uint32_t handle, const image::QosLimits& limits, std::uint32_t reserved_iops);
  Result<DeviceFigures> figures(std::uint32_t handle) const;
  // Its front, for tracing. not_found, invalid_argument: it can't be traced.
  Result<std::shared_ptr<image::MeteredDevice>> traceable(std::uint32_t handle) const;

  // The job is canceled when its device is closed.
  void add_job(std::uint32_t handle, const std::shared_ptr<image::ImageJob>& job);
  void cancel_jobs(std::uint32_t handle);
  // What waits for a lock fails, now and from now on; what waits for limits goes on.
  void fail_requests(const Status& why);

 private:
  struct Device {
    std::shared_ptr<image::BlockDevice> inner;    // what a clone has as its parent
    std::shared_ptr<image::Image> image;          // if it is one
    std::shared_ptr<image::MeteredDevice> front;  // none for plain devices
    std::vector<std::shared_ptr<const image::CacheCounters>> caches;
    std::vector<std::weak_ptr<image::ImageJob>> jobs;
  };
  void add(std::uint32_t handle, Device device,
           std::shared_ptr<objecter::TraceContext> tracing = nullptr);
  Result<image::ParentLink> link(const std::optional<ParentSpec>& parent, Device& child);
  void put_cache_before(Device& device, const image::ImageLayout& layout, const std::string& name);

  io::Reactor& reactor_;
  net::ClusterId cluster_;
  ParentCacheOptions cache_options_;
  Log log_;
  std::shared_ptr<image::ParentCache> cache_;  // opened when it is first wanted
  std::map<std::uint32_t, Device> devices_;
};

}  // namespace cairn::binding
