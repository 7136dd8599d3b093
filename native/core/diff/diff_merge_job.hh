// DiffMergeJob: two diffs that follow each other, as one diff from the start of the first to the
// end of the second. Byte for byte what `rbd merge-diff` makes of two v1 diffs; it takes v2 too.
//
// How: where ranges of both overlap, the second counts; a record of the first is cut at the records
// of the second, one of the second never. When the image grew, the new part is zeros unless the
// second wrote it; when it shrank, records of the first behind its new end are dropped.
//
// Invariants
// - Memory: a chunk of each input, and kOutputBytes with one payload.
// - invalid_argument: the first does not end where the second begins. unsupported_feature: the
//   records of a diff are not in order. corrupt: damaged, or cut off.
#pragma once

#include <memory>

#include "diff/diff_reader.hh"
#include "qcow2/copy_job.hh"

namespace cairn::diff {

class DiffMergeJob final : public qcow2::CopyJob {
 public:
  static std::shared_ptr<DiffMergeJob> create(io::Reactor& reactor,
                                              std::shared_ptr<DiffReader> first,
                                              std::shared_ptr<DiffReader> second, int out_fd,
                                              qcow2::CopyDone done);

 private:
  static constexpr std::size_t kOutputBytes = std::size_t{1} << 20;

  enum class RecordKind : std::uint8_t {
    none,   // the next one is to be read
    write,  // its payload comes from the reader
    zero,
    cut,  // of the second diff: what it takes from the first is gone
  };
  struct Side {
    const char* name;
    std::shared_ptr<DiffReader> reader;
    bool has_header = false;
    bool ended = false;
    RecordKind kind = RecordKind::none;
    std::uint64_t offset = 0;
    std::uint64_t length_bytes = 0;  // 0: the next record is to be read, if there is one
    ByteSpan payload;                // of the record, in the reader's chunk
  };
  // What happens with the front of a side's record.
  struct Transfer {
    Side* side = nullptr;
    std::uint64_t left_bytes = 0;  // of payload; 0: there is none under way
    bool drop = false;
  };

  DiffMergeJob(io::Reactor& reactor, std::shared_ptr<DiffReader> first,
               std::shared_ptr<DiffReader> second, int out_fd, qcow2::CopyDone done);
  std::shared_ptr<DiffMergeJob> self();
  void start_pieces() override;
  void on_failure() override;
  // Each does one step; false: wait, or the job has failed.
  bool step();
  bool read_record(Side& side);
  bool take(Side& side, const DiffEvent& event);
  bool put_header();
  bool move_payload();
  void end_of(Side& side);
  void choose();
  void begin_transfer(Side& side, std::uint64_t length_bytes, bool drop);
  void fill(Side& side);
  void flush();

  int out_fd_;
  Side first_, second_;
  std::uint8_t version_ = 1;  // of the result
  bool header_written_ = false;
  bool end_written_ = false;
  bool waiting_ = false;  // for a descriptor
  Transfer transfer_;
  Writer output_;
};

}  // namespace cairn::diff
