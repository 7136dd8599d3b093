// Requests to ranges of objects and back: see image.hh.
#include "image/image.hh"

#include <algorithm>
#include <cstring>
#include <utility>

#include "image/gather.hh"
#include "image/populated_job.hh"

namespace cairn::image {

Image::Image(io::Executor& executor, objecter::Objecter& objecter, ImageLayout layout)
    : executor_(executor),
      objects_(std::make_shared<ObjectIo>(executor, objecter, std::move(layout))) {}

Status Image::retarget(const ImageLayout& layout) {
  if (!gate().quiet()) return {ErrorCode::busy, "requests of the image are under way"};
  CAIRN_RETURN_IF_ERROR(check_striping(layout.striping()));
  objects_->retarget(layout);
  return Status::ok();
}

Status Image::check(std::uint64_t offset, std::uint64_t length_bytes, bool writes) const {
  if (offset > size_bytes() || length_bytes > size_bytes() - offset) {
    return Status(ErrorCode::out_of_range, "beyond the end of the image");
  }
  if (writes && read_only()) return Status(ErrorCode::read_only, "the image is read-only");
  return Status::ok();
}

void Image::fail(Status status, WriteDone done) {
  executor_.post(
      [status = std::move(status), done = std::move(done)]() mutable { done(std::move(status)); });
}

void Image::read(std::uint64_t offset, std::uint64_t length_bytes, ReadDone done) {
  if (gate().holds_back()) {
    return gate().defer(
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
  const std::vector<ObjectRange> ranges = split(objects_->striping(), offset, length_bytes);
  // The object's order is that of the image.
  if (ranges.size() == 1) return objects_->read(ranges[0], std::move(done));
  Buffer whole = Buffer::allocate(length_bytes);
  auto gather = Gather::of(ranges.size(), [whole, done = std::move(done)](Status status) mutable {
    done(std::move(status), std::move(whole));
  });
  for (const ObjectRange& range : ranges) {
    objects_->read(range, [gather, whole, range, offset, striping = objects_->striping()](
                              Status status, const Buffer& data) mutable {
      if (status) {
        for_each_piece(striping, range,
                       [&](std::uint64_t at, std::uint64_t in_image, std::uint64_t length) {
                         std::memcpy(whole.data() + (in_image - offset),
                                     data.data() + (at - range.offset), length);
                       });
      }
      gather->part_done(std::move(status));
    });
  }
}

Buffer Image::gathered(const ObjectRange& range, std::uint64_t offset, const Buffer& data) const {
  const Striping& striping = objects_->striping();
  const std::uint64_t first = image_offset(striping, range.object_number, range.offset);
  const std::uint64_t last =
      image_offset(striping, range.object_number, range.offset + range.length_bytes - 1);
  if (last - first + 1 == range.length_bytes) {
    return data.slice(first - offset, range.length_bytes);
  }
  Buffer bytes = Buffer::allocate(range.length_bytes);
  for_each_piece(
      striping, range, [&](std::uint64_t at, std::uint64_t in_image, std::uint64_t length) {
        std::memcpy(bytes.data() + (at - range.offset), data.data() + (in_image - offset), length);
      });
  return bytes;
}

void Image::write(std::uint64_t offset, Buffer data, WriteDone done) {
  if (gate().holds_back()) {
    return gate().defer(
        [this, offset, data = std::move(data), done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status));
          write(offset, std::move(data), std::move(done));
        });
  }
  Status allowed = check(offset, data.size(), true);
  if (!allowed || data.empty()) return fail(std::move(allowed), std::move(done));
  const std::vector<ObjectRange> ranges = split(objects_->striping(), offset, data.size());
  if (ranges.size() == 1) return objects_->write(ranges[0], std::move(data), std::move(done));
  auto gather = Gather::of(ranges.size(), std::move(done));
  for (const ObjectRange& range : ranges) {
    objects_->write(range, gathered(range, offset, data),
                    [gather](Status status) { gather->part_done(std::move(status)); });
  }
}

void Image::write_zeroes(std::uint64_t offset, std::uint64_t length_bytes, bool may_unmap,
                         WriteDone done) {
  if (gate().holds_back()) {
    return gate().defer(
        [this, offset, length_bytes, may_unmap, done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status));
          write_zeroes(offset, length_bytes, may_unmap, std::move(done));
        });
  }
  Status allowed = check(offset, length_bytes, true);
  if (!allowed || length_bytes == 0) return fail(std::move(allowed), std::move(done));
  const std::vector<ObjectRange> ranges = split(objects_->striping(), offset, length_bytes);
  auto gather = Gather::of(ranges.size(), std::move(done));
  for (const ObjectRange& range : ranges) {
    objects_->zero(range, may_unmap,
                   [gather](Status status) { gather->part_done(std::move(status)); });
  }
}

void Image::discard(std::uint64_t offset, std::uint64_t length_bytes, WriteDone done) {
  if (gate().holds_back()) {
    return gate().defer(
        [this, offset, length_bytes, done = std::move(done)](Status status) mutable {
          if (!status) return done(std::move(status));
          discard(offset, length_bytes, std::move(done));
        });
  }
  Status allowed = check(offset, length_bytes, true);
  if (!allowed || length_bytes == 0) return fail(std::move(allowed), std::move(done));
  const std::vector<ObjectRange> ranges = split(objects_->striping(), offset, length_bytes);
  auto gather = Gather::of(ranges.size(), std::move(done));
  for (const ObjectRange& range : ranges) {
    objects_->discard(range, [gather](Status status) { gather->part_done(std::move(status)); });
  }
}

void Image::flush(WriteDone done) { fail(Status::ok(), std::move(done)); }

void Image::extents(std::uint64_t offset, std::uint64_t length_bytes, ExtentsDone done) {
  if (gate().holds_back()) {
    return gate().defer(
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
  auto found = std::make_shared<std::vector<Extent>>();
  const std::vector<ObjectRange> ranges = split(objects_->striping(), offset, length_bytes);
  auto gather = Gather::of(ranges.size(), [found, done = std::move(done)](Status status) mutable {
    // Of the parts that did answer there are gaps between: see extents().
    if (!status) found->clear();
    done(std::move(status), merged(std::move(*found)));
  });
  for (const ObjectRange& range : ranges) {
    objects_->extents(range, [gather, found](Status status, const std::vector<Extent>& extents) {
      found->insert(found->end(), extents.begin(), extents.end());
      gather->part_done(std::move(status));
    });
  }
}

void Image::populated(PopulatedDone done) {
  auto own = [objects = objects_, parent = objects_->layout().parent, done = std::move(done)](
                 Status status, ByteRanges ranges) mutable {
    if (!status || parent.device == nullptr)
      return done(std::move(status), joined(std::move(ranges)));
    BlockDevice& below = *parent.device;
    below.populated(
        [parent = std::move(parent), ranges = std::move(ranges), done = std::move(done)](
            Status status_below, std::optional<ByteRanges> shown) mutable {
          if (!status_below) return done(std::move(status_below), std::nullopt);
          if (!shown) shown = ByteRanges{{0, parent.overlap_bytes}};
          for (const auto& [begin, end] : *shown) {
            if (begin < parent.overlap_bytes)
              ranges.emplace_back(begin, std::min(end, parent.overlap_bytes));
          }
          done(Status::ok(), joined(std::move(ranges)));
        });
  };
  PopulatedJob::start(objects_, std::move(own));
}

}  // namespace cairn::image
