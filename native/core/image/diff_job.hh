// DiffJob: which blocks of an image differ between a snapshot (or nothing) and what the image reads
// (a snapshot, or its head), with their state there. The PGs list the objects that may differ, and
// only those are asked for their blocks. From nothing, a clone's difference includes its parent,
// which is asked first where it has anything.
//
// The extents come in order of the image, in batches; the next batch comes when the receiver has
// called `next`, and none when it says an error: that ends the job. Memory: three bits an object,
// and a bounded number of objects' extents.
#pragma once

#include <deque>

#include "image/listing_job.hh"

namespace cairn::image {

struct DiffSpec {
  std::uint64_t from_snap = 0;  // 0: nothing
  // Objects that may differ are reported as a whole, without asking for their blocks.
  bool whole_object = false;
};

class DiffJob final : public ListingJob {
 public:
  // A batch ends with the object that makes it this long.
  static constexpr std::size_t kBatchExtents = 4096;
  using Receiver =
      std::function<void(std::vector<Extent> batch, std::function<void(const Status&)> next)>;

  static std::shared_ptr<DiffJob> start(std::shared_ptr<ObjectIo> objects, const DiffSpec& spec,
                                        Receiver receiver, Done done);

 private:
  // The objects of an object set: their extents interleave in the image.
  struct Set {
    std::vector<Extent> extents;
    std::size_t pending = 0;
  };
  DiffJob(std::shared_ptr<ObjectIo> objects, const DiffSpec& spec, Receiver receiver, Done done);
  void handle(const ListedObject& object) override;
  void all_listed() override;
  // Asks for the objects over which the parent may have something.
  void ask_parent();
  bool may_have(std::uint64_t number) const { return may_differ_[number] || in_parent_[number]; }
  // The next set with an object that may differ is asked; false: there is none.
  bool ask_next_set();
  void ask(std::uint64_t number, const std::shared_ptr<Set>& set);
  void answered(const std::shared_ptr<Set>& set, Status status);
  // Hands over what is complete at the front.
  void deliver();

  DiffSpec spec_;
  Receiver receiver_;
  std::uint64_t size_bytes_;
  ParentLink parent_;  // of a difference from nothing, until it has answered
  bool asked_ = false, answered_ = false;
  std::vector<bool> may_differ_, exists_, in_parent_;
  std::uint64_t next_number_ = 0;
  std::deque<std::shared_ptr<Set>> order_;
  std::vector<Extent> batch_;
  bool handed_over_ = false;
};

}  // namespace cairn::image
