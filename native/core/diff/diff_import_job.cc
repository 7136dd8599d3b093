// Applying records: see diff_import_job.hh.
#include "diff/diff_import_job.hh"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "qcow2/piece_builder.hh"

namespace cairn::diff {

namespace {
using qcow2::kPieceBytes;
using qcow2::kZeroPieceBytes;
// What a zeroing counts for: so that not too many are under way.
constexpr std::uint64_t kZeroChargeBytes = std::uint64_t{256} << 10;
}  // namespace

std::shared_ptr<DiffImportJob> DiffImportJob::create(io::Reactor& reactor,
                                                     image::BlockDevice& target,
                                                     std::shared_ptr<DiffReader> source,
                                                     std::uint64_t zero_unit_bytes,
                                                     qcow2::CopyDone done) {
  std::shared_ptr<DiffImportJob> job(
      new DiffImportJob(reactor, target, std::move(source), zero_unit_bytes, std::move(done)));
  if (zero_unit_bytes < kBlockBytes || zero_unit_bytes > kPieceBytes ||
      !std::has_single_bit(zero_unit_bytes)) {
    job->fail({ErrorCode::invalid_argument, "zeros are freed in units of 4096 bytes to 1 MiB"});
    return job;
  }
  job->resume();
  return job;
}

DiffImportJob::DiffImportJob(io::Reactor& reactor, image::BlockDevice& target,
                             std::shared_ptr<DiffReader> source, std::uint64_t zero_unit_bytes,
                             qcow2::CopyDone done)
    : CopyJob(reactor, kMaxInFlightBytes, std::move(done)),
      target_(target),
      source_(std::move(source)),
      zero_unit_bytes_(zero_unit_bytes) {}

std::shared_ptr<DiffImportJob> DiffImportJob::self() {
  return std::static_pointer_cast<DiffImportJob>(shared_from_this());
}

void DiffImportJob::start_pieces() {
  while (!stopped() && !filling_ && !ended_ && has_room(kPieceBytes)) {
    if (zero_bytes_ > 0) {
      zero_some();
    } else if (!take_next()) {
      break;
    }
  }
  if (ended_ && idle() && !stopped()) succeed();
}

// A producer that is stuck would never let a canceled job end.
void DiffImportJob::on_failure() { source_->cancel(); }

bool DiffImportJob::take_next() {
  if (waiting_) {
    if (!idle()) return false;
    highest_ = 0;
    return take(*std::exchange(waiting_, std::nullopt));
  }
  const Result<DiffEvent> event = source_->next();
  if (!event) {
    fail(event.status());
    return false;
  }
  return take(event.value());
}

bool DiffImportJob::take(const DiffEvent& event) {
  switch (event.kind) {
    case EventKind::need_bytes:
      fill();
      return false;
    case EventKind::write:
    case EventKind::zero:
      if (event.offset < highest_) {
        write_piece();
        waiting_ = event;
        return true;
      }
      highest_ = event.offset + event.length_bytes;
      record_offset_ = event.offset;
      if (event.kind == EventKind::write) return true;
      write_piece();
      zero_offset_ = event.offset;
      zero_bytes_ = event.length_bytes;
      return true;
    case EventKind::payload:
      take_payload(event.payload);
      return true;
    case EventKind::end:
      write_piece();
      ended_ = true;
      return false;
    default:
      CAIRN_ASSERT(!"the diff's own header has come before, and the next one comes behind its end");
  }
}

// Into pieces that end at multiples of their size.
void DiffImportJob::take_payload(ByteSpan bytes) {
  progress_.read_bytes += bytes.size();
  while (!bytes.empty() && !stopped()) {
    if (piece_offset_ + piece_bytes_ != record_offset_) write_piece();
    if (piece_bytes_ == 0) {
      piece_offset_ = record_offset_;
      piece_ = Buffer::allocate(kPieceBytes - record_offset_ % kPieceBytes);
    }
    const std::size_t length = std::min(bytes.size(), piece_.size() - piece_bytes_);
    std::memcpy(piece_.data() + piece_bytes_, bytes.data(), length);
    bytes = bytes.subspan(length);
    piece_bytes_ += length;
    record_offset_ += length;
    if (piece_bytes_ == piece_.size()) write_piece();
  }
}

void DiffImportJob::fill() {
  filling_ = true;
  begin_piece(0);
  source_->fill([job = self()](Status status) {
    job->filling_ = false;
    job->piece_ended(0, 0, status);
  });
}

void DiffImportJob::write_piece() {
  if (piece_bytes_ == 0) return;
  const std::size_t length = std::exchange(piece_bytes_, 0);
  begin_piece(kPieceBytes);
  write_to_device(
      target_, piece_offset_, std::exchange(piece_, {}).slice(0, length), {false, zero_unit_bytes_},
      [job = self(), length](Status status) { job->piece_ended(kPieceBytes, length, status); });
}

void DiffImportJob::zero_some() {
  const std::uint64_t offset = zero_offset_;
  const std::uint64_t length =
      std::min(zero_bytes_, kZeroPieceBytes - zero_offset_ % kZeroPieceBytes);
  zero_offset_ += length;
  zero_bytes_ -= length;
  begin_piece(kZeroChargeBytes);
  target_.write_zeroes(offset, length, true, [job = self(), length](Status status) {
    job->piece_ended(kZeroChargeBytes, length, status);
  });
}

void DiffImportJob::piece_ended(std::uint64_t charged_bytes, std::uint64_t handled_bytes,
                                const Status& status) {
  if (!status) fail(status);
  progress_.handled_bytes += handled_bytes;
  end_piece(charged_bytes);
}

}  // namespace cairn::diff
