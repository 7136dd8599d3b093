// PopulatedJob: in which ranges of an image any of its own objects exists. It costs a listing of
// the image's objects, however large the image is. Progress in PGs.
#pragma once

#include "image/listing_job.hh"

namespace cairn::image {

// Sorted, those that touch or overlap as one.
ByteRanges joined(ByteRanges ranges);
// Which of an image's objects lie over these ranges of its first shown_bytes, by number; ranges
// nullopt: all that lie there.
std::vector<bool> objects_over(const Striping& striping, const std::optional<ByteRanges>& ranges,
                               std::uint64_t shown_bytes);

class PopulatedJob final : public ListingJob {
 public:
  using RangesDone = UniqueFunction<void(Status, ByteRanges)>;
  static void start(std::shared_ptr<ObjectIo> objects, RangesDone done);

 private:
  PopulatedJob(std::shared_ptr<ObjectIo> objects, std::shared_ptr<ByteRanges> found, Done done);
  void handle(const ListedObject& object) override;
  std::uint64_t size_bytes_;
  std::shared_ptr<ByteRanges> found_;
};

}  // namespace cairn::image
