// Operations on one object; what a clone adds to them is in clone_io.cc.
#include "image/object_io.hh"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "image/gather.hh"

namespace cairn::image {

using net::Step;
using net::StepCode;

namespace {

std::uint64_t round_up(std::uint64_t offset) {
  return (offset + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

Step range_step(StepCode code, std::uint64_t offset, std::uint64_t length_bytes) {
  return {code, offset, length_bytes, {}, {}};
}

}  // namespace

ObjectIo::ObjectIo(io::Executor& executor, objecter::Objecter& objecter, ImageLayout layout)
    : executor_(executor),
      objecter_(objecter),
      layout_(std::move(layout)),
      striping_(layout_.striping()),
      gate_(std::make_shared<AccessGate>(executor, layout_.locked)) {
  CAIRN_ASSERT(check_striping(striping_).is_ok());
  gate_->trace_with(objecter.tracing());
  layout_.read_only = layout_.read_only || layout_.snap != kHead;
  set_parent(std::exchange(layout_.parent, {}));
}

void ObjectIo::close() {
  closed_ = true;
  layout_.parent = {};
}

void ObjectIo::set_parent(ParentLink parent, UniqueFunction<void()> left) {
  if (parent.device != nullptr) {
    parent.overlap_bytes = std::min(parent.overlap_bytes, parent.device->size_bytes());
    parent.use = std::make_shared<ParentUse>();
  }
  const ParentLink before = std::exchange(layout_.parent, std::move(parent));
  if (before.use != nullptr) {
    before.use->ended = std::move(left);
  } else if (left) {
    left();
  }
}

void ObjectIo::set_reservation(std::uint32_t iops, std::uint64_t stream) {
  if (stream_ == nullptr && iops == 0) return;
  if (stream_ == nullptr) stream_ = std::make_shared<objecter::ReservedStream>();
  stream_->iops = iops;
  stream_->id = stream;
}

void ObjectIo::retarget(const ImageLayout& layout) {
  CAIRN_ASSERT(gate_->quiet() && check_striping(layout.striping()).is_ok());
  layout_.pool = layout.pool;
  layout_.object_prefix = layout.object_prefix;
  layout_.size_bytes = layout.size_bytes;
  layout_.object_bytes = layout.object_bytes;
  layout_.stripe_unit_bytes = layout.stripe_unit_bytes;
  layout_.stripe_count = layout.stripe_count;
  layout_.snap_context = layout.snap_context;
  layout_.parent = {};  // nothing is in flight that uses it
  striping_ = layout_.striping();
}

void ObjectIo::submit(std::uint64_t object_number, std::vector<Step> steps, Buffer data,
                      objecter::OpDone done) {
  objecter::Target target{layout_.pool, object_name(object_number), gate_->fence()};
  if (!layout_.read_only) target.context = layout_.snap_context;
  submit_to(std::move(target), std::move(steps), std::move(data), std::move(done));
}

void ObjectIo::submit_to_pg(std::uint32_t seed, Step step, objecter::OpDone done) {
  // Any name: the operation goes to the PG.
  objecter::Target target{layout_.pool, layout_.object_prefix, gate_->fence(), seed};
  submit_to(std::move(target), {std::move(step)}, {}, std::move(done));
}

void ObjectIo::submit_to(objecter::Target target, std::vector<Step> steps, Buffer data,
                         objecter::OpDone done) {
  gate_->operation_started();
  target.snap = layout_.snap;
  target.stream = stream_;
  objecter_.submit(std::move(target), std::move(steps), std::move(data),
                   [gate = gate_, done = std::move(done)](Status status, net::OpReply reply,
                                                          Buffer bytes) mutable {
                     gate->operation_ended(status);
                     done(std::move(status), std::move(reply), std::move(bytes));
                   });
}

std::string ObjectIo::object_name(std::uint64_t object_number) const {
  char suffix[20];
  const int length = std::snprintf(suffix, sizeof suffix, ".%016llx",
                                   static_cast<unsigned long long>(object_number));
  return layout_.object_prefix + std::string(suffix, static_cast<std::size_t>(length));
}

std::uint64_t ObjectIo::overlap_of(const ParentLink& parent, std::uint64_t object_number) const {
  if (parent.device == nullptr) return 0;
  return bytes_below(striping_, object_number, parent.overlap_bytes);
}

void ObjectIo::read(const ObjectRange& range, ReadDone done) {
  if (overlap_of(layout_.parent, range.object_number) > range.offset) {
    return read_clone(range, std::move(done));
  }
  submit(range.object_number, {range_step(StepCode::read, range.offset, range.length_bytes)}, {},
         [length_bytes = range.length_bytes, done = std::move(done)](Status status, net::OpReply,
                                                                     Buffer data) mutable {
           if (status && data.size() != length_bytes) {
             status = Status(ErrorCode::protocol_error, "a read of another length came back");
           }
           done(std::move(status), std::move(data));
         });
}

void ObjectIo::write(const ObjectRange& range, Buffer data, WriteDone done) {
  if (overlap_of(layout_.parent, range.object_number) > range.offset / kBlockBytes * kBlockBytes) {
    return write_clone(range, std::move(data), std::move(done));
  }
  write_plain(range, std::move(data), std::move(done));
}

void ObjectIo::write_plain(const ObjectRange& range, Buffer data, WriteDone done) {
  submit(range.object_number, {range_step(StepCode::write, range.offset, range.length_bytes)},
         std::move(data), [done = std::move(done)](Status status, net::OpReply, Buffer) mutable {
           done(std::move(status));
         });
}

std::vector<Step> ObjectIo::zero_steps(const ObjectRange& blocks, bool may_unmap) const {
  const std::uint64_t begin = blocks.offset;
  const std::uint64_t end = begin + blocks.length_bytes;
  // Where a parent shows through an absent block, zeros are explicit.
  const std::uint64_t shown = round_up(overlap_of(layout_.parent, blocks.object_number));
  const std::uint64_t cut = may_unmap ? std::clamp(shown, begin, end) : end;
  std::vector<Step> steps;
  if (begin < cut) steps.push_back(range_step(StepCode::write_zeroes, begin, cut - begin));
  if (cut < end) steps.push_back(range_step(StepCode::punch, cut, end - cut));
  return steps;
}

// Whole blocks are zeroed by one operation; the bytes at the edges by writes of zeros.
void ObjectIo::zero(const ObjectRange& range, bool may_unmap, WriteDone done) {
  const std::uint64_t begin = range.offset;
  const std::uint64_t end = begin + range.length_bytes;
  const std::uint64_t inner_begin = std::min(round_up(begin), end);
  const std::uint64_t inner_end = std::max(inner_begin, end / kBlockBytes * kBlockBytes);
  std::vector<ObjectRange> edges;
  if (begin < inner_begin) edges.push_back({range.object_number, begin, inner_begin - begin});
  if (inner_end < end) edges.push_back({range.object_number, inner_end, end - inner_end});
  const std::vector<Step> steps =
      zero_steps({range.object_number, inner_begin, inner_end - inner_begin}, may_unmap);
  auto gather = Gather::of(edges.size() + (steps.empty() ? 0 : 1), std::move(done));
  const auto part_done = [gather](Status status) { gather->part_done(std::move(status)); };
  for (const ObjectRange& edge : edges) write(edge, Buffer::zeroed(edge.length_bytes), part_done);
  if (steps.empty()) return;
  submit(range.object_number, steps, {},
         [part_done](Status status, net::OpReply, Buffer) { part_done(std::move(status)); });
}

void ObjectIo::discard(const ObjectRange& range, WriteDone done) {
  const std::uint64_t begin = round_up(range.offset);
  const std::uint64_t end =
      std::max(begin, (range.offset + range.length_bytes) / kBlockBytes * kBlockBytes);
  std::vector<Step> steps;
  if (range.length_bytes == striping_.object_bytes &&
      overlap_of(layout_.parent, range.object_number) == 0) {
    steps = {range_step(StepCode::remove, 0, 0)};
  } else {
    steps = zero_steps({range.object_number, begin, end - begin}, true);
  }
  if (steps.empty()) {
    executor_.post([done = std::move(done)]() mutable { done(Status::ok()); });
    return;
  }
  submit(range.object_number, std::move(steps), {},
         [done = std::move(done)](Status status, net::OpReply, Buffer) mutable {
           done(std::move(status));
         });
}

void ObjectIo::extents(const ObjectRange& range, ExtentsDone done) {
  const Step step = range_step(StepCode::extents, range.offset, range.length_bytes);
  // What may go on to the parent is one operation for the gate, which must not drain in between.
  if (layout_.parent.device != nullptr) done = held(gate_, std::move(done));
  submit(range.object_number, {step}, {},
         [self = shared_from_this(), range, parent = layout_.parent, done = std::move(done)](
             Status status, const net::OpReply& reply, Buffer) mutable {
           if (!status) return done(std::move(status), {});
           self->add_extents(range, reply.extents, parent, std::move(done));
         });
}

}  // namespace cairn::image
