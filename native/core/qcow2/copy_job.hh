// CopyJob: what the jobs of this folder share: their state, bounded memory, progress, the first
// error, cancelling, and the end.
//
// Invariants
// - Memory of payload under way: at most max_in_flight_bytes, or one piece if that is larger.
// - After the first error or cancel() nothing new is started; done runs once, when nothing is under
//   way any more. The target may then hold a part of the copy: the owner removes it.
// - The job keeps itself alive until done has run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/ids.hh"
#include "base/status.hh"
#include "base/unique_function.hh"
#include "image/block_device.hh"
#include "io/reactor.hh"

namespace cairn::qcow2 {

struct CopyProgress {
  std::uint64_t handled_bytes = 0;  // of the guest disk, zeros and skipped ranges included
  std::uint64_t read_bytes = 0;     // from the source
  std::uint64_t written_bytes = 0;  // to the target, without skipped zeros
};

using CopyDone = UniqueFunction<void(Status)>;

class CopyJob : public std::enable_shared_from_this<CopyJob> {
 public:
  virtual ~CopyJob() = default;
  CopyJob(const CopyJob&) = delete;
  CopyJob& operator=(const CopyJob&) = delete;

  const CopyProgress& progress() const { return progress_; }
  // done gets canceled, unless the job ends by itself first.
  void cancel() { fail({ErrorCode::canceled, "the copy was canceled"}); }

 protected:
  CopyJob(io::Reactor& reactor, std::uint64_t max_in_flight_bytes, CopyDone done)
      : reactor_(reactor), max_in_flight_bytes_(max_in_flight_bytes), done_(std::move(done)) {}

  // Starts what may be started now. Called soon after resume() and whenever memory came free.
  virtual void start_pieces() = 0;
  // The job has failed: ends waiting for a source that may never answer.
  virtual void on_failure() {}

  // Calls start_pieces() from a task of its own.
  void resume();
  bool stopped() const { return !outcome_.is_ok() || finished_; }
  // Whether a piece of that size may start. A single piece may always.
  bool has_room(std::uint64_t bytes) const {
    return in_flight_bytes_ == 0 || in_flight_bytes_ + bytes <= max_in_flight_bytes_;
  }
  void begin_piece(std::uint64_t bytes);
  void end_piece(std::uint64_t bytes);
  bool idle() const { return pieces_in_flight_ == 0; }
  void fail(Status status);
  // The copy is complete.
  void succeed() { finish(Status::ok()); }

  struct Zeros {
    bool target_is_blank = false;
    std::uint64_t unit_bytes = kBlockBytes;
  };
  // Writes what is not zero in data to the device, in runs that break at units of zeros. Runs of
  // zeros are skipped when the target is blank, else zeroed without payload.
  void write_to_device(image::BlockDevice& device, std::uint64_t offset, Buffer data, Zeros zeros,
                       image::WriteDone done);

  io::Reactor& reactor_;
  CopyProgress progress_;

 private:
  void finish(Status status);

  std::uint64_t max_in_flight_bytes_;
  CopyDone done_;
  std::uint64_t in_flight_bytes_ = 0;
  std::size_t pieces_in_flight_ = 0;
  bool resuming_ = false;  // a task that will call start_pieces() is posted
  bool finished_ = false;
  Status outcome_;  // ok, or the first error
};

}  // namespace cairn::qcow2
