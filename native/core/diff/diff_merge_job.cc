// Merging record by record: see diff_merge_job.hh.
#include "diff/diff_merge_job.hh"

#include <algorithm>
#include <utility>

#include "qcow2/file_io.hh"

namespace cairn::diff {

std::shared_ptr<DiffMergeJob> DiffMergeJob::create(io::Reactor& reactor,
                                                   std::shared_ptr<DiffReader> first,
                                                   std::shared_ptr<DiffReader> second, int out_fd,
                                                   qcow2::CopyDone done) {
  std::shared_ptr<DiffMergeJob> job(
      new DiffMergeJob(reactor, std::move(first), std::move(second), out_fd, std::move(done)));
  if (Status status = qcow2::make_blocking(out_fd); !status) {
    job->fail(status);
  } else {
    job->resume();
  }
  return job;
}

DiffMergeJob::DiffMergeJob(io::Reactor& reactor, std::shared_ptr<DiffReader> first,
                           std::shared_ptr<DiffReader> second, int out_fd, qcow2::CopyDone done)
    : CopyJob(reactor, 0, std::move(done)), out_fd_(out_fd) {
  first_.name = "first";
  first_.reader = std::move(first);
  second_.name = "second";
  second_.reader = std::move(second);
}

std::shared_ptr<DiffMergeJob> DiffMergeJob::self() {
  return std::static_pointer_cast<DiffMergeJob>(shared_from_this());
}

void DiffMergeJob::start_pieces() {
  while (!stopped() && !waiting_ && step()) {
  }
}

void DiffMergeJob::on_failure() {
  first_.reader->cancel();
  second_.reader->cancel();
  reactor_.cancel_fd(out_fd_);
}

bool DiffMergeJob::step() {
  if (output_.size() >= kOutputBytes) {
    flush();
    return false;
  }
  if (transfer_.left_bytes > 0) return move_payload();
  for (Side* side : {&first_, &second_}) {
    if (!side->has_header) return read_record(*side);
  }
  if (!header_written_) return put_header();
  for (Side* side : {&first_, &second_}) {
    if (side->length_bytes == 0 && !side->ended) return read_record(*side);
  }
  if (first_.length_bytes > 0 || second_.length_bytes > 0) {
    choose();
    return true;
  }
  if (!end_written_) {
    end_written_ = true;
    put_end(output_);
  }
  if (output_.size() == 0) {
    succeed();
  } else {
    flush();
  }
  return false;
}

bool DiffMergeJob::read_record(Side& side) {
  const Result<DiffEvent> event = side.reader->next();
  if (!event) {
    fail({event.status().code(), std::string(side.name) + ": " + event.status().message()});
    return false;
  }
  return take(side, event.value());
}

bool DiffMergeJob::take(Side& side, const DiffEvent& event) {
  switch (event.kind) {
    case EventKind::need_bytes:
      fill(side);
      return false;
    case EventKind::image:
      fail({ErrorCode::invalid_argument,
            std::string(side.name) + ": it is an exported image, not a diff"});
      return false;
    case EventKind::diff:
      if (!side.reader->parser().diff_header().size_bytes) {
        fail({ErrorCode::corrupt, std::string(side.name) + ": the diff does not say the size"});
        return false;
      }
      side.has_header = true;
      return true;
    case EventKind::end:
      end_of(side);
      return true;
    case EventKind::payload:
    case EventKind::finished:
      CAIRN_ASSERT(!"a payload is asked for by move_payload(), and nothing behind the end");
    case EventKind::write:
    case EventKind::zero:
      break;
  }
  if (event.offset < side.offset) {
    fail({ErrorCode::unsupported_feature,
          std::string(side.name) + ": the records of the diff are not in order: offset " +
              std::to_string(event.offset) + " follows " + std::to_string(side.offset)});
    return false;
  }
  side.kind = event.kind == EventKind::write ? RecordKind::write : RecordKind::zero;
  side.offset = event.offset;
  side.length_bytes = event.length_bytes;
  return true;
}

bool DiffMergeJob::put_header() {
  const DiffHeader& first = first_.reader->parser().diff_header();
  const DiffHeader& second = second_.reader->parser().diff_header();
  if (first.to_snap != second.from_snap) {
    fail({ErrorCode::invalid_argument,
          "the first diff ends at \"" + first.to_snap + "\", the second begins at \"" +
              second.from_snap + "\": merge diffs that follow each other, the older one first"});
    return false;
  }
  version_ = std::max(first.version, second.version);
  DiffHeader header = second;
  header.version = version_;
  header.from_snap = first.from_snap;
  put_diff_header(output_, header);
  header_written_ = true;
  return true;
}

// The end as a record: zeros where the image grew, a cut where it shrank.
void DiffMergeJob::end_of(Side& side) {
  const std::uint64_t first_bytes = *first_.reader->parser().diff_header().size_bytes;
  const std::uint64_t second_bytes = *second_.reader->parser().diff_header().size_bytes;
  side.ended = true;
  const bool grows = &side == &first_ && first_bytes < second_bytes;
  const bool shrinks = &side == &second_ && second_bytes < first_bytes;
  side.offset = &side == &first_ ? first_bytes : second_bytes;
  side.kind = grows ? RecordKind::zero : shrinks ? RecordKind::cut : RecordKind::none;
  if (grows) side.length_bytes = second_bytes - first_bytes;
  if (shrinks) side.length_bytes = first_bytes - second_bytes;
}

void DiffMergeJob::choose() {
  const std::uint64_t second_end = second_.offset + second_.length_bytes;
  if (first_.length_bytes > 0 && first_.offset < second_.offset)
    return begin_transfer(first_, std::min(first_.length_bytes, second_.offset - first_.offset),
                          false);
  if (first_.length_bytes > 0 && first_.offset < second_end)
    return begin_transfer(first_, std::min(first_.length_bytes, second_end - first_.offset), true);
  begin_transfer(second_, second_.length_bytes, second_.kind == RecordKind::cut);
}

void DiffMergeJob::begin_transfer(Side& side, std::uint64_t length_bytes, bool drop) {
  CAIRN_ASSERT(length_bytes > 0);
  const std::uint64_t offset = side.offset;
  side.offset += length_bytes;
  side.length_bytes -= length_bytes;
  if (!drop) progress_.handled_bytes = side.offset;
  if (side.kind == RecordKind::write) transfer_ = {&side, length_bytes, drop};
  if (drop) return;
  if (side.kind == RecordKind::write) {
    put_write_head(output_, version_, offset, length_bytes);
  } else {
    put_zero(output_, version_, offset, length_bytes);
  }
}

bool DiffMergeJob::move_payload() {
  Side& side = *transfer_.side;
  if (side.payload.empty()) {
    const Result<DiffEvent> event = side.reader->next();
    // A payload's bytes can't be damaged.
    CAIRN_ASSERT(event.is_ok());
    if (event.value().kind == EventKind::need_bytes) {
      fill(side);
      return false;
    }
    CAIRN_ASSERT(event.value().kind == EventKind::payload);
    side.payload = event.value().payload;
    progress_.read_bytes += side.payload.size();
  }
  const std::size_t length = std::min<std::uint64_t>(side.payload.size(), transfer_.left_bytes);
  if (!transfer_.drop) output_.raw(side.payload.first(length));
  side.payload = side.payload.subspan(length);
  transfer_.left_bytes -= length;
  return true;
}

void DiffMergeJob::fill(Side& side) {
  waiting_ = true;
  begin_piece(0);
  side.reader->fill([job = self(), &side](Status status) {
    job->waiting_ = false;
    if (!status) job->fail({status.code(), std::string(side.name) + ": " + status.message()});
    job->end_piece(0);
  });
}

void DiffMergeJob::flush() {
  waiting_ = true;
  begin_piece(0);
  Buffer bytes = Buffer::copy_of(output_.span());
  output_.clear();
  progress_.written_bytes += bytes.size();
  qcow2::write_fully(reactor_, out_fd_, std::move(bytes), qcow2::kStreamOffset,
                     [job = self()](Status status) {
                       job->waiting_ = false;
                       if (!status) job->fail(status);
                       job->end_piece(0);
                     });
}

}  // namespace cairn::diff
