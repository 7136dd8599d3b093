// Reading image files as a disk: see source_device.hh.
#include "qcow2/source_device.hh"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <compare>
#include <cstring>
#include <list>
#include <map>
#include <utility>

#include "image/gather.hh"
#include "qcow2/decompress.hh"
#include "qcow2/file_io.hh"

namespace cairn::qcow2 {

namespace {

using ClusterDone = UniqueFunction<void(const Status&, const Buffer&)>;

struct ClusterKey {
  std::uint32_t source = 0;
  std::uint64_t host_offset = 0;
  std::uint32_t compressed_bytes = 0;
  std::uint32_t cluster_bytes = 0;
  auto operator<=>(const ClusterKey&) const = default;
};

Status refusal() { return {ErrorCode::read_only, "an image file is opened read-only"}; }

}  // namespace

// The descriptors, and clusters that were decompressed.
class SourceDevice::Files : public std::enable_shared_from_this<Files> {
 public:
  Files(io::Reactor& reactor, std::shared_ptr<RemoteRanges> remote)
      : reactor_(reactor), remote_(std::move(remote)) {
    if (remote_ == nullptr) return;
    // Where the file system can't do it, the bytes stay: they are fetched again all the same.
    remote_->drop_with([this](std::uint32_t source, std::uint64_t offset, std::uint64_t length) {
      static_cast<void>(::fallocate(fds_[source], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                    static_cast<off_t>(offset), static_cast<off_t>(length)));
    });
  }
  ~Files() {
    if (remote_ != nullptr) remote_->drop_with(nullptr);
    for (const int fd : fds_) ::close(fd);
  }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  Status add(int fd) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return Status::from_errno(errno, "open the image file");
    fds_.push_back(copy);
    return Status::ok();
  }

  // into is a part of whole, which it keeps alive.
  void read_plain(std::uint32_t source, std::uint64_t host_offset, MutableByteSpan into,
                  Buffer whole, image::WriteDone done) {
    read_file(source, into, host_offset,
              [whole = std::move(whole), wanted = into.size(), host_offset, done = std::move(done)](
                  Status status, std::size_t length) mutable {
                if (status && length < wanted) status = ends_early(host_offset + wanted);
                done(std::move(status));
              });
  }

  // The whole cluster.
  void read_cluster(const SourceExtent& extent, ClusterDone done) {
    const ClusterKey key{extent.source, extent.host_offset, extent.compressed_bytes,
                         extent.cluster_bytes};
    const auto kept = std::find_if(kept_.begin(), kept_.end(),
                                   [&key](const Kept& entry) { return entry.key == key; });
    if (kept != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, kept);
      return done(Status::ok(), kept_.front().cluster);
    }
    std::vector<ClusterDone>& waiting = flights_[key];
    waiting.push_back(std::move(done));
    if (waiting.size() > 1) return;
    Buffer compressed = Buffer::allocate(key.compressed_bytes);
    const MutableByteSpan into = compressed.span();
    const auto compression =
        extent.kind == SourceKind::zlib ? Compression::zlib : Compression::zstd;
    read_file(key.source, into, key.host_offset,
              [self = shared_from_this(), key, compression, compressed = std::move(compressed)](
                  Status status, std::size_t length) mutable {
                Buffer cluster;
                if (status && length < key.compressed_bytes)
                  status = ends_early(key.host_offset + key.compressed_bytes);
                if (status) {
                  cluster = Buffer::allocate(key.cluster_bytes);
                  status = self->decompressor_.decompress(compression, compressed.span(),
                                                          cluster.span());
                  if (!status) status = located(status, key.host_offset);
                }
                self->cluster_read(key, status, cluster);
              });
  }

 private:
  using FileRead = UniqueFunction<void(Status, std::size_t)>;
  // What is remote is fetched first.
  void read_file(std::uint32_t source, MutableByteSpan into, std::uint64_t host_offset,
                 FileRead done) {
    if (remote_ == nullptr) return read_here(source, into, host_offset, std::move(done));
    remote_->ensure(source, host_offset, into.size(),
                    [self = shared_from_this(), source, into, host_offset,
                     done = std::move(done)](Status status) mutable {
                      if (!status) return done(std::move(status), 0);
                      self->read_held(source, into, host_offset, std::move(done));
                    });
  }
  void read_held(std::uint32_t source, MutableByteSpan into, std::uint64_t host_offset,
                 FileRead done) {
    read_here(source, into, host_offset,
              [self = shared_from_this(), source, host_offset, wanted = into.size(),
               done = std::move(done)](Status status, std::size_t length) mutable {
                self->remote_->release(source, host_offset, wanted);
                done(std::move(status), length);
              });
  }
  void read_here(std::uint32_t source, MutableByteSpan into, std::uint64_t host_offset,
                 FileRead done) {
    read_fully(reactor_, fds_[source], into, host_offset,
               [self = shared_from_this(), done = std::move(done)](
                   Status status, std::size_t length) mutable { done(std::move(status), length); });
  }

  struct Kept {
    ClusterKey key;
    Buffer cluster;
  };

  static Status ends_early(std::uint64_t host_end) {
    return {ErrorCode::corrupt, "the file ends before host offset " + std::to_string(host_end)};
  }
  static Status located(const Status& status, std::uint64_t host_offset) {
    return {status.code(), "compressed cluster at host offset " + std::to_string(host_offset) +
                               ": " + status.message()};
  }

  void cluster_read(const ClusterKey& key, const Status& status, const Buffer& cluster) {
    if (status) {
      kept_.push_front({key, cluster});
      kept_bytes_ += cluster.size();
      while (kept_bytes_ > kMaxCachedBytes) {
        kept_bytes_ -= kept_.back().cluster.size();
        kept_.pop_back();
      }
    }
    auto waiting = std::move(flights_.extract(key).mapped());
    for (ClusterDone& done : waiting) done(status, cluster);
  }

  io::Reactor& reactor_;
  std::shared_ptr<RemoteRanges> remote_;  // none: the files are here
  std::vector<int> fds_;
  Decompressor decompressor_;
  std::list<Kept> kept_;  // the last used one first
  std::size_t kept_bytes_ = 0;
  std::map<ClusterKey, std::vector<ClusterDone>> flights_;
};

Result<std::unique_ptr<SourceDevice>> SourceDevice::open(io::Reactor& reactor,
                                                         std::span<const int> fds,
                                                         std::vector<SourceExtent> extents,
                                                         std::uint64_t size_bytes,
                                                         std::shared_ptr<RemoteRanges> remote) {
  std::uint64_t lowest_offset = 0;
  for (const SourceExtent& extent : extents) {
    CAIRN_RETURN_IF_ERROR(check_extent(extent, lowest_offset, size_bytes, fds.size()));
    lowest_offset = extent.guest_offset + extent.length_bytes;
  }
  auto files = std::make_shared<Files>(reactor, std::move(remote));
  for (const int fd : fds) CAIRN_RETURN_IF_ERROR(files->add(fd));
  return std::unique_ptr<SourceDevice>(
      new SourceDevice(std::move(files), std::move(extents), size_bytes));
}

SourceDevice::SourceDevice(std::shared_ptr<Files> files, std::vector<SourceExtent> extents,
                           std::uint64_t size_bytes)
    : files_(std::move(files)), extents_(std::move(extents)), size_bytes_(size_bytes) {}

Status SourceDevice::check(std::uint64_t offset, std::uint64_t length_bytes) const {
  if (offset <= size_bytes_ && length_bytes <= size_bytes_ - offset) return Status::ok();
  return {ErrorCode::out_of_range, "beyond the end of the image file"};
}

template <typename Visit>
void SourceDevice::for_each_part(std::uint64_t offset, std::uint64_t length_bytes,
                                 Visit visit) const {
  const std::uint64_t end = offset + length_bytes;
  auto next = std::upper_bound(extents_.begin(), extents_.end(), offset,
                               [](std::uint64_t at, const SourceExtent& extent) {
                                 return at < extent.guest_offset + extent.length_bytes;
                               });
  for (std::uint64_t at = offset; at < end;) {
    const SourceExtent* const extent = next == extents_.end() ? nullptr : &*next;
    const bool inside = extent != nullptr && extent->guest_offset <= at;
    const std::uint64_t limit = inside              ? extent->guest_offset + extent->length_bytes
                                : extent != nullptr ? extent->guest_offset
                                                    : end;
    const std::uint64_t length = std::min(end, limit) - at;
    visit(at, length, inside ? extent : nullptr);
    at += length;
    if (inside && at == limit) ++next;
  }
}

void SourceDevice::read(std::uint64_t offset, std::uint64_t length_bytes, image::ReadDone done) {
  if (Status allowed = check(offset, length_bytes); !allowed) return done(std::move(allowed), {});
  Buffer whole = Buffer::allocate(length_bytes);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> parts;  // of data: offset, length
  std::vector<const SourceExtent*> sources;
  for_each_part(offset, length_bytes,
                [&](std::uint64_t at, std::uint64_t length, const SourceExtent* extent) {
                  if (extent == nullptr || extent->kind == SourceKind::zero) {
                    std::memset(whole.data() + (at - offset), 0, length);
                  } else {
                    parts.emplace_back(at, length);
                    sources.push_back(extent);
                  }
                });
  if (parts.empty()) return done(Status::ok(), std::move(whole));
  auto gather =
      image::Gather::of(parts.size(), [whole, done = std::move(done)](Status status) mutable {
        done(std::move(status), std::move(whole));
      });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const SourceExtent& extent = *sources[i];
    const std::uint64_t in_extent = parts[i].first - extent.guest_offset;
    const MutableByteSpan into = whole.span().subspan(parts[i].first - offset, parts[i].second);
    if (extent.kind == SourceKind::data) {
      files_->read_plain(extent.source, extent.host_offset + in_extent, into, whole,
                         [gather](Status status) { gather->part_done(std::move(status)); });
      continue;
    }
    const std::uint64_t in_cluster = extent.cluster_offset + in_extent;
    files_->read_cluster(
        extent, [gather, whole, into, in_cluster](const Status& status, const Buffer& cluster) {
          if (status) std::memcpy(into.data(), cluster.data() + in_cluster, into.size());
          gather->part_done(status);
        });
  }
}

void SourceDevice::write(std::uint64_t, Buffer, image::WriteDone done) { done(refusal()); }

void SourceDevice::write_zeroes(std::uint64_t, std::uint64_t, bool, image::WriteDone done) {
  done(refusal());
}

void SourceDevice::discard(std::uint64_t, std::uint64_t, image::WriteDone done) { done(refusal()); }

void SourceDevice::extents(std::uint64_t offset, std::uint64_t length_bytes,
                           image::ExtentsDone done) {
  if (Status allowed = check(offset, length_bytes); !allowed) return done(std::move(allowed), {});
  std::vector<image::Extent> found;
  for_each_part(offset, length_bytes,
                [&](std::uint64_t at, std::uint64_t length, const SourceExtent* extent) {
                  const image::ExtentState state = extent == nullptr ? image::ExtentState::absent
                                                   : extent->kind == SourceKind::zero
                                                       ? image::ExtentState::zero
                                                       : image::ExtentState::data;
                  if (!found.empty() && found.back().state == state) {
                    found.back().length_bytes += length;
                  } else {
                    found.push_back({at, length, state});
                  }
                });
  done(Status::ok(), std::move(found));
}

}  // namespace cairn::qcow2
