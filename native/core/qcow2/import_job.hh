// Import: image files into a BlockDevice.
//
// ImportJob copies extents that somebody else found (qcow2/ in TypeScript for qcow2, raw_extents.hh
// for raw files), in guest order, many pieces at a time. StreamImportJob copies a raw image from a
// pipe, whose length is known at its end only.
// Neither changes the device's size, syncs (its acknowledged writes are durable), or closes files.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "qcow2/copy_job.hh"
#include "qcow2/piece_builder.hh"

namespace cairn::qcow2 {

struct ImportOptions {
  std::uint64_t max_in_flight_bytes = std::uint64_t{64} << 20;
  // The device is new: it reads as zeros, and zeros are not written.
  bool target_is_blank = true;
};

class ImportJob final : public CopyJob {
 public:
  // sources: descriptors, open until done. hungry, if given, runs when fewer than
  // kHungryBelowExtents are queued, once per add(): then the next batch is welcome.
  // done: corrupt (a compressed cluster is damaged, a file ends inside an extent), canceled, or
  // what the files and the device report.
  static std::shared_ptr<ImportJob> create(io::Reactor& reactor, image::BlockDevice& target,
                                           std::vector<int> sources, ImportOptions options,
                                           UniqueFunction<void()> hungry, CopyDone done);
  static constexpr std::size_t kHungryBelowExtents = 256;

  // Takes extents; they must come in guest order over all calls and not overlap. invalid_argument
  // (nothing of this batch is taken). After an error or cancel() they are dropped.
  Status add(std::span<const SourceExtent> extents);
  // No extent will come any more: done runs when those that came are copied.
  void end();

 private:
  struct PieceCopy;
  ImportJob(io::Reactor& reactor, image::BlockDevice& target, std::vector<int> sources,
            ImportOptions options, UniqueFunction<void()> hungry, CopyDone done);
  std::shared_ptr<ImportJob> self();
  void start_pieces() override;
  void start_piece(Piece piece);
  void read_segment(const std::shared_ptr<PieceCopy>& copy, const Segment& segment);
  Status unpack(const Segment& segment, ByteSpan compressed, MutableByteSpan into);
  void segment_ended(const std::shared_ptr<PieceCopy>& copy, const Status& status);
  void write_piece(const std::shared_ptr<PieceCopy>& copy);
  void piece_ended(const Piece& piece, const Status& status);

  image::BlockDevice& target_;
  std::vector<int> sources_;
  ImportOptions options_;
  UniqueFunction<void()> hungry_;
  bool may_be_hungry_ = true;  // hungry_ did not run since the last add()
  PieceBuilder builder_;
  std::optional<Piece> next_piece_;  // built, but waiting for memory
  bool ended_ = false;
  Decompressor decompressor_;
};

class StreamImportJob final : public CopyJob {
 public:
  // fd: a pipe, socket or terminal; read to its end. done: too_large when the stream is longer than
  // the device; else as ImportJob. A shorter stream leaves the rest of the device as it is.
  static std::shared_ptr<StreamImportJob> create(io::Reactor& reactor, image::BlockDevice& target,
                                                 int fd, ImportOptions options, CopyDone done);

 private:
  StreamImportJob(io::Reactor& reactor, image::BlockDevice& target, int fd, ImportOptions options,
                  CopyDone done);
  std::shared_ptr<StreamImportJob> self();
  void start_pieces() override;
  void on_failure() override;
  void on_read(Buffer data, const Status& status, std::size_t length);

  image::BlockDevice& target_;
  int fd_;
  ImportOptions options_;
  std::uint64_t offset_ = 0;  // of the next byte of the stream
  bool reading_ = false;      // one read at a time: a pipe has an order
  bool at_end_ = false;
};

}  // namespace cairn::qcow2
