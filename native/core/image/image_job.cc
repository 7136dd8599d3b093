// The shared half of the jobs: see image_job.hh.
#include "image/image_job.hh"

#include <utility>

namespace cairn::image {

ImageJob::ImageJob(std::shared_ptr<ObjectIo> objects, Done done)
    : objects_(std::move(objects)), done_(std::move(done)) {}

void ImageJob::cancel() {
  fail({ErrorCode::canceled, "the job was canceled"});
  if (objects_->closed()) finish(outcome_);
}

void ImageJob::resume() {
  if (stopped() || std::exchange(resuming_, true)) return;
  objects_->executor().post([self = shared_from_this()] {
    self->resuming_ = false;
    if (self->objects_->closed()) self->fail({ErrorCode::canceled, "the image was closed"});
    if (!self->stopped()) self->start_more();
  });
}

void ImageJob::end(Status status) {
  CAIRN_ASSERT(under_way_ > 0);
  --under_way_;
  if (!status) fail(std::move(status));
  if (outcome_.is_ok()) return resume();
  if (idle()) finish(outcome_);
}

void ImageJob::fail(Status status) {
  CAIRN_ASSERT(!status.is_ok());
  if (stopped()) return;
  outcome_ = std::move(status);
  if (idle()) finish(outcome_);
}

void ImageJob::succeed() { finish(Status::ok()); }

// From a task of its own, so that the owner may drop the job in done.
void ImageJob::finish(Status status) {
  if (std::exchange(ended_, true)) return;
  objects_->executor().post([self = shared_from_this(), status = std::move(status)]() mutable {
    std::exchange(self->done_, nullptr)(std::move(status));
  });
}

void ImageJob::when_open(UniqueFunction<void()> work) {
  begin();
  if (!objects_->gate().holds_back()) {
    work();
    return end(Status::ok());
  }
  objects_->gate().defer(
      [self = shared_from_this(), work = std::move(work)](Status status) mutable {
        if (status && !self->stopped() && !self->objects_->closed()) work();
        self->end(std::move(status));
      });
}

}  // namespace cairn::image
