// Asking the objects of a range: see range_diff.hh.
#include "image/range_diff.hh"

#include <algorithm>
#include <utility>

namespace cairn::image {

namespace {

class RangeDiff : public std::enable_shared_from_this<RangeDiff> {
 public:
  RangeDiff(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap,
            std::vector<ObjectRange> ranges, ExtentsDone done)
      : objects_(std::move(objects)),
        from_snap_(from_snap),
        ranges_(std::move(ranges)),
        done_(std::move(done)) {}

  void start() {
    if (!objects_->gate().holds_back()) return ask_more();
    objects_->gate().defer([self = shared_from_this()](Status status) {
      if (!status) return self->done_(std::move(status), {});
      self->ask_more();
    });
  }

 private:
  void ask_more() {
    ++under_way_;  // this loop
    while (next_ < ranges_.size() && under_way_ <= kMaxDiffsUnderWay && outcome_.is_ok())
      ask(ranges_[next_++]);
    ended(Status::ok());
  }

  void ask(const ObjectRange& range) {
    ++under_way_;
    const net::Step step{net::StepCode::diff, from_snap_, 0, {}, {}};
    objects_->submit(range.object_number, {step}, {},
                     [self = shared_from_this(), range](Status status, const net::OpReply& reply,
                                                        const Buffer&) {
                       for (const net::ExtentRun& run : reply.extents) self->add(range, run);
                       self->ended(std::move(status));
                       if (self->under_way_ > 0) self->ask_more();
                     });
  }

  // The part of the run that lies in the range.
  void add(const ObjectRange& range, const net::ExtentRun& run) {
    const std::uint64_t begin = std::max(run.offset, range.offset);
    const std::uint64_t end = std::min(run.offset + run.length, range.offset + range.length_bytes);
    if (begin >= end) return;
    for_each_piece(objects_->striping(), {range.object_number, begin, end - begin},
                   [&](std::uint64_t, std::uint64_t in_image, std::uint64_t length) {
                     found_.push_back({in_image, length, state_of(run)});
                   });
  }

  void ended(Status status) {
    if (outcome_ && !status) outcome_ = std::move(status);
    --under_way_;
    const bool all_asked = next_ == ranges_.size() || !outcome_;
    if (under_way_ > 0 || !all_asked || !done_) return;
    std::exchange(done_, nullptr)(outcome_, merged(std::move(found_)));
  }

  std::shared_ptr<ObjectIo> objects_;
  std::uint64_t from_snap_;
  std::vector<ObjectRange> ranges_;
  ExtentsDone done_;
  std::size_t next_ = 0, under_way_ = 0;
  Status outcome_;
  std::vector<Extent> found_;
};

}  // namespace

void diff_range(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap, std::uint64_t offset,
                std::uint64_t length_bytes, ExtentsDone done) {
  std::vector<ObjectRange> ranges = split(objects->striping(), offset, length_bytes);
  std::make_shared<RangeDiff>(std::move(objects), from_snap, std::move(ranges), std::move(done))
      ->start();
}

}  // namespace cairn::image
