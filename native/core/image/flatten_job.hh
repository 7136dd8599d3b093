// FlattenJob: copies into a clone what it still shows of its parent, while the clone is in use. It
// fills absent blocks only (copyup), so whatever is written meanwhile stays; blocks of zeros stay
// absent. When it has ended, the parent may be taken away. With layers named, what these snapshots
// show of the parent is copied too, for the head and all of them at once. Progress in objects.
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "image/image_job.hh"

namespace cairn::image {

// A part of the image, and the layers that get what the parent shows there.
struct FlattenScope {
  std::vector<std::uint64_t> layers;  // snapshots, ascending, kHead last; none: the head
  std::uint64_t from_bytes = 0;
  std::uint64_t to_bytes = ~std::uint64_t{0};  // both whole blocks, or the parent's end
  // Parts of that, ascending, whole blocks as well: begins and ends; none: all of it.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges = {};
  // Blocks of data that are zeros are copied too: else they stay absent.
  bool copies_zeros = false;
};

class FlattenJob final : public ImageJob {
 public:
  static constexpr std::uint64_t kPieceBytes = std::uint64_t{512} << 10;

  // done: ok at once when there is no parent.
  static std::shared_ptr<FlattenJob> start(std::shared_ptr<ObjectIo> objects, FlattenScope scope,
                                           Done done);
  static std::shared_ptr<FlattenJob> start(std::shared_ptr<ObjectIo> objects, Done done) {
    return start(std::move(objects), {}, std::move(done));
  }

 private:
  FlattenJob(std::shared_ptr<ObjectIo> objects, FlattenScope scope, Done done);
  std::shared_ptr<FlattenJob> self();
  void start_more() override;
  // What the parent may have of a part of the object, and where that begins in the object.
  struct Question {
    std::uint64_t object_offset = 0, image_offset = 0, length = 0;
  };
  std::vector<Question> questions_of(std::uint64_t number, std::uint64_t offset,
                                     std::uint64_t length) const;
  // Asks for the objects of the image over which the parent may have data: cost follows these.
  void ask_parent();
  // Goes on to the next number of such an object. Returns whether there is one.
  bool find_next();
  // Which of the object's blocks are to be copied.
  void look_at(std::uint64_t number);
  void look_at_parent(std::uint64_t number, const std::vector<net::ExtentRun>& runs);
  void copy(const ObjectRange& range);
  void fill(const ObjectRange& range, const Buffer& data);

  FlattenScope scope_;
  ParentLink parent_;
  std::uint64_t piece_bytes_ = kPieceBytes;
  bool asked_ = false, answered_ = false;  // the parent
  std::vector<bool> in_parent_;            // by number
  std::uint64_t next_number_ = 0;
  std::size_t looking_ = 0;          // objects that are looked at
  std::deque<ObjectRange> to_copy_;  // whole blocks
};

}  // namespace cairn::image
