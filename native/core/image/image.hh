// Image: a BlockDevice striped over objects of a pool (striping.hh), named PREFIX.%016x. TypeScript
// (client/image) reads the header and gives the layout; this class moves the bytes. An absent
// object or block reads as zeros, or as what the parent of a clone has there. It keeps no cache: a
// completed write is durable on the acting set. Who may write, and when, its AccessGate says: an
// image that is opened as locked sends nothing before the gate has the lock's token.
#pragma once

#include <memory>

#include "image/object_io.hh"

namespace cairn::image {

class Image : public BlockDevice {
 public:
  // The layout's striping is valid.
  Image(io::Executor& executor, objecter::Objecter& objecter, ImageLayout layout);
  ~Image() override { objects_->close(); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // For requests that start from now on; those under way keep what they started with. Whoever
  // changes the snapshots or the parent drains the gate first.
  void set_size(std::uint64_t size_bytes) { objects_->set_size(size_bytes); }
  void set_snap_context(net::SnapContext context) {
    objects_->set_snap_context(std::move(context));
  }
  void set_parent(ParentLink parent, UniqueFunction<void()> left = {}) {
    objects_->set_parent(std::move(parent), std::move(left));
  }
  // The requests that wait, and all that come, are of another image. busy: the gate is not quiet;
  // invalid_argument: what check_striping() says.
  Status retarget(const ImageLayout& layout);

  std::uint64_t size_bytes() const override { return objects_->layout().size_bytes; }
  bool read_only() const override { return objects_->layout().read_only; }
  void read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) override;
  void write(std::uint64_t offset, Buffer data, WriteDone done) override;
  void write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                    WriteDone done) override;
  void discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) override;
  void flush(WriteDone done) override;
  // Those of a clone are merged with its parent's.
  void extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) override;
  void populated(PopulatedDone done) override;
  void begin_use() override { gate().begin_use(); }
  void end_use(UniqueFunction<void()> done) override { gate().end_use(std::move(done)); }
  AccessGate& gate() { return objects_->gate(); }
  const CloneCounters& clone_counters() const { return objects_->counters(); }
  // For jobs.
  const std::shared_ptr<ObjectIo>& objects() const { return objects_; }

 private:
  // out_of_range or read_only; ok when the range may be used.
  Status check(std::uint64_t offset, std::uint64_t length_bytes, bool writes) const;
  void fail(Status status, WriteDone done);
  // The bytes of a request that lie in the range, in order of the object.
  Buffer gathered(const ObjectRange& range, std::uint64_t offset, const Buffer& data) const;

  io::Executor& executor_;
  // Shared with the operations in flight, which may end after this.
  std::shared_ptr<ObjectIo> objects_;
};

}  // namespace cairn::image
