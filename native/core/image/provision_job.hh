// ProvisionJob: gives every block of an image space of its own, by real zeros. It fills absent
// blocks only (copyup), so what is written, before or meanwhile, stays, and it can be run again.
// Of an image without a parent. Progress in bytes.
//
// Each object is filled from its front to its end, several objects at a time: they lie in
// different PGs, so that all OSDs have something to do.
#pragma once

#include <deque>

#include "image/image_job.hh"

namespace cairn::image {

class ProvisionJob final : public ImageJob {
 public:
  static constexpr std::uint64_t kPieceBytes = std::uint64_t{512} << 10;

  // done: invalid_argument when the image has a parent; no_space when the OSDs are full.
  static std::shared_ptr<ProvisionJob> start(std::shared_ptr<ObjectIo> objects, Done done);

 private:
  ProvisionJob(std::shared_ptr<ObjectIo> objects, Done done);
  void start_more() override;
  // The next piece of an object that has been begun, or the first one of the next object.
  bool take_next(ObjectRange& piece);
  ObjectRange piece_at(std::uint64_t number, std::uint64_t offset) const;
  void fill(const ObjectRange& piece);

  std::uint64_t size_bytes_;
  std::uint64_t objects_end_;
  std::uint64_t next_number_ = 0;
  std::deque<ObjectRange> begun_;
  Buffer zeros_;
};

}  // namespace cairn::image
