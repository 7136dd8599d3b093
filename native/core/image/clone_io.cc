// What a clone adds to the operations on an object: absent blocks fall through to the parent, and a
// write that covers a block in part needs the parent's bytes of it (copyup). See object_io.hh.
#include <algorithm>
#include <cstring>
#include <utility>

#include "image/gather.hh"
#include "image/object_io.hh"

namespace cairn::image {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint8_t kAbsent = 0, kZero = 1, kData = 2;  // of a run's state
// A copied block is absent again only when somebody else makes it so: another parent was set.
constexpr int kMaxCopyups = 16;

// The runs follow each other over the range, and the data is that of the data runs.
bool fits(const ObjectRange& range, const std::vector<net::ExtentRun>& runs,
          std::size_t data_bytes) {
  std::uint64_t next = range.offset, of_data = 0;
  const std::uint64_t end = range.offset + range.length_bytes;
  for (const net::ExtentRun& run : runs) {
    if (run.offset != next || run.length == 0 || run.length > end - next) return false;
    next += run.length;
    if (run.state == kData) of_data += run.length;
  }
  return next == end && of_data == data_bytes;
}

}  // namespace

struct ObjectIo::SparseRead {
  ObjectRange range;
  ParentLink parent;
  ReadDone done;
};

struct ObjectIo::GuardedWrite {
  ObjectRange range;
  Buffer data;
  ParentLink parent;
  WriteDone done;
  std::vector<std::uint64_t> blocks;  // those that the range covers in part, where they begin
  int copyups = 0;
};

void ObjectIo::read_clone(const ObjectRange& range, ReadDone done) {
  auto read =
      std::make_shared<SparseRead>(SparseRead{range, layout_.parent, held(gate_, std::move(done))});
  const Step step{StepCode::sparse_read, range.offset, range.length_bytes, {}, {}};
  submit(range.object_number, {step}, {},
         [self = shared_from_this(), read](Status status, const net::OpReply& reply, Buffer data) {
           self->sparse_read_answered(read, std::move(status), reply.extents, std::move(data));
         });
}

void ObjectIo::sparse_read_answered(const std::shared_ptr<SparseRead>& read, Status status,
                                    const std::vector<net::ExtentRun>& runs, Buffer data) {
  const ObjectRange& range = read->range;
  if (status && !fits(range, runs, data.size()))
    status = {ErrorCode::protocol_error, "a sparse read of another range came back"};
  if (!status) return read->done(std::move(status), {});
  if (runs.size() == 1 && runs[0].state == kData) return read->done(std::move(status), data);
  if (closed_) return;
  if (runs.size() == 1 && runs[0].state == kAbsent)
    return read_parent(read->parent, range, std::move(read->done));
  Buffer whole = Buffer::allocate(range.length_bytes);
  const auto absent = std::count_if(runs.begin(), runs.end(),
                                    [](const net::ExtentRun& run) { return run.state == kAbsent; });
  auto gather = Gather::of(
      static_cast<std::size_t>(absent) + 1,
      [read, whole](Status outcome) mutable { read->done(std::move(outcome), std::move(whole)); });
  std::uint64_t taken = 0;
  for (const net::ExtentRun& run : runs) {
    std::byte* const into = whole.data() + (run.offset - range.offset);
    if (run.state == kData) {
      std::memcpy(into, data.data() + taken, run.length);
      taken += run.length;
    } else if (run.state == kZero) {
      std::memset(into, 0, run.length);
    } else {
      read_parent(read->parent, {range.object_number, run.offset, run.length},
                  [gather, into, whole](Status outcome, const Buffer& bytes) {
                    if (outcome) std::memcpy(into, bytes.data(), bytes.size());
                    gather->part_done(std::move(outcome));
                  });
    }
  }
  gather->part_done(Status::ok());
}

void ObjectIo::read_parent(const ParentLink& parent, const ObjectRange& range, ReadDone done) {
  struct Piece {
    std::uint64_t into = 0, offset = 0, length = 0;
  };
  std::vector<Piece> pieces;
  std::uint64_t wanted = 0;
  for_each_piece(striping_, range,
                 [&](std::uint64_t in_object, std::uint64_t in_image, std::uint64_t length) {
                   if (in_image >= parent.overlap_bytes) return;
                   const std::uint64_t shown = std::min(length, parent.overlap_bytes - in_image);
                   pieces.push_back({in_object - range.offset, in_image, shown});
                   wanted += shown;
                 });
  counters_.parent_reads += pieces.size();
  counters_.parent_read_bytes += wanted;
  auto ended = [self = shared_from_this(), parent, done = std::move(done)](Status status,
                                                                           Buffer bytes) mutable {
    if (!self->closed_) done(std::move(status), std::move(bytes));
  };
  if (pieces.size() == 1 && wanted == range.length_bytes)
    return parent.device->read(pieces[0].offset, wanted, std::move(ended));
  Buffer whole = Buffer::zeroed(range.length_bytes);
  auto gather =
      Gather::of(pieces.size() + 1, [whole, ended = std::move(ended)](Status status) mutable {
        ended(std::move(status), std::move(whole));
      });
  for (const Piece& piece : pieces) {
    std::byte* const into = whole.data() + piece.into;
    parent.device->read(piece.offset, piece.length,
                        [gather, whole, into](Status status, const Buffer& bytes) {
                          if (status) std::memcpy(into, bytes.data(), bytes.size());
                          gather->part_done(std::move(status));
                        });
  }
  gather->part_done(Status::ok());
}

void ObjectIo::write_clone(const ObjectRange& range, Buffer data, WriteDone done) {
  const std::uint64_t overlap = overlap_of(layout_.parent, range.object_number);
  const std::uint64_t end = range.offset + range.length_bytes;
  const std::uint64_t first = range.offset / kBlockBytes * kBlockBytes;
  const std::uint64_t last = end / kBlockBytes * kBlockBytes;
  std::vector<std::uint64_t> blocks;
  if (range.offset != first && first < overlap) blocks.push_back(first);
  if (end != last && last < overlap && (blocks.empty() || last != first)) blocks.push_back(last);
  if (blocks.empty()) return write_plain(range, std::move(data), std::move(done));
  send_guarded(std::make_shared<GuardedWrite>(GuardedWrite{
      range, std::move(data), layout_.parent, held(gate_, std::move(done)), std::move(blocks)}));
}

void ObjectIo::send_guarded(const std::shared_ptr<GuardedWrite>& write) {
  std::vector<Step> steps;
  for (const std::uint64_t block : write->blocks)
    steps.push_back({StepCode::assert_present, block, kBlockBytes, {}, {}});
  steps.push_back({StepCode::write, write->range.offset, write->range.length_bytes, {}, {}});
  submit(write->range.object_number, std::move(steps), write->data,
         [self = shared_from_this(), write](Status status, const net::OpReply&, const Buffer&) {
           if (status.code() != ErrorCode::precondition_failed)
             return write->done(std::move(status));
           if (!self->closed_) self->copy_up_for(write);
         });
}

void ObjectIo::copy_up_for(const std::shared_ptr<GuardedWrite>& write) {
  if (++write->copyups > kMaxCopyups)
    return write->done({ErrorCode::busy, "a block that was copied up is absent again"});
  auto gather = Gather::of(write->blocks.size(), [self = shared_from_this(), write](Status status) {
    if (!status) return write->done(std::move(status));
    if (!self->closed_) self->send_guarded(write);
  });
  for (const std::uint64_t block : write->blocks) {
    const ObjectRange range{write->range.object_number, block, kBlockBytes};
    read_parent(write->parent, range,
                [self = shared_from_this(), range, gather](Status status, Buffer bytes) {
                  if (!status) return gather->part_done(std::move(status));
                  ++self->counters_.copyups;
                  self->copyup(range, std::move(bytes),
                               [gather](Status copied) { gather->part_done(std::move(copied)); });
                });
  }
}

void ObjectIo::copyup(const ObjectRange& range, Buffer data, WriteDone done) {
  const Step step{StepCode::copyup, range.offset, range.length_bytes, {}, {}};
  submit(range.object_number, {step}, std::move(data),
         [done = std::move(done)](Status status, const net::OpReply&, const Buffer&) mutable {
           done(std::move(status));
         });
}

void ObjectIo::fill_layers(const ObjectRange& range, Buffer data,
                           const std::vector<std::uint64_t>& layers, WriteDone done) {
  const Step step{
      StepCode::fill_layers, range.offset, range.length_bytes, {}, net::pack_ids(layers)};
  submit(range.object_number, {step}, std::move(data),
         [done = std::move(done)](Status status, const net::OpReply&, const Buffer&) mutable {
           done(std::move(status));
         });
}

void ObjectIo::add_extents(const ObjectRange& range, const std::vector<net::ExtentRun>& runs,
                           const ParentLink& parent, ExtentsDone done) {
  auto found = std::make_shared<std::vector<Extent>>();
  std::vector<Extent> shown;  // by the parent
  for (const net::ExtentRun& run : runs) {
    for_each_piece(
        striping_, {range.object_number, run.offset, run.length},
        [&](std::uint64_t, std::uint64_t in_image, std::uint64_t length) {
          std::uint64_t below = 0;
          if (run.state == kAbsent && parent.device != nullptr && in_image < parent.overlap_bytes)
            below = std::min(length, parent.overlap_bytes - in_image);
          if (below > 0) shown.push_back({in_image, below, ExtentState::absent});
          if (below < length) found->push_back({in_image + below, length - below, state_of(run)});
        });
  }
  if (shown.empty()) return done(Status::ok(), merged(std::move(*found)));
  if (closed_) return;
  auto gather = Gather::of(shown.size(), [self = shared_from_this(), found, parent,
                                          done = std::move(done)](Status status) mutable {
    if (self->closed_) return;
    if (!status) found->clear();
    done(std::move(status), merged(std::move(*found)));
  });
  for (const Extent& range_shown : shown) {
    parent.device->extents(range_shown.offset, range_shown.length_bytes,
                           [gather, found](Status status, const std::vector<Extent>& extents) {
                             found->insert(found->end(), extents.begin(), extents.end());
                             gather->part_done(std::move(status));
                           });
  }
}

}  // namespace cairn::image
