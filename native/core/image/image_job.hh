// ImageJob: what the long jobs over an image's objects share: bounded work under way, the image's
// gate, cancelling, progress, the first error, and the end.
//
// Invariants
//  - At most kMaxUnderWay pieces of work at a time; nothing is sent while the gate holds back.
//  - After the first error or cancel() nothing new is started; done runs once, when nothing is
//  under
//    way any more.
//  - The job keeps itself alive until done has run. It never outlives its executor's loop, but may
//    outlive the image: then it ends as canceled.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "image/object_io.hh"

namespace cairn::image {

// Of the same unit, which is the job's own.
struct JobProgress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

class ImageJob : public std::enable_shared_from_this<ImageJob> {
 public:
  using Done = UniqueFunction<void(Status)>;
  static constexpr std::size_t kMaxUnderWay = 16;

  virtual ~ImageJob() = default;
  ImageJob(const ImageJob&) = delete;
  ImageJob& operator=(const ImageJob&) = delete;

  const JobProgress& progress() const { return progress_; }
  // done gets canceled, unless the job ends by itself first; soon when the image was closed, which
  // answers nothing any more.
  void cancel();

 protected:
  ImageJob(std::shared_ptr<ObjectIo> objects, Done done);

  // Starts what may be started now, or calls succeed(). Called from a task of its own, at the
  // beginning and whenever some work has ended.
  virtual void start_more() = 0;
  void resume();
  bool stopped() const { return ended_ || !outcome_.is_ok(); }
  bool has_room() const { return under_way_ < kMaxUnderWay; }
  bool idle() const { return under_way_ == 0; }
  void begin() { ++under_way_; }
  void end(Status status);
  void fail(Status status);
  void succeed();
  // Runs the work when the gate is open, or not at all; it is under way until then, and what it
  // begins itself after that.
  void when_open(UniqueFunction<void()> work);

  std::shared_ptr<ObjectIo> objects_;
  JobProgress progress_;

 private:
  void finish(Status status);

  Done done_;
  std::size_t under_way_ = 0;
  bool resuming_ = false;
  bool ended_ = false;
  Status outcome_;
};

}  // namespace cairn::image
