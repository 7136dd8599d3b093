// Reading the device and writing the file for export_job.hh.
#include "qcow2/export_job.hh"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/ids.hh"
#include "base/zeros.hh"
#include "qcow2/file_io.hh"
#include "qcow2/piece_builder.hh"

namespace cairn::qcow2 {

namespace {

// One question for allocation states: at one extent per 4 KiB block, 16 384 extents.
constexpr std::uint64_t kQueryBytes = std::uint64_t{64} << 20;
// The next question is asked when so few are left, so that reading needs not wait for its answer.
constexpr std::size_t kFewExtents = 4;

}  // namespace

struct ExportJob::Piece {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  Buffer data;  // once it is there
  bool ready = false;
};

std::shared_ptr<ExportJob> ExportJob::create(io::Reactor& reactor, image::BlockDevice& source,
                                             int fd, ExportOptions options, CopyDone done) {
  std::shared_ptr<ExportJob> job(new ExportJob(reactor, source, fd, options, std::move(done)));
  if (Status status = job->prepare_file(); !status) {
    job->fail(status);
  } else {
    job->resume();
  }
  return job;
}

ExportJob::ExportJob(io::Reactor& reactor, image::BlockDevice& source, int fd,
                     ExportOptions options, CopyDone done)
    : CopyJob(reactor, options.max_in_flight_bytes, std::move(done)),
      source_(source),
      fd_(fd),
      options_(options),
      size_bytes_(source.size_bytes()) {}

std::shared_ptr<ExportJob> ExportJob::self() {
  return std::static_pointer_cast<ExportJob>(shared_from_this());
}

Status ExportJob::prepare_file() const {
  if (options_.target == ExportTarget::stream) return make_blocking(fd_);
  if (::ftruncate(fd_, static_cast<off_t>(size_bytes_)) != 0)
    return Status::from_errno(errno, "set the size of the image file");
  return Status::ok();
}

void ExportJob::start_pieces() {
  if (!std::exchange(asked_populated_, true)) return ask_populated();
  if (!knows_populated_) return;
  while (!extents_.empty() && has_room(kPieceBytes)) start_piece();
  if (extents_.size() < kFewExtents && queried_until_ < size_bytes_ && !querying_)
    return query_extents();
  if (!extents_.empty() || querying_ || !idle()) return;
  if (options_.target == ExportTarget::sparse_file && !synced_) return sync();
  succeed();
}

// A reader of the stream that is stuck would never let a canceled job end.
void ExportJob::on_failure() {
  if (options_.target == ExportTarget::stream) reactor_.cancel_fd(fd_);
  // What is not being written any more never will be.
  while (order_.size() > (writing_ ? 1U : 0U)) {
    const std::shared_ptr<Piece> piece = order_.back();
    order_.pop_back();
    if (piece->ready) end_piece(kPieceBytes);
  }
}

void ExportJob::ask_populated() {
  begin_piece(0);
  source_.populated([job = self()](Status status, std::optional<image::ByteRanges> ranges) {
    // A list that can't be had costs time only: each object is asked for, which another copy can
    // answer when a disk has failed.
    if (status) job->populated_ = std::move(ranges);
    job->knows_populated_ = true;
    job->end_piece(0);
  });
}

std::uint64_t ExportJob::next_populated(std::uint64_t offset) const {
  if (!populated_) return offset;
  const auto range =
      std::upper_bound(populated_->begin(), populated_->end(), offset,
                       [](std::uint64_t place, const auto& other) { return place < other.second; });
  if (range == populated_->end()) return size_bytes_;
  return std::min(std::max(offset, range->first), size_bytes_);
}

void ExportJob::query_extents() {
  const std::uint64_t next = next_populated(queried_until_);
  if (next > queried_until_) {
    take({queried_until_, next - queried_until_, image::ExtentState::absent});
    return resume();
  }
  querying_ = true;
  begin_piece(0);
  const std::uint64_t length = std::min(size_bytes_ - queried_until_, kQueryBytes);
  source_.extents(queried_until_, length,
                  [job = self()](Status status, std::vector<image::Extent> extents) {
                    job->on_extents(status, extents);
                  });
}

void ExportJob::on_extents(const Status& status, const std::vector<image::Extent>& extents) {
  querying_ = false;
  if (!status) fail(status);
  for (const image::Extent& extent : extents) take(extent);
  end_piece(0);
}

void ExportJob::take(const image::Extent& extent) {
  CAIRN_ASSERT(extent.offset == queried_until_ && extent.length_bytes != 0);
  queried_until_ += extent.length_bytes;
  const bool skip =
      options_.target == ExportTarget::sparse_file && extent.state != image::ExtentState::data;
  if (skip) {
    progress_.handled_bytes += extent.length_bytes;
  } else {
    extents_.push_back(extent);
  }
}

void ExportJob::start_piece() {
  image::Extent& extent = extents_.front();
  auto piece = std::make_shared<Piece>();
  piece->offset = extent.offset;
  piece->length_bytes = std::min(extent.length_bytes, kPieceBytes - extent.offset % kPieceBytes);
  const bool is_data = extent.state == image::ExtentState::data;
  extent.offset += piece->length_bytes;
  extent.length_bytes -= piece->length_bytes;
  if (extent.length_bytes == 0) extents_.pop_front();

  begin_piece(kPieceBytes);
  if (options_.target == ExportTarget::stream) order_.push_back(piece);
  if (is_data) {
    source_.read(piece->offset, piece->length_bytes,
                 [job = self(), piece](Status status, Buffer data) {
                   job->progress_.read_bytes += data.size();
                   job->on_read(piece, status, std::move(data));
                 });
  } else {
    // From a task of its own, as the completion of a read.
    reactor_.post([job = self(), piece] {
      job->on_read(piece, Status::ok(), Buffer::zeroed(piece->length_bytes));
    });
  }
}

void ExportJob::on_read(const std::shared_ptr<Piece>& piece, const Status& status, Buffer data) {
  if (!status) fail(status);
  if (stopped()) {
    // The stream's order may still hold it, unless on_failure() has dropped it.
    std::erase(order_, piece);
    return end_piece(kPieceBytes);
  }
  piece->data = std::move(data);
  piece->ready = true;
  if (options_.target == ExportTarget::stream) {
    write_in_order();
  } else {
    write_runs(piece, 0);
  }
}

// Writes the runs of a sparse file's piece one after the other, from position on.
void ExportJob::write_runs(const std::shared_ptr<Piece>& piece, std::size_t position) {
  while (position < piece->data.size() && !stopped()) {
    const std::uint64_t at = piece->offset + position;
    const ZeroRun run =
        next_zero_run(piece->data.span().subspan(position), at % kBlockBytes, kBlockBytes);
    const std::size_t next = position + run.length;
    if (!run.zero) {
      progress_.written_bytes += run.length;
      write_fully(reactor_, fd_, piece->data.slice(position, run.length), at,
                  [job = self(), piece, next](Status status) {
                    if (!status) return job->piece_ended(*piece, status);
                    job->write_runs(piece, next);
                  });
      return;
    }
    position = next;
  }
  piece_ended(*piece, Status::ok());
}

void ExportJob::write_in_order() {
  if (writing_ || order_.empty() || !order_.front()->ready || stopped()) return;
  writing_ = true;
  const std::shared_ptr<Piece> piece = order_.front();
  write_fully(reactor_, fd_, piece->data, kStreamOffset, [job = self(), piece](Status status) {
    job->writing_ = false;
    job->order_.pop_front();
    if (status) job->progress_.written_bytes += piece->length_bytes;
    job->piece_ended(*piece, status);
    job->write_in_order();
  });
}

void ExportJob::piece_ended(const Piece& piece, const Status& status) {
  if (!status) fail(status);
  progress_.handled_bytes += piece.length_bytes;
  end_piece(kPieceBytes);
}

void ExportJob::sync() {
  begin_piece(0);
  reactor_.fdatasync(fd_, [job = self()](int result) {
    if (result < 0) job->fail(Status::from_errno(-result, "sync the image file"));
    job->synced_ = true;
    job->end_piece(0);
  });
}

}  // namespace cairn::qcow2
