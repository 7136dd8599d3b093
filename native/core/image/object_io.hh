// ObjectIo: what an image does with one range of one object, under its gate's token, in its
// snapshot context; and for a clone what lies in its parent. Image splits requests into such
// ranges, the jobs (diff, flatten...) use it directly. docs/snapshots.md has the rules of clones.
//
// Invariants
//  - Without a parent, each call is one operation, the same one whether there are snapshots or not.
//  - Of a clone, a range behind the overlap with the parent costs what it costs without a parent;
//    so do writes of whole blocks inside it.
//  - An operation of several steps is in flight for the gate from its first to its last one, and
//    uses the parent that it began with: it keeps that device too, which when it is closed answers
//    nothing any more, so that another parent, set meanwhile, takes nothing from it.
//  - A range that was discarded or zeroed inside the overlap never shows the parent again.
//  - After close() nothing is begun, and what still waits for a parent is never answered: the
//    device is gone, and maybe its users too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "image/access_gate.hh"
#include "image/block_device.hh"
#include "image/striping.hh"
#include "objecter/objecter.hh"

namespace cairn::image {

// Says so when nobody has it any more.
struct ParentUse {
  ParentUse() = default;
  ParentUse(const ParentUse&) = delete;
  ParentUse& operator=(const ParentUse&) = delete;
  ~ParentUse() {
    if (ended) ended();
  }
  UniqueFunction<void()> ended;
};

// The image that shows where a clone has absent blocks: its first overlap_bytes.
struct ParentLink {
  std::shared_ptr<BlockDevice> device;
  std::uint64_t overlap_bytes = 0;
  // Shared by the operations and jobs that began with this link.
  std::shared_ptr<ParentUse> use = {};
};

struct ImageLayout {
  PoolId pool = 0;
  std::string object_prefix;  // "rbd_data.ID"
  std::uint64_t size_bytes = 0;
  std::uint64_t object_bytes = std::uint64_t{4} << 20;
  bool read_only = false;
  bool locked = false;                  // used under the exclusive lock only
  std::uint64_t stripe_unit_bytes = 0;  // 0: an object
  std::uint64_t stripe_count = 1;
  std::uint64_t snap = kHead;  // what is read; not kHead: it is read-only
  net::SnapContext snap_context = {};
  ParentLink parent = {};

  Striping striping() const {
    return {object_bytes, stripe_unit_bytes == 0 ? object_bytes : stripe_unit_bytes, stripe_count};
  }
};

inline ExtentState state_of(const net::ExtentRun& run) {
  return run.state == 2   ? ExtentState::data
         : run.state == 1 ? ExtentState::zero
                          : ExtentState::absent;
}

struct CloneCounters {
  std::uint64_t parent_reads = 0;  // ranges that were read from the parent
  std::uint64_t parent_read_bytes = 0;
  std::uint64_t copyups = 0;  // blocks that were copied from the parent before a partial write
};

class ObjectIo : public std::enable_shared_from_this<ObjectIo> {
 public:
  ObjectIo(io::Executor& executor, objecter::Objecter& objecter, ImageLayout layout);
  void close();
  bool closed() const { return closed_; }

  io::Executor& executor() { return executor_; }
  objecter::Objecter& objecter() { return objecter_; }
  const ImageLayout& layout() const { return layout_; }
  const Striping& striping() const { return striping_; }
  AccessGate& gate() { return *gate_; }
  const CloneCounters& counters() const { return counters_; }
  // For what starts from now on.
  void set_size(std::uint64_t size_bytes) { layout_.size_bytes = size_bytes; }
  void set_snap_context(net::SnapContext context) { layout_.snap_context = std::move(context); }
  // left: when nothing that began with the parent before goes on; maybe at once.
  void set_parent(ParentLink parent, UniqueFunction<void()> left = {});
  // Operations per second that OSDs keep free for this image; 0: none.
  void set_reservation(std::uint32_t iops, std::uint64_t stream);
  // Another image from now on: its objects, size and snapshots. The gate is quiet.
  void retarget(const ImageLayout& layout);

  void read(const ObjectRange& range, ReadDone done);
  void write(const ObjectRange& range, Buffer data, WriteDone done);
  // Reads as zeros afterwards. may_unmap: as absent blocks where no parent shows through.
  void zero(const ObjectRange& range, bool may_unmap, WriteDone done);
  // As zero(), but blocks that the range covers in part keep their bytes.
  void discard(const ObjectRange& range, WriteDone done);
  // In offsets of the image, merged(); with those of the parent.
  void extents(const ObjectRange& range, ExtentsDone done);
  // The parent's bytes of an object's range, zeros behind the overlap.
  void read_parent(const ParentLink& parent, const ObjectRange& range, ReadDone done);
  // Fills the absent blocks of a range of whole blocks.
  void copyup(const ObjectRange& range, Buffer data, WriteDone done);
  // The same in several layers: snapshots, ascending, and kHead.
  void fill_layers(const ObjectRange& range, Buffer data, const std::vector<std::uint64_t>& layers,
                   WriteDone done);

  // An operation on one object, under the gate's token; the gate does not hold it back.
  void submit(std::uint64_t object_number, std::vector<net::Step> steps, Buffer data,
              objecter::OpDone done);
  // A step of reading that one PG of the pool answers.
  void submit_to_pg(std::uint32_t seed, net::Step step, objecter::OpDone done);
  std::string object_name(std::uint64_t object_number) const;
  // Bytes of the object, from its front, that the parent may show.
  std::uint64_t overlap_of(const ParentLink& parent, std::uint64_t object_number) const;

 private:
  struct SparseRead;
  void submit_to(objecter::Target target, std::vector<net::Step> steps, Buffer data,
                 objecter::OpDone done);
  struct GuardedWrite;
  void write_plain(const ObjectRange& range, Buffer data, WriteDone done);
  // Steps that make whole blocks read as zeros; none for an empty range.
  std::vector<net::Step> zero_steps(const ObjectRange& blocks, bool may_unmap) const;

  // Of a clone, in clone_io.cc.
  void read_clone(const ObjectRange& range, ReadDone done);
  void sparse_read_answered(const std::shared_ptr<SparseRead>& read, Status status,
                            const std::vector<net::ExtentRun>& runs, Buffer data);
  void write_clone(const ObjectRange& range, Buffer data, WriteDone done);
  void send_guarded(const std::shared_ptr<GuardedWrite>& write);
  void copy_up_for(const std::shared_ptr<GuardedWrite>& write);
  void add_extents(const ObjectRange& range, const std::vector<net::ExtentRun>& runs,
                   const ParentLink& parent, ExtentsDone done);

  io::Executor& executor_;
  objecter::Objecter& objecter_;
  ImageLayout layout_;
  Striping striping_;
  std::shared_ptr<AccessGate> gate_;
  CloneCounters counters_;
  std::shared_ptr<objecter::ReservedStream> stream_;
  bool closed_ = false;
};

}  // namespace cairn::image
