// DiffExportJob: what differs of a BlockDevice, as one diff, to a descriptor.
//
// Invariants
// - Records leave in order of the image, however the device's reads complete.
// - Bytes that read as zeros leave as zero records, also inside data.
// - The caller writes nothing to the descriptor while the job runs. Nothing but the end record says
//   that a diff is complete, and it is written last.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "diff/diff_format.hh"
#include "qcow2/copy_job.hh"

namespace cairn::diff {

// Where the differences come from: image::DiffJob, or a list of a test.
using ExtentsNext = std::function<void(const Status&)>;
using ExtentsReceiver = std::function<void(std::vector<image::Extent> batch, ExtentsNext next)>;
// Begins; returns how to cancel it: then it ends soon, in any case by calling done.
using ExtentsSource = UniqueFunction<std::function<void()>(ExtentsReceiver receiver,
                                                           UniqueFunction<void(Status)> done)>;

struct DiffExportOptions {
  DiffHeader header;  // of a device of this size
  // Written before the diff: of the first one of an exported image.
  std::optional<ImageHeader> image;
  // Absent blocks show a parent: they are read, as data is.
  bool absent_is_parent = false;
};

class DiffExportJob final : public qcow2::CopyJob {
 public:
  static constexpr std::uint64_t kMaxInFlightBytes = std::uint64_t{16} << 20;

  // done: canceled, or what the source, the device and the descriptor report.
  static std::shared_ptr<DiffExportJob> create(io::Reactor& reactor, image::BlockDevice& device,
                                               ExtentsSource source, int fd,
                                               DiffExportOptions options, qcow2::CopyDone done);

 private:
  struct Piece;
  DiffExportJob(io::Reactor& reactor, image::BlockDevice& device, int fd, DiffExportOptions options,
                qcow2::CopyDone done);
  std::shared_ptr<DiffExportJob> self();
  void start_source(ExtentsSource source);
  void start_pieces() override;
  void on_failure() override;
  void start_piece();
  void on_read(const std::shared_ptr<Piece>& piece, const Status& status, Buffer data);
  void add_records(const Piece& piece);
  void write_ready();

  image::BlockDevice& device_;
  int fd_;
  DiffExportOptions options_;
  std::function<void()> cancel_source_;
  bool source_ended_ = false;
  ExtentsNext next_;                          // asks for the next batch
  std::deque<image::Extent> extents_;         // to be read
  std::deque<std::shared_ptr<Piece>> order_;  // not yet written
  Writer output_;                             // of the write that comes next
  bool writing_ = false;
  bool end_written_ = false;
};

}  // namespace cairn::diff
