// ListingJob: the objects of an image that exist or differ, as the PGs of its pool list them from
// their snap sets, each handled as it comes. And the jobs that need no more than that.
//
// Invariants
//  - Each object that is there all the time is handled once, also when the pool's PGs split while
//    they are listed: PGs that are new are listed too, from their beginning, and what their parents
//    have listed before is known by its number.
#pragma once

#include <deque>
#include <optional>

#include "image/image_job.hh"
#include "image/object_numbers.hh"

namespace cairn::image {

struct ListedObject {
  std::uint64_t number = 0;
  bool exists = false;      // at the snapshot that the image reads, or now
  bool may_differ = false;  // from the snapshot that was given
  // Blocks that differ: only when they were asked for.
  std::uint32_t data_blocks = 0;
  std::uint32_t zero_blocks = 0;
};

// Of an answer's pair; nothing for a name that is no object of the image.
std::optional<ListedObject> listed_object(const std::string& object_prefix,
                                          const std::pair<std::string, std::string>& pair);

class ListingJob : public ImageJob {
 protected:
  // step: list_objects or measure_objects, from from_snap (0: nothing).
  ListingJob(std::shared_ptr<ObjectIo> objects, net::StepCode step, std::uint64_t from_snap,
             Done done);

  // begin() and end() what it starts.
  virtual void handle(const ListedObject& object) = 0;
  // All objects have been handled, which may have work under way. Called again whenever some ends.
  virtual void all_listed() {
    if (idle()) succeed();
  }
  void start_more() final;

 private:
  struct Cursor {
    std::uint32_t seed = 0;
    std::string after;
  };
  // The PGs that the pool has and that are not listed yet. False: there is no such pool.
  bool add_pgs();
  void list(const Cursor& cursor);
  void take_page(const Cursor& cursor, const net::OpReply& reply);

  net::StepCode step_;
  std::uint64_t from_snap_;
  std::uint32_t pgs_ = 0;    // that are or will be listed
  bool all_listed_ = false;  // PGs that come from now on have nothing new
  ObjectNumbers taken_;      // of what has been handled, or waits for it
  std::deque<Cursor> to_list_;
  std::size_t listing_ = 0;
  // nullopt: one more PG is through.
  std::deque<std::optional<ListedObject>> listed_;
};

struct ImageUsage {
  std::uint64_t used_bytes = 0;
  std::uint64_t objects = 0;
};

// What the image's own objects hold, or what of it differs from a snapshot; without its parent.
class MeasureJob final : public ListingJob {
 public:
  using MeasureDone = UniqueFunction<void(Status, ImageUsage)>;
  static std::shared_ptr<MeasureJob> start(std::shared_ptr<ObjectIo> objects,
                                           std::uint64_t from_snap, MeasureDone done);

 private:
  MeasureJob(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap,
             std::shared_ptr<ImageUsage> usage, Done done);
  void handle(const ListedObject& object) override;
  std::shared_ptr<ImageUsage> usage_;
};

// One change for each listed object, under the image's lock. Progress in PGs.
class ChangeJob final : public ListingJob {
 public:
  // The image's objects become what they were at the snapshot.
  static std::shared_ptr<ChangeJob> rollback(std::shared_ptr<ObjectIo> objects, std::uint64_t snap,
                                             Done done);
  // All objects of the image from this number on go, also those behind its end; snapshots keep what
  // they show. No parent shows where they were.
  static std::shared_ptr<ChangeJob> remove(std::shared_ptr<ObjectIo> objects,
                                           std::uint64_t first_object, Done done);

 private:
  ChangeJob(std::shared_ptr<ObjectIo> objects, std::uint64_t from_snap, net::Step change,
            Done done);
  static std::shared_ptr<ChangeJob> begin_job(std::shared_ptr<ChangeJob> job);
  void handle(const ListedObject& object) override;
  net::Step change_;
  std::uint64_t first_object_ = 0;
};

struct SparsifySpec {
  std::uint64_t unit_bytes = kBlockBytes;  // what holds other bytes too stays whole
  // Zeros before this place of the image stay explicit: so far reaches what any of its layers, the
  // head or a snapshot, may show of a parent.
  std::uint64_t shown_bytes = 0;
};

// The OSDs free the blocks of zeros of the image's objects. No layer shows other bytes afterwards,
// so it needs neither the image's lock nor its snap context: without one no snapshot gets a clone
// for the sake of zeros. Progress in PGs.
class SparsifyJob final : public ListingJob {
 public:
  using FreedDone = UniqueFunction<void(Status, std::uint64_t freed_bytes)>;
  // done: also of a job that fails, what was freed.
  static std::shared_ptr<SparsifyJob> start(std::shared_ptr<ObjectIo> objects,
                                            const SparsifySpec& spec, FreedDone done);

 private:
  SparsifyJob(std::shared_ptr<ObjectIo> objects, const SparsifySpec& spec,
              std::shared_ptr<std::uint64_t> freed_bytes, Done done);
  void handle(const ListedObject& object) override;
  SparsifySpec spec_;
  std::uint64_t objects_end_ = 0;
  std::shared_ptr<std::uint64_t> freed_bytes_;
};

}  // namespace cairn::image
