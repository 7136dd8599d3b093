// The shared half of the copy jobs.
#include "qcow2/copy_job.hh"

#include <utility>

#include "base/zeros.hh"

namespace cairn::qcow2 {

namespace {

// The writes of one piece: done runs after the last, with the first error.
struct Writes {
  image::WriteDone done;
  std::size_t pending = 1;  // the loop that starts them counts as one
  Status status;

  static void ended(const std::shared_ptr<Writes>& writes, const Status& status) {
    if (writes->status && !status) writes->status = status;
    if (--writes->pending == 0) writes->done(writes->status);
  }
};

}  // namespace

void CopyJob::resume() {
  if (resuming_ || stopped()) return;
  resuming_ = true;
  reactor_.post([self = shared_from_this()] {
    self->resuming_ = false;
    if (!self->stopped()) self->start_pieces();
  });
}

void CopyJob::begin_piece(std::uint64_t bytes) {
  in_flight_bytes_ += bytes;
  ++pieces_in_flight_;
}

void CopyJob::end_piece(std::uint64_t bytes) {
  CAIRN_ASSERT(pieces_in_flight_ > 0 && in_flight_bytes_ >= bytes);
  in_flight_bytes_ -= bytes;
  --pieces_in_flight_;
  if (outcome_.is_ok()) return resume();
  if (idle()) finish(outcome_);
}

void CopyJob::fail(Status status) {
  CAIRN_ASSERT(!status.is_ok());
  if (stopped()) return;
  outcome_ = std::move(status);
  on_failure();
  if (idle()) finish(outcome_);
}

// From a task of its own, so that the owner may drop the job in done.
void CopyJob::finish(Status status) {
  if (finished_) return;
  finished_ = true;
  reactor_.post([self = shared_from_this(), status = std::move(status)] {
    std::exchange(self->done_, nullptr)(status);
  });
}

void CopyJob::write_to_device(image::BlockDevice& device, std::uint64_t offset, Buffer data,
                              Zeros zeros, image::WriteDone done) {
  auto writes = std::make_shared<Writes>();
  writes->done = std::move(done);
  for (std::size_t position = 0; position < data.size();) {
    const std::uint64_t at = offset + position;
    const std::uint64_t unit = zeros.unit_bytes;
    const ZeroRun run = next_zero_run(data.span().subspan(position), at % unit, unit);
    auto ended = [writes](Status status) { Writes::ended(writes, status); };
    if (!run.zero) {
      ++writes->pending;
      progress_.written_bytes += run.length;
      device.write(at, data.slice(position, run.length), std::move(ended));
    } else if (!zeros.target_is_blank) {
      ++writes->pending;
      device.write_zeroes(at, run.length, true, std::move(ended));
    }
    position += run.length;
  }
  Writes::ended(writes, Status::ok());
}

}  // namespace cairn::qcow2
