// Reading what differs and writing records: see diff_export_job.hh.
#include "diff/diff_export_job.hh"

#include <algorithm>
#include <utility>

#include "base/ids.hh"
#include "base/zeros.hh"
#include "qcow2/file_io.hh"
#include "qcow2/piece_builder.hh"

namespace cairn::diff {

namespace {
using qcow2::kPieceBytes;
// What a small piece counts for: so that not too many reads are under way.
constexpr std::uint64_t kLeastChargeBytes = std::uint64_t{256} << 10;
}  // namespace

struct DiffExportJob::Piece {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  bool zero = false;  // not read: a zero record
  bool ready = false;
  Buffer data;
  std::uint64_t charge() const { return zero ? 0 : std::max(length_bytes, kLeastChargeBytes); }
};

std::shared_ptr<DiffExportJob> DiffExportJob::create(io::Reactor& reactor,
                                                     image::BlockDevice& device,
                                                     ExtentsSource source, int fd,
                                                     DiffExportOptions options,
                                                     qcow2::CopyDone done) {
  std::shared_ptr<DiffExportJob> job(
      new DiffExportJob(reactor, device, fd, std::move(options), std::move(done)));
  if (Status status = qcow2::make_blocking(fd); !status) {
    job->fail(status);
    return job;
  }
  if (job->options_.image) put_image_header(job->output_, *job->options_.image);
  put_diff_header(job->output_, job->options_.header);
  job->start_source(std::move(source));
  job->resume();
  return job;
}

DiffExportJob::DiffExportJob(io::Reactor& reactor, image::BlockDevice& device, int fd,
                             DiffExportOptions options, qcow2::CopyDone done)
    : CopyJob(reactor, kMaxInFlightBytes, std::move(done)),
      device_(device),
      fd_(fd),
      options_(std::move(options)) {}

std::shared_ptr<DiffExportJob> DiffExportJob::self() {
  return std::static_pointer_cast<DiffExportJob>(shared_from_this());
}

void DiffExportJob::start_source(ExtentsSource source) {
  begin_piece(0);
  cancel_source_ = source(
      [job = self()](std::vector<image::Extent> batch, ExtentsNext next) {
        if (job->stopped()) return next({ErrorCode::canceled, "the export has ended"});
        job->extents_.insert(job->extents_.end(), batch.begin(), batch.end());
        job->next_ = std::move(next);
        job->resume();
      },
      [job = self()](Status status) {
        job->source_ended_ = true;
        job->cancel_source_ = nullptr;
        if (!status) job->fail(status);
        job->end_piece(0);
      });
  if (source_ended_) cancel_source_ = nullptr;
}

void DiffExportJob::start_pieces() {
  while (!extents_.empty() && has_room(kPieceBytes)) start_piece();
  if (extents_.empty() && next_) std::exchange(next_, nullptr)(Status::ok());
  if (source_ended_ && extents_.empty() && order_.empty() && !writing_) {
    if (end_written_) return succeed();
    end_written_ = true;
    put_end(output_);
  }
  write_ready();
}

// A reader of the stream that is stuck would never let a canceled job end, nor would a source.
void DiffExportJob::on_failure() {
  reactor_.cancel_fd(fd_);
  if (next_) std::exchange(next_, nullptr)({ErrorCode::canceled, "the export has ended"});
  if (cancel_source_) std::exchange(cancel_source_, nullptr)();
  for (const std::shared_ptr<Piece>& piece : std::exchange(order_, {})) {
    if (piece->ready) end_piece(piece->charge());
  }
}

void DiffExportJob::start_piece() {
  image::Extent& extent = extents_.front();
  auto piece = std::make_shared<Piece>();
  piece->offset = extent.offset;
  piece->zero = extent.state == image::ExtentState::zero ||
                (extent.state == image::ExtentState::absent && !options_.absent_is_parent);
  piece->length_bytes =
      piece->zero ? extent.length_bytes
                  : std::min(extent.length_bytes, kPieceBytes - extent.offset % kPieceBytes);
  extent.offset += piece->length_bytes;
  extent.length_bytes -= piece->length_bytes;
  if (extent.length_bytes == 0) extents_.pop_front();
  begin_piece(piece->charge());
  order_.push_back(piece);
  if (piece->zero) {
    piece->ready = true;
    return;
  }
  device_.read(piece->offset, piece->length_bytes,
               [job = self(), piece](Status status, Buffer data) {
                 job->on_read(piece, status, std::move(data));
               });
}

void DiffExportJob::on_read(const std::shared_ptr<Piece>& piece, const Status& status,
                            Buffer data) {
  if (!status) fail(status);
  if (stopped()) return end_piece(piece->charge());
  progress_.read_bytes += data.size();
  piece->data = std::move(data);
  piece->ready = true;
  resume();
}

void DiffExportJob::add_records(const Piece& piece) {
  const std::uint8_t version = options_.header.version;
  if (piece.zero) return put_zero(output_, version, piece.offset, piece.length_bytes);
  for (std::size_t position = 0; position < piece.data.size();) {
    const std::uint64_t at = piece.offset + position;
    const ByteSpan rest = piece.data.span().subspan(position);
    const ZeroRun run = next_zero_run(rest, at % kBlockBytes, kBlockBytes);
    if (run.zero) {
      put_zero(output_, version, at, run.length);
    } else {
      put_write_head(output_, version, at, run.length);
      output_.raw(rest.first(run.length));
    }
    position += run.length;
  }
}

// Small records leave together.
void DiffExportJob::write_ready() {
  if (writing_ || stopped()) return;
  while (!order_.empty() && order_.front()->ready && output_.size() < kPieceBytes) {
    const std::shared_ptr<Piece> piece = std::exchange(order_.front(), nullptr);
    order_.pop_front();
    add_records(*piece);
    progress_.handled_bytes = piece->offset + piece->length_bytes;
    end_piece(piece->charge());
  }
  if (output_.size() == 0) return;
  writing_ = true;
  begin_piece(0);
  Buffer bytes = Buffer::copy_of(output_.span());
  output_.clear();
  progress_.written_bytes += bytes.size();
  qcow2::write_fully(reactor_, fd_, std::move(bytes), qcow2::kStreamOffset,
                     [job = self()](Status status) {
                       job->writing_ = false;
                       if (!status) job->fail(status);
                       job->end_piece(0);
                     });
}

}  // namespace cairn::diff
