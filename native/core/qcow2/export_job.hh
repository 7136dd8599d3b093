// ExportJob: a BlockDevice into a raw image file or stream.
//
// Invariants
// - In a stream the bytes leave in order, however the device's reads complete.
// - A sparse file is only written where the device has bytes other than zero.
// Does not: close the file, or snapshot the device (who exports while others write exports a
// snapshot).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "qcow2/copy_job.hh"

namespace cairn::qcow2 {

enum class ExportTarget : std::uint8_t {
  sparse_file,  // an empty regular file; gets the device's length, and is synced at the end
  // A pipe, or a block device from its current position on: zeros are written too. SIGPIPE must be
  // ignored by the process (Node does): a reader that leaves is an error then.
  stream,
};

struct ExportOptions {
  ExportTarget target = ExportTarget::sparse_file;
  std::uint64_t max_in_flight_bytes = std::uint64_t{16} << 20;
};

class ExportJob final : public CopyJob {
 public:
  // done: canceled, or what the device and the file report (no_space, io_error).
  static std::shared_ptr<ExportJob> create(io::Reactor& reactor, image::BlockDevice& source, int fd,
                                           ExportOptions options, CopyDone done);

 private:
  struct Piece;
  ExportJob(io::Reactor& reactor, image::BlockDevice& source, int fd, ExportOptions options,
            CopyDone done);
  std::shared_ptr<ExportJob> self();
  Status prepare_file() const;
  void start_pieces() override;
  void on_failure() override;
  void ask_populated();
  // Where the device may have data, from that place on; the end when it has none there.
  std::uint64_t next_populated(std::uint64_t offset) const;
  void query_extents();
  void take(const image::Extent& extent);
  void on_extents(const Status& status, const std::vector<image::Extent>& extents);
  void start_piece();
  void on_read(const std::shared_ptr<Piece>& piece, const Status& status, Buffer data);
  void write_runs(const std::shared_ptr<Piece>& piece, std::size_t position);
  void write_in_order();
  void piece_ended(const Piece& piece, const Status& status);
  void sync();

  image::BlockDevice& source_;
  int fd_;
  ExportOptions options_;
  std::uint64_t size_bytes_;
  // As BlockDevice::populated() has answered: what lies between is not asked about.
  bool asked_populated_ = false, knows_populated_ = false;
  std::optional<image::ByteRanges> populated_;
  std::uint64_t queried_until_ = 0;
  bool querying_ = false;
  std::deque<image::Extent> extents_;         // to be copied
  std::deque<std::shared_ptr<Piece>> order_;  // of a stream: pieces not yet written
  bool writing_ = false;                      // the front of order_
  bool synced_ = false;
};

}  // namespace cairn::qcow2
