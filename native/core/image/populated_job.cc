// Listed objects as ranges of the image: see populated_job.hh.
#include "image/populated_job.hh"

#include <algorithm>
#include <utility>

namespace cairn::image {

ByteRanges joined(ByteRanges ranges) {
  std::sort(ranges.begin(), ranges.end());
  ByteRanges result;
  for (const auto& [begin, end] : ranges) {
    if (!result.empty() && begin <= result.back().second) {
      result.back().second = std::max(result.back().second, end);
    } else {
      result.emplace_back(begin, end);
    }
  }
  return result;
}

std::vector<bool> objects_over(const Striping& striping, const std::optional<ByteRanges>& ranges,
                               std::uint64_t shown_bytes) {
  std::vector<bool> found(object_count(striping, shown_bytes), !ranges);
  if (!ranges) return found;
  for (const auto& [begin, end] : *ranges) {
    if (begin >= shown_bytes) break;
    for (const ObjectRange& range : split(striping, begin, std::min(end, shown_bytes) - begin))
      found[range.object_number] = true;
  }
  return found;
}

PopulatedJob::PopulatedJob(std::shared_ptr<ObjectIo> objects, std::shared_ptr<ByteRanges> found,
                           Done done)
    : ListingJob(std::move(objects), net::StepCode::list_objects, 0, std::move(done)),
      size_bytes_(objects_->layout().size_bytes),
      found_(std::move(found)) {}

void PopulatedJob::start(std::shared_ptr<ObjectIo> objects, RangesDone done) {
  auto found = std::make_shared<ByteRanges>();
  const std::shared_ptr<PopulatedJob> job(new PopulatedJob(
      std::move(objects), found, [found, done = std::move(done)](Status status) mutable {
        done(std::move(status), joined(std::move(*found)));
      }));
  job->resume();
}

void PopulatedJob::handle(const ListedObject& object) {
  if (!object.exists) return;
  const ObjectRange shown{object.number, 0,
                          bytes_below(objects_->striping(), object.number, size_bytes_)};
  for_each_piece(objects_->striping(), shown,
                 [this](std::uint64_t, std::uint64_t in_image, std::uint64_t length) {
                   found_->emplace_back(in_image, in_image + length);
                 });
}

}  // namespace cairn::image
