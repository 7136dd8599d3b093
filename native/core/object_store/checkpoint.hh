// Checkpointer: brings what the WAL holds to its place, so that the WAL can be trimmed.
//
//   freeze     fixes the moment: the record sequence S that all transactions so far belong to
//   durable    waits until record S is durable: an image may be written in place only when the WAL
//              can repair a torn write
//   in place   writes the images in the order of the disk, a few at a time; meanwhile the metadata
//              is encoded in slices between the executor's other tasks
//   flush      the data is durable before the metadata that names its checksums
//   apply      one synced batch: all metadata as of S, and S itself with the WAL position behind it
//   trim       the WAL up to there; blocks released up to S are free again (discarder.hh)
//
// A crash at any point leaves the region at an older S whose records are all still in the WAL.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "object_store/discarder.hh"
#include "object_store/store_state.hh"
#include "object_store/wal.hh"

namespace cairn::object_store {

class Checkpointer {
 public:
  // on_progress: something may go on that waited (room in the WAL, free blocks, an error).
  Checkpointer(StoreState& state, Wal& wal, Discarder& discarder,
               UniqueFunction<void()> on_progress)
      : state_(state), wal_(wal), discarder_(discarder), on_progress_(std::move(on_progress)) {}

  bool is_running() const { return is_running_; }
  // Whether anything has happened since the last checkpoint.
  bool is_needed() const;
  // Starts one; none may be running, and no transaction half applied.
  void start();
  // The WAL has become durable up to a further record, or has failed.
  void wal_advanced();
  // Runs when the running checkpoint has ended, well or not. Without a running one: at once.
  void when_done(Done done);

 private:
  void write_images();
  void image_written(Status status);
  void encode_slice();
  void flush_if_ready();
  void apply();
  void applied(Status status);
  void finish_slice();
  void end(Status status);

  StoreState& state_;
  Wal& wal_;
  Discarder& discarder_;
  UniqueFunction<void()> on_progress_;
  bool is_running_ = false;
  bool is_waiting_for_wal_ = false;
  bool is_encoded_ = false;
  std::uint64_t sequence_ = 0;  // S
  std::uint64_t position_ = 0;  // behind record S
  std::uint64_t next_id_ = 0;   // as of S
  std::vector<std::pair<std::uint32_t, Buffer>> images_;
  std::size_t next_image_ = 0;
  std::uint32_t writes_under_way_ = 0;
  std::vector<Done> waiting_;
};

}  // namespace cairn::object_store
