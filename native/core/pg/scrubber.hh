// Scrubber: the primary compares the copies of a PG, a few objects at a time.
//
// Invariants
//  - While the metadata of a chunk is compared, no write to an object of the chunk is under way on
//    any member: writes that come wait (hold), those in flight are waited for. So equal copies are
//    never called different. A hold ends with the comparison, or with its time limit.
//  - The data is read without a hold: each member checks its own blocks against its own checksums,
//    which needs no order between members.
//  - An OSD takes part in one scrub at a time. The places are taken in the order of the OSDs' ids,
//    so that of several scrubs that want the same OSDs one always gets on.
//  - Objects that are missing somewhere, or being repaired, are left out: recovery deals with them.
//
// Which PG is scrubbed when is decided in TypeScript (osd/scrub). It does not survive an interval:
// TypeScript starts it again behind the last name that it was told.
#pragma once

#include <memory>
#include <optional>

#include "pg/member_requests.hh"
#include "pg/repairer.hh"

namespace cairn::pg {

struct ScrubSpec {
  std::uint64_t id = 0;
  bool deep = false;
  bool repair = false;
  std::string after{};                 // goes on behind this name
  std::uint64_t bytes_per_second = 0;  // of each member's reading; 0: no limit
};

class Scrubber {
 public:
  static constexpr std::size_t kChunkObjects = 16;

  Scrubber(ScrubGate& gate, MemberRequests& requests, Repairer& repairer)
      : gate_(gate), requests_(requests), repairer_(repairer) {}

  void start(ScrubSpec spec);
  // Ends it with canceled.
  void stop();
  // The interval is over; nobody is told.
  void reset();
  bool is_running() const { return chunk_ != nullptr; }

  bool holds(const std::string& object) const { return hold_ && hold_->contains(object); }
  // A write of the PG has ended.
  void recheck();

 private:
  struct Chunk;
  using ChunkPointer = std::shared_ptr<Chunk>;
  bool is_current(const ChunkPointer& chunk) const { return chunk == chunk_; }
  void reserve_next(const ChunkPointer& chunk);
  void reserved(const ChunkPointer& chunk, const Status& status);
  void leave_places();
  void next_chunk(std::string after);
  void hold(const ChunkPointer& chunk, NameRange range);
  void compare(const ChunkPointer& chunk);
  void listed(const ChunkPointer& chunk, OsdId osd, const Status& status, net::ScrubReply reply);
  void gather(const ChunkPointer& chunk);
  void end_hold();
  void verify_next(const ChunkPointer& chunk);
  void verified(const ChunkPointer& chunk, OsdId osd, const Status& status, net::ScrubReply reply);
  void judge_next(const ChunkPointer& chunk);
  void conclude(const ChunkPointer& chunk, const ObjectVerdict& verdict, bool repaired);
  void chunk_done(const ChunkPointer& chunk);
  void finish(const Status& status);

  ScrubGate& gate_;
  MemberRequests& requests_;
  Repairer& repairer_;
  ScrubSpec spec_;
  ChunkPointer chunk_;
  std::vector<OsdId> places_;  // members still to be asked to take part, then those that were
  std::size_t places_taken_ = 0;
  std::optional<NameRange> hold_;
};

}  // namespace cairn::pg
