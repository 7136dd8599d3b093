// Reading, unpacking and writing pieces for import_job.hh.
#include "qcow2/import_job.hh"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "qcow2/file_io.hh"

namespace cairn::qcow2 {

// A piece on its way: its segments are being read into data.
struct ImportJob::PieceCopy {
  Piece piece;
  Buffer data;
  std::size_t pending = 0;  // segments
  Status status;
};

std::shared_ptr<ImportJob> ImportJob::create(io::Reactor& reactor, image::BlockDevice& target,
                                             std::vector<int> sources, ImportOptions options,
                                             UniqueFunction<void()> hungry, CopyDone done) {
  std::shared_ptr<ImportJob> job(new ImportJob(reactor, target, std::move(sources), options,
                                               std::move(hungry), std::move(done)));
  job->resume();
  return job;
}

ImportJob::ImportJob(io::Reactor& reactor, image::BlockDevice& target, std::vector<int> sources,
                     ImportOptions options, UniqueFunction<void()> hungry, CopyDone done)
    : CopyJob(reactor, options.max_in_flight_bytes, std::move(done)),
      target_(target),
      sources_(std::move(sources)),
      options_(options),
      hungry_(std::move(hungry)),
      builder_(target.size_bytes(), sources_.size(), options.target_is_blank) {}

std::shared_ptr<ImportJob> ImportJob::self() {
  return std::static_pointer_cast<ImportJob>(shared_from_this());
}

Status ImportJob::add(std::span<const SourceExtent> extents) {
  CAIRN_ASSERT(!ended_);
  if (stopped()) return Status::ok();
  CAIRN_RETURN_IF_ERROR(builder_.add(extents));
  may_be_hungry_ = true;
  resume();
  return Status::ok();
}

void ImportJob::end() {
  ended_ = true;
  resume();
}

void ImportJob::start_pieces() {
  while (!stopped()) {
    if (!next_piece_) next_piece_ = builder_.next();
    if (!next_piece_ || !has_room(next_piece_->memory_bytes())) break;
    start_piece(*std::exchange(next_piece_, std::nullopt));
  }
  if (stopped()) return;
  if (ended_) {
    if (!next_piece_ && idle()) succeed();
    return;
  }
  if (builder_.queued_extents() < kHungryBelowExtents && std::exchange(may_be_hungry_, false) &&
      hungry_)
    hungry_();
}

void ImportJob::start_piece(Piece piece) {
  begin_piece(piece.memory_bytes());
  auto copy = std::make_shared<PieceCopy>();
  copy->piece = std::move(piece);
  const Piece& what = copy->piece;
  if (what.length_bytes == 0) return piece_ended(what, Status::ok());
  if (what.zero) {
    target_.write_zeroes(
        what.guest_offset, what.length_bytes, true,
        [job = self(), copy](Status status) { job->piece_ended(copy->piece, status); });
    return;
  }
  const bool whole = what.covered_bytes() == what.length_bytes;
  copy->data = whole ? Buffer::allocate(what.length_bytes) : Buffer::zeroed(what.length_bytes);
  copy->pending = what.segments.size();
  for (const Segment& segment : what.segments) read_segment(copy, segment);
}

void ImportJob::read_segment(const std::shared_ptr<PieceCopy>& copy, const Segment& segment) {
  const MutableByteSpan into =
      copy->data.span().subspan(segment.piece_offset, segment.length_bytes);
  const bool plain = segment.kind == SourceKind::data;
  Buffer compressed = plain ? Buffer() : Buffer::allocate(segment.compressed_bytes);
  const MutableByteSpan target = plain ? into : compressed.span();
  // The span outlives the move: it points to the buffer's memory, which the callback owns.
  read_fully(
      reactor_, sources_[segment.source], target, segment.host_offset,
      [job = self(), copy, &segment, into, compressed = std::move(compressed)](Status status,
                                                                               std::size_t length) {
        job->progress_.read_bytes += length;
        const bool plain_data = segment.kind == SourceKind::data;
        const std::size_t wanted = plain_data ? segment.length_bytes : segment.compressed_bytes;
        if (status && length < wanted)
          status = Status(ErrorCode::corrupt, "the file ends before host offset " +
                                                  std::to_string(segment.host_offset + wanted));
        if (status && !plain_data && !job->stopped())
          status = job->unpack(segment, compressed.span(), into);
        job->segment_ended(copy, status);
      });
}

Status ImportJob::unpack(const Segment& segment, ByteSpan compressed, MutableByteSpan into) {
  const auto compression = segment.kind == SourceKind::zlib ? Compression::zlib : Compression::zstd;
  Status status;
  if (segment.length_bytes == segment.cluster_bytes) {
    status = decompressor_.decompress(compression, compressed, into);
  } else {
    Buffer cluster = Buffer::allocate(segment.cluster_bytes);
    status = decompressor_.decompress(compression, compressed, cluster.span());
    if (status) std::memcpy(into.data(), cluster.data() + segment.cluster_offset, into.size());
  }
  if (status) return status;
  return {status.code(), "compressed cluster at host offset " +
                             std::to_string(segment.host_offset) + ": " + status.message()};
}

void ImportJob::segment_ended(const std::shared_ptr<PieceCopy>& copy, const Status& status) {
  if (copy->status && !status) copy->status = status;
  if (--copy->pending != 0) return;
  if (!copy->status || stopped()) return piece_ended(copy->piece, copy->status);
  write_piece(copy);
}

void ImportJob::write_piece(const std::shared_ptr<PieceCopy>& copy) {
  write_to_device(target_, copy->piece.guest_offset, std::exchange(copy->data, {}),
                  {options_.target_is_blank},
                  [job = self(), copy](Status status) { job->piece_ended(copy->piece, status); });
}

void ImportJob::piece_ended(const Piece& piece, const Status& status) {
  if (!status) fail(status);
  progress_.handled_bytes += piece.handled_bytes;
  end_piece(piece.memory_bytes());
}

std::shared_ptr<StreamImportJob> StreamImportJob::create(io::Reactor& reactor,
                                                         image::BlockDevice& target, int fd,
                                                         ImportOptions options, CopyDone done) {
  std::shared_ptr<StreamImportJob> job(
      new StreamImportJob(reactor, target, fd, options, std::move(done)));
  if (Status status = make_blocking(fd); !status) {
    job->fail(status);
  } else {
    job->resume();
  }
  return job;
}

StreamImportJob::StreamImportJob(io::Reactor& reactor, image::BlockDevice& target, int fd,
                                 ImportOptions options, CopyDone done)
    : CopyJob(reactor, options.max_in_flight_bytes, std::move(done)),
      target_(target),
      fd_(fd),
      options_(options) {}

std::shared_ptr<StreamImportJob> StreamImportJob::self() {
  return std::static_pointer_cast<StreamImportJob>(shared_from_this());
}

void StreamImportJob::start_pieces() {
  if (at_end_) {
    if (idle()) succeed();
    return;
  }
  if (reading_ || !has_room(kPieceBytes)) return;
  reading_ = true;
  begin_piece(kPieceBytes);
  Buffer data = Buffer::allocate(kPieceBytes);
  const MutableByteSpan into = data.span();
  read_fully(reactor_, fd_, into, kStreamOffset,
             [job = self(), data = std::move(data)](Status status, std::size_t length) mutable {
               job->on_read(std::move(data), status, length);
             });
}

// A producer that is stuck would never let a canceled job end.
void StreamImportJob::on_failure() { reactor_.cancel_fd(fd_); }

void StreamImportJob::on_read(Buffer data, const Status& status, std::size_t length) {
  reading_ = false;
  at_end_ = length < kPieceBytes;
  progress_.read_bytes += length;
  if (!status) fail(status);
  if (!stopped() && length > target_.size_bytes() - offset_)
    fail({ErrorCode::too_large, "the stream is longer than the " +
                                    std::to_string(target_.size_bytes()) + " bytes of the image"});
  if (stopped() || length == 0) return end_piece(kPieceBytes);
  resume();
  const std::uint64_t at = std::exchange(offset_, offset_ + length);
  write_to_device(target_, at, data.slice(0, length), {options_.target_is_blank},
                  [job = self(), length](Status written) {
                    if (!written) job->fail(written);
                    job->progress_.handled_bytes += length;
                    job->end_piece(kPieceBytes);
                  });
}

}  // namespace cairn::qcow2
