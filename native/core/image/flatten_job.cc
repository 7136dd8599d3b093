// Finding and copying what only the parent has: see flatten_job.hh.
#include "image/flatten_job.hh"

#include <algorithm>
#include <utility>

#include "base/zeros.hh"
#include "image/gather.hh"

namespace cairn::image {

using net::StepCode;

namespace {

// Objects are looked at while fewer ranges wait to be copied.
constexpr std::size_t kMaxWaiting = 64;
constexpr std::size_t kLooksAtOnce = 4;

}  // namespace

std::shared_ptr<FlattenJob> FlattenJob::start(std::shared_ptr<ObjectIo> objects, Done done) {
  std::shared_ptr<FlattenJob> job(new FlattenJob(std::move(objects), std::move(done)));
  if (job->objects_->layout().read_only) {
    job->fail({ErrorCode::read_only, "the image is read-only"});
  } else {
    job->resume();
  }
  return job;
}

FlattenJob::FlattenJob(std::shared_ptr<ObjectIo> objects, Done done)
    : ImageJob(std::move(objects), std::move(done)), parent_(objects_->layout().parent) {
  const std::uint64_t shown = parent_.device == nullptr
                                  ? 0
                                  : std::min(parent_.overlap_bytes, objects_->layout().size_bytes);
  progress_.total = object_count(objects_->striping(), shown);
}

std::shared_ptr<FlattenJob> FlattenJob::self() {
  return std::static_pointer_cast<FlattenJob>(shared_from_this());
}

void FlattenJob::start_more() {
  while (!to_copy_.empty() && has_room()) {
    const ObjectRange range = to_copy_.front();
    to_copy_.pop_front();
    copy(range);
  }
  while (next_number_ < progress_.total && to_copy_.size() < kMaxWaiting &&
         looking_ < kLooksAtOnce) {
    ++looking_;
    when_open([job = self(), number = next_number_++] { job->look_at(number); });
  }
  if (next_number_ == progress_.total && looking_ == 0 && to_copy_.empty() && idle()) succeed();
}

void FlattenJob::look_at(std::uint64_t number) {
  begin();
  const std::uint64_t shown = objects_->overlap_of(parent_, number);
  objects_->submit(number, {{StepCode::extents, 0, shown, {}, {}}}, {},
                   [job = self(), number](Status status, const net::OpReply& reply, const Buffer&) {
                     if (status && !job->stopped()) job->look_at_parent(number, reply.extents);
                     job->end(std::move(status));
                   });
}

void FlattenJob::look_at_parent(std::uint64_t number, const std::vector<net::ExtentRun>& runs) {
  // Where the parent's extent begins in the object.
  struct Question {
    std::uint64_t object_offset = 0, image_offset = 0, length = 0;
  };
  std::vector<Question> questions;
  for (const net::ExtentRun& run : runs) {
    if (run.state != 0) continue;
    for_each_piece(
        objects_->striping(), {number, run.offset, run.length},
        [&](std::uint64_t at, std::uint64_t in_image, std::uint64_t length) {
          if (in_image >= parent_.overlap_bytes) return;
          questions.push_back({at, in_image, std::min(length, parent_.overlap_bytes - in_image)});
        });
  }
  begin();
  auto data = std::make_shared<std::vector<Extent>>();  // of the object
  auto gather = Gather::of(questions.size() + 1, [job = self(), number, data](Status status) {
    std::uint64_t next = 0;
    for (const Extent& extent : merged(std::move(*data))) {
      // Whole blocks, each once; in pieces.
      const std::uint64_t end =
          (extent.offset + extent.length_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
      next = std::max(next, extent.offset / kBlockBytes * kBlockBytes);
      while (next < end) {
        const std::uint64_t length = std::min(end - next, kPieceBytes);
        job->to_copy_.push_back({number, next, length});
        next += length;
      }
    }
    ++job->progress_.done;
    --job->looking_;
    job->end(std::move(status));
  });
  for (const Question& question : questions) {
    parent_.device->extents(
        question.image_offset, question.length,
        [gather, data, question](Status status, const std::vector<Extent>& extents) {
          for (const Extent& extent : extents) {
            if (extent.state != ExtentState::data) continue;
            const std::uint64_t at = extent.offset - question.image_offset;
            data->push_back({question.object_offset + at, extent.length_bytes, extent.state});
          }
          gather->part_done(std::move(status));
        });
  }
  gather->part_done(Status::ok());
}

void FlattenJob::copy(const ObjectRange& range) {
  begin();
  objects_->read_parent(parent_, range, [job = self(), range](Status status, const Buffer& data) {
    if (status && !job->stopped()) job->fill(range, data);
    job->end(std::move(status));
  });
}

void FlattenJob::fill(const ObjectRange& range, const Buffer& data) {
  for (std::size_t position = 0; position < data.size();) {
    const ZeroRun run = next_zero_run(data.span().subspan(position), 0, kBlockBytes);
    const ObjectRange part{range.object_number, range.offset + position, run.length};
    if (!run.zero) {
      when_open([job = self(), part, bytes = data.slice(position, run.length)] {
        job->begin();
        job->objects_->copyup(part, bytes, [job](Status status) { job->end(std::move(status)); });
      });
    }
    position += run.length;
  }
}

}  // namespace cairn::image
