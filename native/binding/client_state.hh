// ClientState: what a NativeClient owns on its reactor thread: the objecter with its messenger,
// open devices, exports and copy jobs. Its handles are numbers that TypeScript holds.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hh"
#include "device_table.hh"
#include "diff_table.hh"
#include "image/image.hh"
#include "io/reactor.hh"
#include "net/tcp_messenger.hh"
#include "objecter/objecter.hh"
#include "objecter/watch_client.hh"
#include "qcow2/copy_job.hh"
#include "qcow2/import_job.hh"

namespace cairn::binding {

struct ClientHooks {
  std::function<void(Epoch)> need_map;
  std::function<void(LogLevel, std::string_view)> log;
  // Of a locked image.
  std::function<void(std::uint32_t handle, image::AccessEvent)> device;
  std::function<void(objecter::WatchId, std::uint64_t answer, std::string payload)> watch;
  // Of a remote source: what is to be fetched; nobody reads it any more.
  std::function<void(std::uint32_t handle, std::uint32_t source, std::uint64_t offset,
                     std::uint64_t length)>
      source_wanted;
  std::function<void(std::uint32_t handle)> source_closed;
  // ok: it is renewed, but was away for too long; else it has ended.
  std::function<void(objecter::WatchId, const Status&)> watch_lapsed;
};

// A snapshot whose differences an NBD export offers as a dirty bitmap.
struct BitmapSpec {
  std::string name;
  std::uint64_t snap = 0;
};

struct NbdSpec {
  std::string export_name;
  std::string unix_path;  // or, when empty, tcp
  net::Address tcp;
  std::vector<BitmapSpec> bitmaps;  // of images only
};

// Files that fill as they are read.
struct RemoteFiles {
  std::uint64_t chunk_bytes = 0;
  std::uint64_t max_kept_bytes = 0;
  std::vector<std::uint64_t> file_bytes;
};

using BytesDone = std::function<void(Result<std::uint64_t>)>;

class ClientState {
 public:
  ClientState(io::Reactor& reactor, net::TcpConfig config, ParentCacheOptions cache,
              ClientHooks hooks);
  ~ClientState();

  io::Reactor& reactor() { return reactor_; }
  objecter::Objecter& objecter() { return *objecter_; }
  net::MessengerCounters net_counters() const { return messenger_->counters(); }

  DeviceTable& devices() { return *devices_; }
  DiffTable& diffs() { return *diffs_; }
  void open_image(std::uint32_t handle, const ImageSpec& spec);
  // Closed when the log says why.
  void open_source(std::uint32_t handle, const std::vector<int>& fds,
                   const std::vector<qcow2::SourceExtent>& extents, std::uint64_t size_bytes,
                   const std::optional<RemoteFiles>& remote);
  void source_fetched(std::uint32_t handle, std::uint32_t source, std::uint64_t offset,
                      std::uint64_t length, const Status& status);
  image::BlockDevice* device(std::uint32_t handle) { return devices_->find(handle); }
  // nullptr: closed, or no image.
  image::Image* image(std::uint32_t handle) { return devices_->image(handle); }
  // Of an open image; the guests that it is served to hear of it.
  void set_image_size(std::uint32_t handle, std::uint64_t size_bytes);
  objecter::WatchClient& watches() { return *watches_; }

  Result<std::uint32_t> serve_vhost_user(image::BlockDevice& device, const std::string& socket,
                                         std::uint16_t queues, const std::string& serial);
  Result<std::uint32_t> serve_nbd(std::uint32_t handle, NbdSpec spec);
  // For NBD clients that connect from now on.
  Status set_dirty_bitmaps(std::uint32_t handle, std::vector<BitmapSpec> bitmaps);
  void stop_export(std::uint32_t handle, UniqueFunction<void(Status)> done);
  // Before it goes: stops all exports. What their front ends wait for is answered if it can be in a
  // moment, and fails otherwise. Calls done from the reactor, when the state can be destroyed.
  void shut_down(UniqueFunction<void()> done);

  void import_begin(std::uint32_t device_handle, std::uint32_t job, const std::vector<int>& fds);
  void import_extents(std::uint32_t job, const std::vector<qcow2::SourceExtent>& extents,
                      BytesDone done);
  void import_end(std::uint32_t job, BytesDone done);
  void import_raw(image::BlockDevice& device, int fd, std::uint64_t size_bytes,
                  std::function<void(std::uint64_t)> progress, BytesDone done);
  void import_stream(image::BlockDevice& device, int fd,
                     std::function<void(std::uint64_t)> progress, BytesDone done);
  void export_to(image::BlockDevice& device, int fd, bool sparse,
                 std::function<void(std::uint64_t)> progress, BytesDone done);
  // Runs a job that start(done) begins, with its progress; cancel_copies() ends it.
  using StartCopy = std::function<std::shared_ptr<qcow2::CopyJob>(qcow2::CopyDone)>;
  void run_copy(const StartCopy& start, std::function<void(std::uint64_t)> progress,
                BytesDone done);
  void cancel_job(std::uint32_t job);
  // Those of run_copy(), and whoever waits for the header of a diff.
  void cancel_copies();

 private:
  struct Export;
  struct Job;
  void watch_progress(std::shared_ptr<qcow2::CopyJob> job, std::shared_ptr<bool> running,
                      std::function<void(std::uint64_t)> progress);
  void import_ended(std::uint32_t job, const Status& status);
  void fail_requests();

  io::Reactor& reactor_;
  ClientHooks hooks_;
  std::unique_ptr<objecter::Objecter> objecter_;
  std::unique_ptr<objecter::WatchClient> watches_;
  std::unique_ptr<net::TcpMessenger> messenger_;
  std::unique_ptr<DeviceTable> devices_;
  std::unique_ptr<DiffTable> diffs_;
  std::map<std::uint32_t, std::unique_ptr<Export>> exports_;
  std::map<std::uint32_t, std::shared_ptr<Job>> jobs_;
  std::vector<std::weak_ptr<qcow2::CopyJob>> copies_;  // that have no number
  // By the handles that the devices had.
  std::map<std::uint32_t, std::weak_ptr<qcow2::RemoteRanges>> remotes_;
  std::uint32_t next_export_ = 1;
  // Progress timers of stream and export jobs see by it that the client is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace cairn::binding
