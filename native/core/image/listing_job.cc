// Pages of listed objects, and what is done with them: see listing_job.hh.
#include "image/listing_job.hh"

#include <bit>
#include <charconv>
#include <optional>
#include <utility>

namespace cairn::image {

using net::StepCode;

namespace {

constexpr std::size_t kListingsAtOnce = 8;
// No page is asked for while so many objects wait to be handled.
constexpr std::size_t kMaxListed = 4 * net::kMaxListedObjects;
constexpr std::size_t kNumberDigits = 16;
constexpr std::size_t kMeasuredBytes = 1 + 4 + 4;

}  // namespace

std::optional<ListedObject> listed_object(const std::string& object_prefix,
                                          const std::pair<std::string, std::string>& pair) {
  const std::string& name = pair.first;
  const std::string& value = pair.second;
  const std::size_t head = object_prefix.size() + 1;
  if (name.size() != head + kNumberDigits || value.empty()) return std::nullopt;
  ListedObject object;
  const char* const begin = name.data() + head;
  const auto parsed = std::from_chars(begin, begin + kNumberDigits, object.number, 16);
  if (parsed.ec != std::errc{} || parsed.ptr != begin + kNumberDigits) return std::nullopt;
  const auto flags = static_cast<std::uint8_t>(value[0]);
  object.exists = (flags & net::kListedExists) != 0;
  object.may_differ = (flags & net::kListedMayDiffer) != 0;
  if (value.size() >= kMeasuredBytes) {
    object.data_blocks = load_le<std::uint32_t>(value.data() + 1);
    object.zero_blocks = load_le<std::uint32_t>(value.data() + 5);
  }
  return object;
}

ListingJob::ListingJob(std::shared_ptr<ObjectIo> objects, StepCode step, std::uint64_t from_snap,
                       Done done)
    : ImageJob(std::move(objects), std::move(done)), step_(step), from_snap_(from_snap) {}

bool ListingJob::add_pgs() {
  const std::uint32_t pgs = objects_->objecter().pg_num(objects_->layout().pool);
  for (; pgs_ < pgs; ++pgs_) to_list_.push_back({pgs_, {}});
  progress_.total = pgs_;
  return pgs_ != 0;
}

void ListingJob::start_more() {
  // A PG that has split answers only who knows of its children: its page is asked for with a map
  // that has them. So when the last page is there, all PGs that matter are among these.
  if (!all_listed_ && !add_pgs()) return fail({ErrorCode::not_found, "there is no such pool"});
  while (!listed_.empty() && has_room()) {
    const std::optional<ListedObject> object = listed_.front();
    listed_.pop_front();
    if (object) {
      handle(*object);
    } else {
      ++progress_.done;
    }
  }
  while (!to_list_.empty() && listing_ < kListingsAtOnce && listed_.size() < kMaxListed) {
    Cursor cursor = std::move(to_list_.front());
    to_list_.pop_front();
    ++listing_;
    when_open([this, cursor = std::move(cursor)] { list(cursor); });
  }
  if (!to_list_.empty() || listing_ != 0 || !listed_.empty() || stopped()) return;
  all_listed_ = true;
  all_listed();
}

void ListingJob::list(const Cursor& cursor) {
  begin();
  net::Step step;
  step.code = step_;
  step.key = objects_->layout().object_prefix + ".";
  step.value = cursor.after;
  step.length = net::kMaxListedObjects;
  step.offset = from_snap_;
  objects_->submit_to_pg(cursor.seed, std::move(step),
                         [self = std::static_pointer_cast<ListingJob>(shared_from_this()), cursor](
                             Status status, const net::OpReply& reply, const Buffer&) {
                           --self->listing_;
                           if (status) self->take_page(cursor, reply);
                           self->end(std::move(status));
                         });
}

void ListingJob::take_page(const Cursor& cursor, const net::OpReply& reply) {
  for (const auto& pair : reply.omap) {
    const auto object = listed_object(objects_->layout().object_prefix, pair);
    if (object && taken_.insert(object->number)) listed_.push_back(object);
  }
  if (reply.omap.size() >= net::kMaxListedObjects) {
    to_list_.push_front({cursor.seed, reply.omap.back().first});
  } else {
    listed_.push_back(std::nullopt);
  }
}

MeasureJob::MeasureJob(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap,
                       std::shared_ptr<ImageUsage> usage, Done done)
    : ListingJob(std::move(objects), StepCode::measure_objects, from_snap, std::move(done)),
      usage_(std::move(usage)) {}

std::shared_ptr<MeasureJob> MeasureJob::start(std::shared_ptr<ObjectIo> objects,
                                              std::uint64_t from_snap, MeasureDone done) {
  auto usage = std::make_shared<ImageUsage>();
  std::shared_ptr<MeasureJob> job(new MeasureJob(
      std::move(objects), from_snap, usage,
      [usage, done = std::move(done)](Status status) mutable { done(std::move(status), *usage); }));
  job->resume();
  return job;
}

void MeasureJob::handle(const ListedObject& object) {
  usage_->used_bytes += object.data_blocks * kBlockBytes;
  usage_->objects += object.exists ? 1 : 0;
}

ChangeJob::ChangeJob(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap, net::Step change,
                     Done done)
    : ListingJob(std::move(objects), StepCode::list_objects, from_snap, std::move(done)),
      change_(std::move(change)) {}

std::shared_ptr<ChangeJob> ChangeJob::begin_job(std::shared_ptr<ChangeJob> job) {
  if (job->objects_->layout().read_only) {
    job->fail({ErrorCode::read_only, "the image is read-only"});
  } else {
    job->resume();
  }
  return job;
}

std::shared_ptr<ChangeJob> ChangeJob::rollback(std::shared_ptr<ObjectIo> objects,
                                               std::uint64_t snap, Done done) {
  return begin_job(std::shared_ptr<ChangeJob>(new ChangeJob(
      std::move(objects), snap, {StepCode::rollback, snap, 0, {}, {}}, std::move(done))));
}

std::shared_ptr<ChangeJob> ChangeJob::remove(std::shared_ptr<ObjectIo> objects,
                                             std::uint64_t first_object, Done done) {
  std::shared_ptr<ChangeJob> job(
      new ChangeJob(std::move(objects), 0, {StepCode::remove, 0, 0, {}, {}}, std::move(done)));
  job->first_object_ = first_object;
  return begin_job(std::move(job));
}

void ChangeJob::handle(const ListedObject& object) {
  const bool wanted = change_.code == StepCode::rollback ? object.may_differ : object.exists;
  if (!wanted || object.number < first_object_) return;
  when_open([this, number = object.number] {
    begin();
    objects_->submit(number, {change_}, {},
                     [self = shared_from_this(), this](Status status, const net::OpReply&,
                                                       const Buffer&) { end(std::move(status)); });
  });
}

SparsifyJob::SparsifyJob(std::shared_ptr<ObjectIo> objects, const SparsifySpec& spec,
                         std::shared_ptr<std::uint64_t> freed_bytes, Done done)
    : ListingJob(std::move(objects), StepCode::list_objects, 0, std::move(done)),
      spec_(spec),
      objects_end_(object_count(objects_->striping(), objects_->layout().size_bytes)),
      freed_bytes_(std::move(freed_bytes)) {}

std::shared_ptr<SparsifyJob> SparsifyJob::start(std::shared_ptr<ObjectIo> objects,
                                                const SparsifySpec& spec, FreedDone done) {
  auto freed_bytes = std::make_shared<std::uint64_t>(0);
  std::shared_ptr<SparsifyJob> job(
      new SparsifyJob(std::move(objects), spec, freed_bytes,
                      [freed_bytes, done = std::move(done)](Status status) mutable {
                        done(std::move(status), *freed_bytes);
                      }));
  const std::uint64_t unit = spec.unit_bytes;
  if (unit < kBlockBytes || !std::has_single_bit(unit) ||
      unit > job->objects_->striping().object_bytes) {
    job->fail({ErrorCode::invalid_argument, "such units do not divide the image's objects"});
  } else {
    job->resume();
  }
  return job;
}

void SparsifyJob::handle(const ListedObject& object) {
  if (!object.exists || object.number >= objects_end_) return;
  when_open([this, number = object.number] {
    begin();
    const std::uint64_t shown = bytes_below(objects_->striping(), number, spec_.shown_bytes);
    const std::uint64_t blocks_end = (shown + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    objects_->submit(
        number, {{StepCode::sparsify, blocks_end, spec_.unit_bytes, {}, {}}}, {},
        [self = shared_from_this(), this](Status status, const net::OpReply& reply, const Buffer&) {
          for (const net::ExtentRun& run : reply.extents) *freed_bytes_ += run.length;
          end(std::move(status));
        });
  });
}

}  // namespace cairn::image
