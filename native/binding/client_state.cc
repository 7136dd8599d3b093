// Devices, exports and jobs of a NativeClient: see client_state.hh.
#include "client_state.hh"

#include <utility>

#include "image/gather.hh"
#include "image/range_diff.hh"
#include "nbd/nbd_server.hh"
#include "qcow2/export_job.hh"
#include "qcow2/raw_extents.hh"
#include "vhost_user/server.hh"
#include "virtio/block_backend.hh"

namespace cairn::binding {

namespace {
constexpr std::uint64_t kProgressNs = 200'000'000;
// So long a closing client waits for requests of its exports before it fails them.
constexpr std::uint64_t kShutDownGraceNs = 1'000'000'000;
constexpr std::size_t kExtentsPerBatch = 1024;
}  // namespace

// The dirty bitmaps of an image: one for each of some snapshots.
class SnapshotDiffs final : public nbd::DirtySource {
 public:
  SnapshotDiffs(std::shared_ptr<image::ObjectIo> objects, std::vector<BitmapSpec> bitmaps)
      : objects_(std::move(objects)), bitmaps_(std::move(bitmaps)) {}
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const BitmapSpec& bitmap : bitmaps_) names.push_back(bitmap.name);
    return names;
  }
  void dirty(std::size_t bitmap, std::uint64_t offset, std::uint64_t length_bytes,
             image::ExtentsDone done) override {
    image::diff_range(objects_, bitmaps_[bitmap].snap, offset, length_bytes, std::move(done));
  }

 private:
  std::shared_ptr<image::ObjectIo> objects_;
  std::vector<BitmapSpec> bitmaps_;
};

// One of the two servers, with what it needs.
struct ClientState::Export {
  std::shared_ptr<image::ObjectIo> objects;    // of nbd: the image's, if it is one
  const image::BlockDevice* device = nullptr;  // of vhost_user
  std::unique_ptr<virtio::BlockBackend> backend;
  std::unique_ptr<vhost_user::Server> vhost_user;
  std::unique_ptr<nbd::NbdServer> nbd;
  // Told when it has stopped; not empty: it is being stopped.
  std::vector<UniqueFunction<void(Status)>> stopping;
};

// An import that TypeScript feeds.
struct ClientState::Job {
  std::shared_ptr<qcow2::ImportJob> import;
  BytesDone wants_more;  // answers the last importExtents()
  BytesDone ended;       // answers importEnd()
  bool finished = false;
  Status result;
};

ClientState::ClientState(io::Reactor& reactor, net::TcpConfig config, ParentCacheOptions cache,
                         ClientHooks hooks)
    : reactor_(reactor), hooks_(std::move(hooks)) {
  devices_ = std::make_unique<DeviceTable>(reactor, config.cluster, std::move(cache), hooks_.log);
  diffs_ = std::make_unique<DiffTable>(reactor);
  objecter_ = std::make_unique<objecter::Objecter>(reactor, config.self.id, hooks_.need_map);
  config.log = hooks_.log;
  messenger_ = std::make_unique<net::TcpMessenger>(reactor, *objecter_, std::move(config));
  objecter_->attach(*messenger_);
  objecter::WatchEvents events;
  events.on_notify = hooks_.watch;
  events.on_lapse = [this](objecter::WatchId watch) { hooks_.watch_lapsed(watch, Status::ok()); };
  events.on_end = hooks_.watch_lapsed;
  watches_ = std::make_unique<objecter::WatchClient>(reactor, *objecter_, std::move(events));
}

ClientState::~ClientState() {
  *alive_ = false;
  watches_.reset();
  // Jobs and exports call devices, devices the objecter, the objecter the messenger.
  objecter_->close(Status(ErrorCode::canceled, "the client is closing"));
  diffs_.reset();
  jobs_.clear();
  exports_.clear();
  devices_->clear();
  messenger_.reset();
  objecter_.reset();
}

void ClientState::open_image(std::uint32_t handle, const ImageSpec& spec) {
  devices_->open_image(handle, *objecter_, spec,
                       [this, handle](image::AccessEvent event) { hooks_.device(handle, event); });
}

void ClientState::open_source(std::uint32_t handle, const std::vector<int>& fds,
                              const std::vector<qcow2::SourceExtent>& extents,
                              std::uint64_t size_bytes, const std::optional<RemoteFiles>& remote) {
  std::shared_ptr<qcow2::RemoteRanges> ranges;
  if (remote) {
    qcow2::RemoteRanges::Hooks hooks;
    hooks.wanted = [this, handle](std::uint32_t source, std::uint64_t offset,
                                  std::uint64_t length) {
      hooks_.source_wanted(handle, source, offset, length);
    };
    hooks.closed = [this, handle, alive = alive_] {
      if (!*alive) return;
      remotes_.erase(handle);
      hooks_.source_closed(handle);
    };
    ranges = std::make_shared<qcow2::RemoteRanges>(remote->chunk_bytes, remote->file_bytes,
                                                   remote->max_kept_bytes, std::move(hooks));
    remotes_[handle] = ranges;
  }
  const Status opened = devices_->open_source(handle, fds, extents, size_bytes, std::move(ranges));
  if (!opened) hooks_.log(LogLevel::error, "an image file was not opened: " + opened.message());
}

void ClientState::source_fetched(std::uint32_t handle, std::uint32_t source, std::uint64_t offset,
                                 std::uint64_t length, const Status& status) {
  const auto found = remotes_.find(handle);
  if (found == remotes_.end()) return;
  // Kept while its readers are told: one of them may be the last.
  if (const auto ranges = found->second.lock()) ranges->fetched(source, offset, length, status);
}

Result<std::uint32_t> ClientState::serve_vhost_user(image::BlockDevice& device,
                                                    const std::string& socket, std::uint16_t queues,
                                                    const std::string& serial) {
  if (queues == 0 || queues > virtio::BlockBackend::kMaxQueues) {
    return Status(ErrorCode::invalid_argument, "the number of queues must be 1 to 64");
  }
  auto entry = std::make_unique<Export>();
  entry->backend = std::make_unique<virtio::BlockBackend>(
      device, reactor_, virtio::BlockBackend::Options{queues, serial}, hooks_.log);
  entry->device = &device;
  auto server = vhost_user::Server::listen(reactor_, *entry->backend, socket, hooks_.log);
  if (!server) return server.status();
  entry->vhost_user = std::move(*server);
  exports_[next_export_] = std::move(entry);
  return next_export_++;
}

Result<std::uint32_t> ClientState::serve_nbd(std::uint32_t handle, NbdSpec spec) {
  image::BlockDevice* const device = this->device(handle);
  if (device == nullptr) return Status(ErrorCode::not_found, "the device is closed");
  auto entry = std::make_unique<Export>();
  nbd::ServerOptions options;
  options.unix_path = std::move(spec.unix_path);
  options.tcp = spec.tcp;
  options.export_name = std::move(spec.export_name);
  options.read_only = device->read_only();
  if (image::Image* const image = this->image(handle)) entry->objects = image->objects();
  if (!spec.bitmaps.empty()) {
    if (entry->objects == nullptr)
      return Status(ErrorCode::invalid_argument, "only images have dirty bitmaps");
    options.dirty = std::make_shared<SnapshotDiffs>(entry->objects, std::move(spec.bitmaps));
  }
  auto server = nbd::NbdServer::listen(reactor_, *device, std::move(options), hooks_.log);
  if (!server) return server.status();
  entry->nbd = std::move(*server);
  exports_[next_export_] = std::move(entry);
  return next_export_++;
}

Status ClientState::set_dirty_bitmaps(std::uint32_t handle, std::vector<BitmapSpec> bitmaps) {
  const auto found = exports_.find(handle);
  if (found == exports_.end() || found->second->nbd == nullptr || !found->second->objects)
    return {ErrorCode::not_found, "no such NBD export of an image"};
  Export& entry = *found->second;
  entry.nbd->set_dirty(std::make_shared<SnapshotDiffs>(entry.objects, std::move(bitmaps)));
  return Status::ok();
}

void ClientState::set_image_size(std::uint32_t handle, std::uint64_t size_bytes) {
  image::Image* const image = this->image(handle);
  if (image == nullptr) return;
  image->set_size(size_bytes);
  const image::BlockDevice* const device = this->device(handle);
  for (const auto& [number, entry] : exports_)
    if (entry->vhost_user != nullptr && entry->device == device)
      entry->vhost_user->config_changed();
}

void ClientState::stop_export(std::uint32_t handle, UniqueFunction<void(Status)> done) {
  const auto found = exports_.find(handle);
  if (found == exports_.end()) return done(Status(ErrorCode::not_found, "no such export"));
  Export& entry = *found->second;
  entry.stopping.push_back(std::move(done));
  if (entry.stopping.size() > 1) return;
  auto closed = [this, handle] {
    // Not inside the server's own callback.
    reactor_.post([this, handle] {
      const auto node = exports_.extract(handle);
      std::vector<UniqueFunction<void(Status)>> waiting = std::move(node.mapped()->stopping);
      node.mapped().reset();
      for (auto& told : waiting) told(Status::ok());
    });
  };
  if (entry.nbd != nullptr) return entry.nbd->close(std::move(closed));
  entry.vhost_user->close(std::move(closed));
}

void ClientState::shut_down(UniqueFunction<void()> done) {
  struct Rest {
    std::size_t exports = 1;  // one more until all have been told
    UniqueFunction<void()> done;
  };
  auto rest = std::make_shared<Rest>();
  rest->done = std::move(done);
  const auto stopped = [this, rest] {
    if (--rest->exports == 0) reactor_.post(std::move(rest->done));
  };
  std::vector<std::uint32_t> handles;
  for (const auto& [handle, entry] : exports_) handles.push_back(handle);
  for (const std::uint32_t handle : handles) {
    ++rest->exports;
    stop_export(handle, [stopped](const Status&) { stopped(); });
  }
  reactor_.run_after(kShutDownGraceNs, [this, alive = alive_] {
    if (*alive) fail_requests();
  });
  stopped();
}

// Wherever they wait: for the lock, for their image's limits, or for the cluster.
void ClientState::fail_requests() {
  const Status closing(ErrorCode::canceled, "the client is closing");
  devices_->fail_requests(closing);
  objecter_->close(closing);
}

void ClientState::import_begin(std::uint32_t device_handle, std::uint32_t id,
                               const std::vector<int>& fds) {
  auto job = std::make_shared<Job>();
  jobs_[id] = job;
  image::BlockDevice* target = device(device_handle);
  if (target == nullptr) {
    return import_ended(id, Status(ErrorCode::not_found, "the device is closed"));
  }
  job->import = qcow2::ImportJob::create(
      reactor_, *target, fds, {},
      [job = std::weak_ptr<Job>(job)] {
        const auto held = job.lock();
        if (held == nullptr || !held->wants_more) return;
        std::exchange(held->wants_more, nullptr)(held->import->progress().handled_bytes);
      },
      [this, id, alive = alive_](Status status) {
        if (*alive) import_ended(id, status);
      });
}

void ClientState::import_ended(std::uint32_t id, const Status& status) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  const std::shared_ptr<Job> job = found->second;
  job->finished = true;
  job->result = status;
  const auto answer = [&job](BytesDone& done) {
    if (!done) return;
    const BytesDone call = std::exchange(done, nullptr);
    if (!job->result) return call(job->result);
    call(job->import->progress().handled_bytes);
  };
  answer(job->wants_more);
  answer(job->ended);
}

void ClientState::import_extents(std::uint32_t id, const std::vector<qcow2::SourceExtent>& extents,
                                 BytesDone done) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return done(Status(ErrorCode::not_found, "no such job"));
  const std::shared_ptr<Job> job = found->second;
  if (job->finished && !job->result) return done(job->result);
  job->wants_more = std::move(done);
  Status taken = job->import->add(extents);
  if (!taken && job->wants_more) std::exchange(job->wants_more, nullptr)(std::move(taken));
}

void ClientState::import_end(std::uint32_t id, BytesDone done) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return done(Status(ErrorCode::not_found, "no such job"));
  const std::shared_ptr<Job> job = found->second;
  job->ended = [this, id, done = std::move(done)](Result<std::uint64_t> result) {
    done(std::move(result));
    jobs_.erase(id);
  };
  if (job->finished) return import_ended(id, job->result);
  job->import->end();
}

void ClientState::cancel_job(std::uint32_t id) {
  const auto found = jobs_.find(id);
  if (found != jobs_.end() && found->second->import != nullptr) found->second->import->cancel();
}

void ClientState::cancel_copies() {
  for (const std::weak_ptr<qcow2::CopyJob>& copy : std::exchange(copies_, {})) {
    if (const auto job = copy.lock()) job->cancel();
  }
  diffs_->cancel_all();
}

void ClientState::watch_progress(std::shared_ptr<qcow2::CopyJob> job, std::shared_ptr<bool> running,
                                 std::function<void(std::uint64_t)> progress) {
  reactor_.run_after(kProgressNs, [this, job, running, progress, alive = alive_] {
    if (!*alive || !*running) return;
    progress(job->progress().handled_bytes);
    watch_progress(job, running, progress);
  });
}

namespace {

// A job with its progress timer; the job is let go when it has ended.
struct JobEnd {
  std::shared_ptr<qcow2::CopyJob> job;
  std::shared_ptr<bool> running = std::make_shared<bool>(true);
};

qcow2::CopyDone end_of(const std::shared_ptr<JobEnd>& end, BytesDone done) {
  return [end, done = std::move(done)](Status status) {
    *end->running = false;
    const std::shared_ptr<qcow2::CopyJob> job = std::exchange(end->job, nullptr);
    if (!status) return done(std::move(status));
    done(job->progress().handled_bytes);
  };
}

}  // namespace

void ClientState::import_raw(image::BlockDevice& device, int fd, std::uint64_t size_bytes,
                             std::function<void(std::uint64_t)> progress, BytesDone done) {
  // The job asks for extents by calling feed, which the job itself keeps alive.
  struct Feed {
    qcow2::RawExtents extents;
    std::weak_ptr<qcow2::ImportJob> job;
    void next() {
      const auto held = job.lock();
      if (held == nullptr) return;
      auto batch = extents.next(kExtentsPerBatch);
      if (!batch) return held->cancel();
      if (batch->empty()) return held->end();
      if (const Status taken = held->add(*batch); !taken) held->cancel();
    }
  };
  auto feed = std::make_shared<Feed>(Feed{qcow2::RawExtents(fd, 0, size_bytes), {}});
  auto end = std::make_shared<JobEnd>();
  auto job = qcow2::ImportJob::create(
      reactor_, device, {fd}, {}, [feed] { feed->next(); }, end_of(end, std::move(done)));
  feed->job = job;
  end->job = job;
  copies_.push_back(job);
  feed->next();
  watch_progress(job, end->running, std::move(progress));
}

void ClientState::run_copy(const StartCopy& start, std::function<void(std::uint64_t)> progress,
                           BytesDone done) {
  auto end = std::make_shared<JobEnd>();
  end->job = start(end_of(end, std::move(done)));
  copies_.push_back(end->job);
  watch_progress(end->job, end->running, std::move(progress));
}

void ClientState::import_stream(image::BlockDevice& device, int fd,
                                std::function<void(std::uint64_t)> progress, BytesDone done) {
  const auto start = [&](qcow2::CopyDone ended) {
    return qcow2::StreamImportJob::create(reactor_, device, fd, {}, std::move(ended));
  };
  run_copy(start, std::move(progress), std::move(done));
}

void ClientState::export_to(image::BlockDevice& device, int fd, bool sparse,
                            std::function<void(std::uint64_t)> progress, BytesDone done) {
  qcow2::ExportOptions options;
  options.target = sparse ? qcow2::ExportTarget::sparse_file : qcow2::ExportTarget::stream;
  const auto start = [&](qcow2::CopyDone ended) {
    return qcow2::ExportJob::create(reactor_, device, fd, options, std::move(ended));
  };
  run_copy(start, std::move(progress), std::move(done));
}

}  // namespace cairn::binding
