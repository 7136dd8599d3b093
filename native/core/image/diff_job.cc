// Asking for blocks in order: see diff_job.hh.
#include "image/diff_job.hh"

#include <algorithm>
#include <utility>

#include "image/populated_job.hh"

namespace cairn::image {

using net::StepCode;

std::shared_ptr<DiffJob> DiffJob::start(std::shared_ptr<ObjectIo> objects, const DiffSpec& spec,
                                        Receiver receiver, Done done) {
  std::shared_ptr<DiffJob> job(
      new DiffJob(std::move(objects), spec, std::move(receiver), std::move(done)));
  job->resume();
  return job;
}

DiffJob::DiffJob(std::shared_ptr<ObjectIo> objects, const DiffSpec& spec, Receiver receiver,
                 Done done)
    : ListingJob(std::move(objects), StepCode::list_objects, spec.from_snap, std::move(done)),
      spec_(spec),
      receiver_(std::move(receiver)),
      size_bytes_(objects_->layout().size_bytes) {
  if (spec.from_snap == 0) parent_ = objects_->layout().parent;
  const std::uint64_t count = object_count(objects_->striping(), size_bytes_);
  may_differ_.resize(count);
  exists_.resize(count);
  in_parent_.resize(count);
}

void DiffJob::handle(const ListedObject& object) {
  if (object.number >= may_differ_.size()) return;  // behind the end of the image
  may_differ_[object.number] = object.may_differ;
  exists_[object.number] = object.exists;
}

void DiffJob::ask_parent() {
  begin();
  parent_.device->populated([self = std::static_pointer_cast<DiffJob>(shared_from_this())](
                                const Status& status, const std::optional<ByteRanges>& ranges) {
    self->answered_ = true;
    // A list that can't be had costs time only: all that the parent may show is asked for.
    const std::uint64_t shown = std::min(self->parent_.overlap_bytes, self->size_bytes_);
    self->in_parent_ =
        objects_over(self->objects_->striping(), status ? ranges : std::nullopt, shown);
    self->in_parent_.resize(self->may_differ_.size());
    self->parent_ = {};  // whoever waits until it is left need not wait for all of the difference
    self->end(Status::ok());
  });
}

void DiffJob::all_listed() {
  if (parent_.device != nullptr && !std::exchange(asked_, true))
    return when_open(
        [job = std::static_pointer_cast<DiffJob>(shared_from_this())] { job->ask_parent(); });
  if (asked_ && !answered_) return;
  // First, so that sets that have all been answered leave their room to new ones: else nothing
  // would be under way that could wake the job.
  deliver();
  // Of a set all objects are asked at once, so that it may be a little more.
  while (has_room() && order_.size() < kMaxUnderWay && ask_next_set()) {
  }
  deliver();
  if (next_number_ < may_differ_.size() || !order_.empty() || handed_over_ || !idle()) return;
  if (batch_.empty()) return succeed();
}

bool DiffJob::ask_next_set() {
  const std::uint64_t count = may_differ_.size();
  const std::uint64_t per_set = objects_->striping().count;
  while (next_number_ < count && !may_have(next_number_)) ++next_number_;
  if (next_number_ >= count) return false;
  const std::uint64_t first = next_number_ / per_set * per_set;
  next_number_ = std::min(first + per_set, count);
  auto set = std::make_shared<Set>();
  order_.push_back(set);
  set->pending = 1;  // this loop
  for (std::uint64_t number = first; number < next_number_; ++number) {
    if (!may_have(number)) continue;
    ++set->pending;
    ask(number, set);
  }
  begin();
  answered(set, Status::ok());
  return true;
}

void DiffJob::ask(std::uint64_t number, const std::shared_ptr<Set>& set) {
  const ObjectRange whole{number, 0, bytes_below(objects_->striping(), number, size_bytes_)};
  const auto add = [this, set](const ObjectRange& range, ExtentState state) {
    for_each_piece(objects_->striping(), range,
                   [&](std::uint64_t, std::uint64_t in_image, std::uint64_t length) {
                     set->extents.push_back({in_image, length, state});
                   });
  };
  begin();
  if (in_parent_[number]) {
    return when_open([self = shared_from_this(), this, whole, set] {
      objects_->extents(whole, [self, this, set](Status status, const std::vector<Extent>& found) {
        for (const Extent& extent : found) {
          if (extent.state != ExtentState::absent) set->extents.push_back(extent);
        }
        answered(set, std::move(status));
      });
    });
  }
  if (spec_.whole_object) {
    add(whole, exists_[number] ? ExtentState::data : ExtentState::absent);
    return answered(set, Status::ok());
  }
  when_open([self = shared_from_this(), this, whole, set, add] {
    const net::Step step{StepCode::diff, spec_.from_snap, 0, {}, {}};
    objects_->submit(
        whole.object_number, {step}, {},
        [self, this, whole, set, add](Status status, const net::OpReply& reply, const Buffer&) {
          for (const net::ExtentRun& run : reply.extents) {
            // What lies behind the end of the image is not part of it.
            if (run.offset >= whole.length_bytes) break;
            const std::uint64_t length = std::min(run.length, whole.length_bytes - run.offset);
            add({whole.object_number, run.offset, length}, state_of(run));
          }
          answered(set, std::move(status));
        });
  });
}

void DiffJob::answered(const std::shared_ptr<Set>& set, Status status) {
  if (--set->pending == 0) set->extents = merged(std::move(set->extents));
  end(std::move(status));
}

void DiffJob::deliver() {
  if (handed_over_) return;
  while (batch_.size() < kBatchExtents && !order_.empty() && order_.front()->pending == 0) {
    const std::vector<Extent>& extents = order_.front()->extents;
    batch_.insert(batch_.end(), extents.begin(), extents.end());
    order_.pop_front();
  }
  const bool last = next_number_ >= may_differ_.size() && order_.empty();
  if (batch_.empty() || (batch_.size() < kBatchExtents && !last)) return;
  handed_over_ = true;
  begin();
  receiver_(merged(std::exchange(batch_, {})),
            [self = std::static_pointer_cast<DiffJob>(shared_from_this())](const Status& status) {
              self->handed_over_ = false;
              self->end(status);
            });
}

}  // namespace cairn::image
