// Finding and copying what only the parent has: see flatten_job.hh.
#include "image/flatten_job.hh"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/zeros.hh"
#include "image/gather.hh"
#include "image/populated_job.hh"

namespace cairn::image {

using net::StepCode;

namespace {

// Objects are looked at while fewer ranges wait to be copied.
constexpr std::size_t kMaxWaiting = 64;
constexpr std::size_t kLooksAtOnce = 4;
// A filling becomes a step for each block of each layer at most, and one for each that is divided.
constexpr std::uint64_t kMaxLayerBlocks = 3584;

}  // namespace

std::shared_ptr<FlattenJob> FlattenJob::start(std::shared_ptr<ObjectIo> objects, FlattenScope scope,
                                              Done done) {
  std::shared_ptr<FlattenJob> job(
      new FlattenJob(std::move(objects), std::move(scope), std::move(done)));
  if (job->objects_->layout().read_only) {
    job->fail({ErrorCode::read_only, "the image is read-only"});
  } else {
    job->resume();
  }
  return job;
}

FlattenJob::FlattenJob(std::shared_ptr<ObjectIo> objects, FlattenScope scope, Done done)
    : ImageJob(std::move(objects), std::move(done)),
      scope_(std::move(scope)),
      parent_(objects_->layout().parent) {
  std::uint64_t shown = 0;
  if (parent_.device != nullptr && scope_.layers.empty()) {
    shown = std::min(parent_.overlap_bytes, objects_->layout().size_bytes);
  } else if (parent_.device != nullptr) {
    // A snapshot may be larger than the image is now, and show more of the parent.
    shown = parent_.overlap_bytes = std::min(scope_.to_bytes, parent_.device->size_bytes());
    const std::uint64_t blocks = std::max(kMaxLayerBlocks / scope_.layers.size(), std::uint64_t{1});
    piece_bytes_ = std::min(kPieceBytes, blocks * kBlockBytes);
  }
  progress_.total = object_count(objects_->striping(), shown);
}

std::shared_ptr<FlattenJob> FlattenJob::self() {
  return std::static_pointer_cast<FlattenJob>(shared_from_this());
}

void FlattenJob::ask_parent() {
  begin();
  parent_.device->populated(
      [job = self()](const Status& status, const std::optional<ByteRanges>& ranges) {
        job->answered_ = true;
        // A list that can't be had costs time only: each object of the parent is looked at.
        job->in_parent_ = objects_over(job->objects_->striping(), status ? ranges : std::nullopt,
                                       job->parent_.overlap_bytes);
        job->in_parent_.resize(job->progress_.total);
        job->end(Status::ok());
      });
}

bool FlattenJob::find_next() {
  while (next_number_ < progress_.total && !in_parent_[next_number_]) {
    ++next_number_;
    ++progress_.done;
  }
  return next_number_ < progress_.total;
}

void FlattenJob::start_more() {
  if (progress_.total > 0 && !std::exchange(asked_, true))
    when_open([job = self()] { job->ask_parent(); });
  if (progress_.total > 0 && !answered_) return;
  while (!to_copy_.empty() && has_room()) {
    const ObjectRange range = to_copy_.front();
    to_copy_.pop_front();
    copy(range);
  }
  while (to_copy_.size() < kMaxWaiting && looking_ < kLooksAtOnce && find_next()) {
    ++looking_;
    when_open([job = self(), number = next_number_++] { job->look_at(number); });
  }
  if (next_number_ == progress_.total && looking_ == 0 && to_copy_.empty() && idle()) succeed();
}

std::vector<FlattenJob::Question> FlattenJob::questions_of(std::uint64_t number,
                                                           std::uint64_t offset,
                                                           std::uint64_t length) const {
  const std::pair whole{scope_.from_bytes, parent_.overlap_bytes};
  std::vector<Question> questions;
  const auto ask = [&](std::uint64_t at, std::uint64_t begin, std::uint64_t end,
                       const std::pair<std::uint64_t, std::uint64_t>& wanted) {
    const std::uint64_t first = std::max({begin, wanted.first, whole.first});
    const std::uint64_t last = std::min({end, wanted.second, whole.second});
    if (first < last) questions.push_back({at + (first - begin), first, last - first});
  };
  for_each_piece(objects_->striping(), {number, offset, length},
                 [&](std::uint64_t at, std::uint64_t begin, std::uint64_t piece) {
                   const std::uint64_t end = begin + piece;
                   if (scope_.ranges.empty()) return ask(at, begin, end, whole);
                   auto range = std::upper_bound(
                       scope_.ranges.begin(), scope_.ranges.end(), begin,
                       [](std::uint64_t place, const auto& other) { return place < other.second; });
                   for (; range != scope_.ranges.end() && range->first < end; ++range)
                     ask(at, begin, end, *range);
                 });
  return questions;
}

void FlattenJob::look_at(std::uint64_t number) {
  begin();
  const std::uint64_t shown = objects_->overlap_of(parent_, number);
  if (questions_of(number, 0, shown).empty()) {
    ++progress_.done;
    --looking_;
    return end(Status::ok());
  }
  net::Step look{StepCode::extents, 0, shown, {}, {}};
  if (!scope_.layers.empty()) {
    look.code = StepCode::lacking;
    look.value = net::pack_ids(scope_.layers);
  }
  objects_->submit(number, {std::move(look)}, {},
                   [job = self(), number](Status status, const net::OpReply& reply, const Buffer&) {
                     if (status && !job->stopped()) job->look_at_parent(number, reply.extents);
                     job->end(std::move(status));
                   });
}

void FlattenJob::look_at_parent(std::uint64_t number, const std::vector<net::ExtentRun>& runs) {
  std::vector<Question> questions;
  for (const net::ExtentRun& run : runs) {
    if (run.state != 0) continue;
    const std::vector<Question> more = questions_of(number, run.offset, run.length);
    questions.insert(questions.end(), more.begin(), more.end());
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
        const std::uint64_t length = std::min(end - next, job->piece_bytes_);
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
    if (!run.zero || scope_.copies_zeros) {
      when_open([job = self(), part, bytes = data.slice(position, run.length)] {
        job->begin();
        const auto done = [job](Status status) { job->end(std::move(status)); };
        if (job->scope_.layers.empty()) return job->objects_->copyup(part, bytes, done);
        job->objects_->fill_layers(part, bytes, job->scope_.layers, done);
      });
    }
    position += run.length;
  }
}

}  // namespace cairn::image
