// DiffImportJob: the records of one diff, into a BlockDevice.
//
// Invariants
// - Records that follow each other in the image are applied side by side; one that goes back waits
//   until all before it are applied, so that the last one wins where records overlap.
// - Zeros inside the data are zeroed without payload, as the sparse import of RBD does, in units of
//   zero_unit_bytes; what is left of a unit with other bytes is written.
// - It ends with the diff's end record. When the diff breaks off, a part of it is applied: applying
//   the whole of it again gives what applying it once gives.
// Does not: know snapshots; the caller makes the end snapshot when the job has succeeded.
#pragma once

#include <memory>
#include <optional>

#include "diff/diff_reader.hh"
#include "qcow2/copy_job.hh"

namespace cairn::diff {

class DiffImportJob final : public qcow2::CopyJob {
 public:
  static constexpr std::uint64_t kMaxInFlightBytes = std::uint64_t{16} << 20;

  // The reader has given the event diff. done: corrupt, canceled, or what the device reports.
  static std::shared_ptr<DiffImportJob> create(io::Reactor& reactor, image::BlockDevice& target,
                                               std::shared_ptr<DiffReader> source,
                                               std::uint64_t zero_unit_bytes, qcow2::CopyDone done);

 private:
  DiffImportJob(io::Reactor& reactor, image::BlockDevice& target,
                std::shared_ptr<DiffReader> source, std::uint64_t zero_unit_bytes,
                qcow2::CopyDone done);
  std::shared_ptr<DiffImportJob> self();
  void start_pieces() override;
  void on_failure() override;
  // Handles one event; false: it must be called again later.
  bool take_next();
  bool take(const DiffEvent& event);
  void take_payload(ByteSpan bytes);
  void fill();
  void write_piece();
  void zero_some();
  void piece_ended(std::uint64_t charged_bytes, std::uint64_t handled_bytes, const Status& status);

  image::BlockDevice& target_;
  std::shared_ptr<DiffReader> source_;
  const std::uint64_t zero_unit_bytes_;
  bool filling_ = false;
  bool ended_ = false;
  std::optional<DiffEvent> waiting_;  // a record that goes back
  std::uint64_t highest_ = 0;         // of what may be under way: no record lies behind it
  // The piece that is being put together.
  std::uint64_t piece_offset_ = 0;
  Buffer piece_;
  std::size_t piece_bytes_ = 0;
  std::uint64_t record_offset_ = 0;  // of the next payload
  // Of a zero record: what is left.
  std::uint64_t zero_offset_ = 0, zero_bytes_ = 0;
};

}  // namespace cairn::diff
