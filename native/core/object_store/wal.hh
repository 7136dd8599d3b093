// Wal: the ring of records on the disk, and group commit.
//
// Invariants
// - One record is on its way at a time; what is submitted meanwhile goes into the next one, so a
//   record costs one write and one flush however many transactions it has.
// - Therefore every record but the newest is known to be durable by its successor: a record's
//   flushed_sequence is the sequence before its own. Replay relies on it (replay.hh).
// - A record lies behind its predecessor, modulo the length of the ring; it may wrap.
// - Room is taken when a transaction is added: what has been accepted can always be written.
// - Behind a long group the next one may wait for as many transactions (Options::group_wait_ns),
//   while nothing is being written. The wait ends when they have come, with a direct write, when
//   the group is sealed and another one begins, and with its time.
// - Direct data (of fresh blocks) is on its way to the disk while the records before its own still
//   are; the record is written beside it, one flush follows both, and only then the group counts as
//   durable. Data may thus reach the disk without its record, where it lies in blocks that nothing
//   refers to, and a record without its data. The latter is right because replay checks the data of
//   a record whose successor does not prove that it was flushed: a mismatch means the group was
//   never durable, so nobody was told, and the log ends before it. Nothing but this group can have
//   written to these blocks: they were free, and they are not allocated again before a checkpoint
//   that has the record (allocator.hh). A later image for such a block in the same group may have
//   been written in place already; replay leaves that block out, since the image in the record
//   decides what it holds.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/buffer.hh"
#include "base/status.hh"
#include "object_store/object_store.hh"
#include "object_store/store_state.hh"
#include "object_store/transaction.hh"
#include "object_store/wal_record.hh"

namespace cairn::object_store {

// A piece of data that goes to its blocks beside the WAL.
struct DirectWrite {
  std::uint32_t physical = 0;
  Buffer data;
};

// Positions count on over the laps of the ring; the place in it is the remainder.
struct WalPosition {
  std::uint64_t sequence = 0;  // of the next record
  std::uint64_t position = 0;
};

class Wal {
 public:
  struct Completion {
    Done done;
    std::uint64_t submitted_ns = 0;
    Status status;  // what to say once the group is durable
  };
  struct Group {
    std::uint64_t sequence = 0;
    std::uint64_t position = 0;
    std::uint32_t transaction_count = 0;
    std::uint32_t data_blocks = 0;
    std::vector<std::byte> metadata;
    std::vector<Buffer> data;
    std::vector<DirectWrite> direct;
    std::size_t direct_started = 0;      // of direct: handed to the disk
    std::uint32_t direct_under_way = 0;  // writes that the disk has not answered
    std::vector<Completion> completions;
    std::uint64_t front_bytes() const;
    bool has_unstarted() const { return direct_started < direct.size(); }
    std::uint64_t record_bytes() const { return front_bytes() + data_blocks * kBlockBytes; }
  };
  // Called when a group has become durable, or with the error that ended everything.
  using GroupDone = UniqueFunction<void(Status, Group)>;

  // next: where the next record goes; tail: the oldest position that replay would need.
  Wal(StoreState& state, WalPosition next, std::uint64_t tail, GroupDone on_group);

  // The longest record that the ring takes.
  std::uint64_t max_record_bytes() const { return ring_bytes_ - kBlockBytes; }
  // Whether a transaction of at most so many encoded bytes and so many images has room now.
  bool has_room(std::size_t metadata_bytes, std::uint32_t images) const;
  // Adds a placed transaction to the group that is collected. has_room() must have said so.
  void add(const Transaction& transaction, Completion completion);
  // Tells the outcome of a refused transaction in its turn. False: nothing is under way.
  bool add_refusal(Completion& completion);

  // Ends the group that is collected; returns the sequence that all transactions so far have, and
  // the position behind it.
  WalPosition seal();
  std::uint64_t durable_sequence() const { return durable_sequence_; }
  // After a failure: tells everybody who waits. Nothing is written any more.
  void fail_waiting();
  bool is_idle() const { return !is_writing_ && groups_.empty(); }
  std::uint64_t used_bytes() const;
  std::uint64_t ring_bytes() const { return ring_bytes_; }
  // Everything before the position may be overwritten.
  void trim(std::uint64_t position) { tail_ = position; }

 private:
  void begin_group();
  void schedule();
  bool waits_for_more() const;
  void wait_for_more();
  void run_scheduled();
  void start();
  Group* find(std::uint64_t sequence);
  void start_direct(Group& group);
  void direct_done(std::uint64_t sequence, Status status);
  void write_record(Group& group, bool durable);
  std::vector<Buffer> record_buffers(const Group& group) const;
  void part_done(Status status);
  void finish();
  bool collects() const { return !groups_.empty() && !groups_.back().is_sealed; }

  struct Waiting {
    Group group;
    bool is_sealed = false;
  };

  StoreState& state_;
  const std::uint64_t ring_bytes_;
  const std::uint64_t group_bytes_;  // a group is sealed when it has reached this length
  std::uint64_t next_sequence_;      // of the next group that is begun
  std::uint64_t head_;               // position behind the sealed groups
  std::uint64_t tail_;
  std::uint64_t durable_sequence_;
  std::deque<Waiting> groups_;  // the last one may be collecting
  Group writing_;
  // Of the last group that was written: the next one is about as long.
  std::size_t usual_metadata_bytes_ = 0;
  std::size_t usual_pieces_ = 0;
  std::size_t usual_completions_ = 0;
  bool is_writing_ = false;
  bool is_scheduled_ = false;
  io::TimerId wait_timer_ = 0;  // 0: nobody waits for more
  std::uint32_t parts_left_ = 0;
  bool needs_flush_ = false;
  GroupDone on_group_;
};

}  // namespace cairn::object_store
