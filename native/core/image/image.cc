// Striping: see image.hh.
#include "image/image.hh"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "image/gather.hh"

namespace cairn::image {

using net::Step;
using net::StepCode;

Image::Image(io::Executor& executor, objecter::Objecter& objecter, ImageLayout layout)
    : executor_(executor),
      objecter_(objecter),
      layout_(std::move(layout)),
      gate_(std::make_shared<AccessGate>(executor, layout_.locked)) {}

void Image::submit(std::uint64_t object_number, const Step& step, Buffer data,
                   objecter::OpDone done) {
  gate_->operation_started();
  objecter_.submit({layout_.pool, object_name(object_number), gate_->fence()}, {step},
                   std::move(data),
                   [gate = gate_, done = std::move(done)](Status status, net::OpReply reply,
                                                          Buffer bytes) mutable {
                     gate->operation_ended(status);
                     done(std::move(status), std::move(reply), std::move(bytes));
                   });
}

std::vector<Image::Part> Image::split(std::uint64_t offset, std::uint64_t length_bytes) const {
  std::vector<Part> parts;
  std::uint64_t done = 0;
  while (done < length_bytes) {
    const std::uint64_t at = offset + done;
    const std::uint64_t in_object = at % layout_.object_bytes;
    const std::uint64_t length = std::min(length_bytes - done, layout_.object_bytes - in_object);
    parts.push_back({at / layout_.object_bytes, in_object, length, done});
    done += length;
  }
  return parts;
}

std::string Image::object_name(std::uint64_t object_number) const {
  char suffix[20];
  const int length = std::snprintf(suffix, sizeof suffix, ".%016llx",
                                   static_cast<unsigned long long>(object_number));
  return layout_.object_prefix + std::string(suffix, static_cast<std::size_t>(length));
}

Status Image::check(std::uint64_t offset, std::uint64_t length_bytes, bool writes) const {
  if (offset > layout_.size_bytes || length_bytes > layout_.size_bytes - offset) {
    return Status(ErrorCode::out_of_range, "beyond the end of the image");
  }
  if (writes && layout_.read_only) return Status(ErrorCode::read_only, "the image is read-only");
  return Status::ok();
}

void Image::fail(Status status, WriteDone done) {
  executor_.post(
      [status = std::move(status), done = std::move(done)]() mutable { done(std::move(status)); });
}

void Image::read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) {
  if (gate_->holds_back()) {
    return gate_->defer(
        [this, offset, length_bytes, done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status), {});
          read(offset, length_bytes, std::move(done));
        });
  }
  Status allowed = check(offset, length_bytes, false);
  if (!allowed || length_bytes == 0) {
    return fail(std::move(allowed),
                [done = std::move(done)](Status status) mutable { done(std::move(status), {}); });
  }
  const std::vector<Part> parts = split(offset, length_bytes);
  if (parts.size() == 1) {
    const Step step{StepCode::read, parts[0].object_offset, length_bytes, {}, {}};
    return submit(
        parts[0].object_number, step, {},
        [length_bytes, done = std::move(done)](Status status, net::OpReply, Buffer data) mutable {
          if (status && data.size() != length_bytes) {
            status = Status(ErrorCode::protocol_error, "a read of another length came back");
          }
          done(std::move(status), std::move(data));
        });
  }
  Buffer whole = Buffer::allocate(length_bytes);
  auto gather = Gather::of(parts.size(), [whole, done = std::move(done)](Status status) mutable {
    done(std::move(status), std::move(whole));
  });
  for (const Part& part : parts) {
    const Step step{StepCode::read, part.object_offset, part.length_bytes, {}, {}};
    submit(part.object_number, step, {},
           [gather, whole, part](Status status, net::OpReply, Buffer data) mutable {
             if (status && data.size() != part.length_bytes) {
               status = Status(ErrorCode::protocol_error, "a read of another length came back");
             }
             if (status) {
               std::memcpy(whole.data() + part.request_offset, data.data(), data.size());
             }
             gather->part_done(std::move(status));
           });
  }
}

void Image::write_part(const Part& part, Buffer data, WriteDone done) {
  const Step step{StepCode::write, part.object_offset, part.length_bytes, {}, {}};
  submit(part.object_number, step, std::move(data),
         [done = std::move(done)](Status status, net::OpReply, Buffer) mutable {
           done(std::move(status));
         });
}

void Image::write(std::uint64_t offset, Buffer data, WriteDone done) {
  if (gate_->holds_back()) {
    return gate_->defer(
        [this, offset, data = std::move(data), done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status));
          write(offset, std::move(data), std::move(done));
        });
  }
  Status allowed = check(offset, data.size(), true);
  if (!allowed || data.empty()) return fail(std::move(allowed), std::move(done));
  const std::vector<Part> parts = split(offset, data.size());
  if (parts.size() == 1) return write_part(parts[0], std::move(data), std::move(done));
  auto gather = Gather::of(parts.size(), std::move(done));
  for (const Part& part : parts) {
    write_part(part, data.slice(part.request_offset, part.length_bytes),
               [gather](Status status) { gather->part_done(std::move(status)); });
  }
}

// Whole blocks are zeroed by one step; the bytes at the edges, if wanted, by writes of zeros.
void Image::zero_part(const Part& part, StepCode code, bool edges, WriteDone done) {
  const std::uint64_t begin = part.object_offset;
  const std::uint64_t end = begin + part.length_bytes;
  const std::uint64_t inner_begin = (begin + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  const std::uint64_t inner_end = std::max(inner_begin, end / kBlockBytes * kBlockBytes);
  std::vector<Part> edge_parts;
  if (edges && inner_begin >= end) {
    edge_parts.push_back(part);
  } else if (edges) {
    if (inner_begin > begin)
      edge_parts.push_back({part.object_number, begin, inner_begin - begin, 0});
    if (end > inner_end) edge_parts.push_back({part.object_number, inner_end, end - inner_end, 0});
  }
  const bool inner = inner_end > inner_begin && inner_begin < end;
  const std::size_t count = edge_parts.size() + (inner ? 1 : 0);
  if (count == 0) return fail(Status::ok(), std::move(done));
  auto gather = Gather::of(count, std::move(done));
  const auto part_done = [gather](Status status) { gather->part_done(std::move(status)); };
  for (const Part& edge : edge_parts)
    write_part(edge, Buffer::zeroed(edge.length_bytes), part_done);
  if (!inner) return;
  const Step step{code, inner_begin, inner_end - inner_begin, {}, {}};
  submit(part.object_number, step, {},
         [part_done](Status status, net::OpReply, Buffer) { part_done(std::move(status)); });
}

void Image::write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                         WriteDone done) {
  if (gate_->holds_back()) {
    return gate_->defer(
        [this, offset, length_bytes, may_unmap, done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status));
          write_zeroes(offset, length_bytes, may_unmap, std::move(done));
        });
  }
  Status allowed = check(offset, length_bytes, true);
  if (!allowed || length_bytes == 0) return fail(std::move(allowed), std::move(done));
  const StepCode code = may_unmap ? StepCode::punch : StepCode::write_zeroes;
  const std::vector<Part> parts = split(offset, length_bytes);
  auto gather = Gather::of(parts.size(), std::move(done));
  for (const Part& part : parts) {
    zero_part(part, code, true, [gather](Status status) { gather->part_done(std::move(status)); });
  }
}

void Image::discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) {
  if (gate_->holds_back()) {
    return gate_->defer(
        [this, offset, length_bytes, done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status));
          discard(offset, length_bytes, std::move(done));
        });
  }
  Status allowed = check(offset, length_bytes, true);
  if (!allowed || length_bytes == 0) return fail(std::move(allowed), std::move(done));
  const std::vector<Part> parts = split(offset, length_bytes);
  auto gather = Gather::of(parts.size(), std::move(done));
  for (const Part& part : parts) {
    const auto part_done = [gather](Status status) { gather->part_done(std::move(status)); };
    if (part.length_bytes == layout_.object_bytes) {
      const Step step{StepCode::remove, 0, 0, {}, {}};
      submit(part.object_number, step, {},
             [part_done](Status status, net::OpReply, Buffer) { part_done(std::move(status)); });
    } else {
      zero_part(part, StepCode::punch, false, part_done);
    }
  }
}

void Image::flush(WriteDone done) { fail(Status::ok(), std::move(done)); }

void Image::extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) {
  if (gate_->holds_back()) {
    return gate_->defer(
        [this, offset, length_bytes, done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status), {});
          extents(offset, length_bytes, std::move(done));
        });
  }
  Status allowed = check(offset, length_bytes, false);
  if (!allowed || length_bytes == 0) {
    return fail(std::move(allowed),
                [done = std::move(done)](Status status) mutable { done(std::move(status), {}); });
  }
  const std::vector<Part> parts = split(offset, length_bytes);
  auto found = std::make_shared<std::vector<std::vector<Extent>>>(parts.size());
  auto gather = Gather::of(parts.size(), [found, done = std::move(done)](Status status) mutable {
    std::vector<Extent> merged;
    for (const std::vector<Extent>& list : *found) {
      for (const Extent& extent : list) {
        if (!merged.empty() && merged.back().state == extent.state) {
          merged.back().length_bytes += extent.length_bytes;
        } else {
          merged.push_back(extent);
        }
      }
    }
    done(std::move(status), std::move(merged));
  });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const Step step{StepCode::extents, part.object_offset, part.length_bytes, {}, {}};
    const std::uint64_t base = offset + part.request_offset - part.object_offset;
    submit(part.object_number, step, {},
           [gather, found, i, base](Status status, net::OpReply reply, Buffer) {
             for (const net::ExtentRun& run : reply.extents) {
               const ExtentState state = run.state == 2   ? ExtentState::data
                                         : run.state == 1 ? ExtentState::zero
                                                          : ExtentState::absent;
               (*found)[i].push_back({base + run.offset, run.length, state});
             }
             gather->part_done(std::move(status));
           });
  }
}

}  // namespace cairn::image
