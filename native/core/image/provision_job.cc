// Zeros for every object: see provision_job.hh.
#include "image/provision_job.hh"

#include <algorithm>
#include <utility>

namespace cairn::image {

std::shared_ptr<ProvisionJob> ProvisionJob::start(std::shared_ptr<ObjectIo> objects, Done done) {
  std::shared_ptr<ProvisionJob> job(new ProvisionJob(std::move(objects), std::move(done)));
  const ImageLayout& layout = job->objects_->layout();
  if (layout.read_only) {
    job->fail({ErrorCode::read_only, "the image is read-only"});
  } else if (layout.parent.device != nullptr) {
    // Zeros in its absent blocks would hide what the parent shows there.
    job->fail({ErrorCode::invalid_argument, "the image is a clone"});
  } else {
    job->resume();
  }
  return job;
}

ProvisionJob::ProvisionJob(std::shared_ptr<ObjectIo> objects, Done done)
    : ImageJob(std::move(objects), std::move(done)),
      size_bytes_(objects_->layout().size_bytes),
      objects_end_(object_count(objects_->striping(), size_bytes_)),
      zeros_(Buffer::zeroed(std::min(kPieceBytes, objects_->striping().object_bytes))) {
  progress_.total = size_bytes_;
}

ObjectRange ProvisionJob::piece_at(std::uint64_t number, std::uint64_t offset) const {
  const std::uint64_t end = bytes_below(objects_->striping(), number, size_bytes_);
  return {number, offset, offset < end ? std::min<std::uint64_t>(end - offset, zeros_.size()) : 0};
}

bool ProvisionJob::take_next(ObjectRange& piece) {
  if (!begun_.empty()) {
    piece = begun_.front();
    begun_.pop_front();
    return true;
  }
  while (next_number_ < objects_end_) {
    piece = piece_at(next_number_++, 0);
    // Of the last object set some may lie behind the image's end.
    if (piece.length_bytes > 0) return true;
  }
  return false;
}

void ProvisionJob::start_more() {
  ObjectRange piece;
  while (has_room() && take_next(piece)) fill(piece);
  if (idle()) succeed();
}

void ProvisionJob::fill(const ObjectRange& piece) {
  when_open([job = std::static_pointer_cast<ProvisionJob>(shared_from_this()), piece] {
    job->begin();
    // Whole blocks, also at the end of an image that ends in one.
    const std::uint64_t blocks = (piece.length_bytes + kBlockBytes - 1) / kBlockBytes;
    const ObjectRange whole{piece.object_number, piece.offset, blocks * kBlockBytes};
    job->objects_->copyup(
        whole, job->zeros_.slice(0, whole.length_bytes), [job, piece](Status status) {
          if (status) {
            job->progress_.done += piece.length_bytes;
            const ObjectRange next =
                job->piece_at(piece.object_number, piece.offset + piece.length_bytes);
            if (next.length_bytes > 0) job->begun_.push_back(next);
          }
          job->end(std::move(status));
        });
  });
}

}  // namespace cairn::image
