// Opening and composing devices: see device_table.hh.
#include "device_table.hh"

#include <algorithm>
#include <utility>

#include "qcow2/source_device.hh"

namespace cairn::binding {

namespace {

Status closed() { return {ErrorCode::not_found, "the device is closed"}; }

}  // namespace

DeviceTable::DeviceTable(io::Reactor& reactor, const net::ClusterId& cluster,
                         ParentCacheOptions cache, Log log)
    : reactor_(reactor),
      cluster_(cluster),
      cache_options_(std::move(cache)),
      log_(std::move(log)) {}

void DeviceTable::add(std::uint32_t handle, Device device,
                      std::shared_ptr<objecter::TraceContext> tracing) {
  device.front = std::make_shared<image::MeteredDevice>(reactor_, device.inner, std::move(tracing));
  devices_[handle] = std::move(device);
}

Result<image::ParentLink> DeviceTable::link(const std::optional<ParentSpec>& parent,
                                            Device& child) {
  child.caches.clear();
  if (!parent) return image::ParentLink{};
  const auto found = devices_.find(parent->device);
  if (found == devices_.end()) return Status(ErrorCode::not_found, "the parent is closed");
  child.caches = found->second.caches;
  return image::ParentLink{found->second.inner, parent->overlap_bytes};
}

void DeviceTable::open_image(std::uint32_t handle, objecter::Objecter& objecter,
                             const ImageSpec& spec,
                             std::function<void(image::AccessEvent)> on_access) {
  Device device;
  image::ImageLayout layout = spec.layout;
  Result<image::ParentLink> parent = link(spec.parent, device);
  Status allowed = image::check_striping(layout.striping());
  if (allowed && !parent) allowed = parent.status();
  if (!allowed) {
    log_(LogLevel::error, "an image was not opened: " + allowed.message());
    return;
  }
  layout.parent = std::move(*parent);
  device.image = std::make_shared<image::Image>(reactor_, objecter, layout);
  device.inner = device.image;
  if (layout.locked) device.image->gate().on_event(std::move(on_access));
  if (spec.cached_as) put_cache_before(device, layout, *spec.cached_as);
  add(handle, std::move(device), objecter.tracing());
}

// Only what never changes: a snapshot.
void DeviceTable::put_cache_before(Device& device, const image::ImageLayout& layout,
                                   const std::string& name) {
  const image::CacheOwner owner{cluster_, layout.pool, layout.object_prefix, layout.snap};
  if (layout.snap == kHead || cache_options_.size_bytes == 0 || !image::ParentCache::fits(owner))
    return;
  if (cache_ == nullptr) {
    auto opened = image::ParentCache::open(cache_options_.path, cache_options_.size_bytes);
    if (!opened) {
      log_(LogLevel::warn, name + " is read without the cache: " + opened.status().to_string());
      return;
    }
    cache_ = std::move(*opened);
  }
  auto cached = std::make_shared<image::CachedDevice>(device.inner, cache_, owner);
  device.caches.push_back(cached->counters());
  device.inner = std::move(cached);
}

void DeviceTable::open_plain(std::uint32_t handle, std::unique_ptr<image::BlockDevice> device) {
  devices_[handle].inner = std::move(device);
}

Status DeviceTable::open_source(std::uint32_t handle, const std::vector<int>& fds,
                                std::vector<qcow2::SourceExtent> extents, std::uint64_t size_bytes,
                                std::shared_ptr<qcow2::RemoteRanges> remote) {
  auto source =
      qcow2::SourceDevice::open(reactor_, fds, std::move(extents), size_bytes, std::move(remote));
  if (!source) return source.status();
  Device device;
  device.inner = std::move(*source);
  add(handle, std::move(device));
  return Status::ok();
}

void DeviceTable::close(std::uint32_t handle) {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return;
  const std::vector<std::weak_ptr<image::ImageJob>> jobs = std::move(found->second.jobs);
  // First the image closes, unless it is somebody's parent: then its jobs know that it is gone.
  devices_.erase(found);
  for (const auto& entry : jobs) {
    if (const auto job = entry.lock()) job->cancel();
  }
}

void DeviceTable::clear() {
  while (!devices_.empty()) close(devices_.begin()->first);
}

image::BlockDevice* DeviceTable::find(std::uint32_t handle) {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return nullptr;
  const Device& device = found->second;
  return device.front != nullptr ? device.front.get() : device.inner.get();
}

image::Image* DeviceTable::image(std::uint32_t handle) {
  const auto found = devices_.find(handle);
  return found == devices_.end() ? nullptr : found->second.image.get();
}

void DeviceTable::set_parent(std::uint32_t handle, const std::optional<ParentSpec>& parent,
                             UniqueFunction<void(Status)> done) {
  const auto found = devices_.find(handle);
  if (found == devices_.end() || found->second.image == nullptr) return done(closed());
  Result<image::ParentLink> linked = link(parent, found->second);
  if (!linked) return done(linked.status());
  found->second.image->set_parent(std::move(*linked),
                                  [done = std::move(done)]() mutable { done(Status::ok()); });
}

Status DeviceTable::retarget(std::uint32_t handle, const image::ImageLayout& layout) {
  const auto found = devices_.find(handle);
  if (found == devices_.end() || found->second.image == nullptr) return closed();
  found->second.caches.clear();
  return found->second.image->retarget(layout);
}

Status DeviceTable::set_qos(std::uint32_t handle, const image::QosLimits& limits,
                            std::uint32_t reserved_iops) {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return closed();
  if (found->second.front == nullptr)
    return {ErrorCode::invalid_argument, "a null device has no limits"};
  found->second.front->set_limits(limits);
  const auto& image = found->second.image;
  if (image != nullptr) image->objects()->set_reservation(reserved_iops, handle);
  return Status::ok();
}

Result<DeviceFigures> DeviceTable::figures(std::uint32_t handle) const {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return closed();
  const Device& device = found->second;
  DeviceFigures figures;
  if (device.front != nullptr) {
    figures.io = device.front->counters();
    figures.throttled = device.front->throttled();
    figures.throttled_now = device.front->waiting();
  }
  if (device.image != nullptr) figures.clone = device.image->clone_counters();
  for (const auto& cache : device.caches) {
    figures.cache.hits += cache->hits;
    figures.cache.misses += cache->misses;
    figures.cache.shared += cache->shared;
    figures.cache.read_bytes += cache->read_bytes;
  }
  return figures;
}

Result<std::shared_ptr<image::MeteredDevice>> DeviceTable::traceable(std::uint32_t handle) const {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return closed();
  const auto& front = found->second.front;
  if (front != nullptr && front->can_be_traced()) return front;
  return Status(ErrorCode::invalid_argument, "only images can be traced");
}

void DeviceTable::add_job(std::uint32_t handle, const std::shared_ptr<image::ImageJob>& job) {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return job->cancel();
  std::vector<std::weak_ptr<image::ImageJob>>& jobs = found->second.jobs;
  std::erase_if(jobs, [](const auto& entry) { return entry.expired(); });
  jobs.push_back(job);
}

void DeviceTable::fail_requests(const Status& why) {
  for (auto& [handle, device] : devices_) {
    if (device.image != nullptr) device.image->gate().fail(why);
    if (device.front != nullptr) device.front->set_limits({});
  }
}

void DeviceTable::cancel_jobs(std::uint32_t handle) {
  const auto found = devices_.find(handle);
  if (found == devices_.end()) return;
  for (const auto& entry : found->second.jobs) {
    if (const auto job = entry.lock()) job->cancel();
  }
}

}  // namespace cairn::binding
