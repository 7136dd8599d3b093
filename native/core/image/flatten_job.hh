// FlattenJob: copies into a clone what it still shows of its parent, while the clone is in use. It
// fills absent blocks only (copyup), so whatever is written meanwhile stays; blocks of zeros stay
// absent. When it has ended, the parent may be taken away. Progress in objects.
#pragma once

#include <deque>

#include "image/image_job.hh"

namespace cairn::image {

class FlattenJob final : public ImageJob {
 public:
  static constexpr std::uint64_t kPieceBytes = std::uint64_t{512} << 10;

  // done: ok at once when there is no parent.
  static std::shared_ptr<FlattenJob> start(std::shared_ptr<ObjectIo> objects, Done done);

 private:
  FlattenJob(std::shared_ptr<ObjectIo> objects, Done done);
  std::shared_ptr<FlattenJob> self();
  void start_more() override;
  // Which of the object's blocks are to be copied.
  void look_at(std::uint64_t number);
  void look_at_parent(std::uint64_t number, const std::vector<net::ExtentRun>& runs);
  void copy(const ObjectRange& range);
  void fill(const ObjectRange& range, const Buffer& data);

  ParentLink parent_;
  std::uint64_t next_number_ = 0;
  std::size_t looking_ = 0;          // objects that are looked at
  std::deque<ObjectRange> to_copy_;  // whole blocks
};

}  // namespace cairn::image
