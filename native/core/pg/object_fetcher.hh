// ObjectFetcher: reads a part of an object, or what is known of it, from another member's copy, for
// a read that the own disk can't serve even after a repair (or because nothing can be written there
// any more).
//
// Invariants
//  - One fetch of an object at a time; the caller keeps writes to it away meanwhile.
//  - Every data block that comes is checked against its checksum here, once more.
//  - Nothing is kept of what arrives: mending the own copy is the Repairer's matter.
//
// A member is asked by a pull, as in recovery; of its answer the blocks in the range are taken.
// What a snapshot shows is built as a receiver of the family would build it: from the head to the
// layer that the snap set of that member names.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pg/scrub_gate.hh"

namespace cairn::pg {

struct FetchWanted {
  std::uint64_t snap = kHead;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool with_data = true;
};
constexpr FetchWanted whole_object(std::uint64_t snap) { return {snap, 0, kMaxObjectBytes, false}; }

struct FetchedRange {
  bool exists = false;  // for clients
  std::uint32_t first_block = 0;
  std::vector<object_store::BlockInfo> blocks;
  Buffer data;  // with_data: of all the blocks; what is not data is zeros
  std::map<std::string, std::string> omap;  // of the head
};

using FetchDone = UniqueFunction<void(Status, FetchedRange)>;

class ObjectFetcher {
 public:
  explicit ObjectFetcher(ScrubGate& gate) : gate_(gate) {}

  bool is_fetching(const std::string& object) const { return fetches_.contains(object); }
  // The blocks that the wanted range touches in what the snapshot (or kHead) shows, from the first
  // of the sources that can give the object. Errors: unfound when all say that they can't,
  // disconnected when some can't be heard (so another try may do), stale_epoch when the interval
  // ends before.
  void fetch(const std::string& object, const FetchWanted& wanted, std::vector<OsdId> sources,
             FetchDone done);
  // False: not an answer to a fetch.
  bool on_part(OsdId from, const net::Push& push, const Buffer& data);
  bool on_refusal(OsdId from, const net::PushAck& ack);
  // What it was to give comes no more.
  void source_gone(OsdId osd);
  // The interval is over.
  void reset();

 private:
  struct Fetch;
  using FetchPointer = std::shared_ptr<Fetch>;
  // The fetch of this object if it is this OSD that is to answer, else null.
  FetchPointer awaited_from(OsdId osd, const std::string& object) const;
  void ask_next(const FetchPointer& fetch);
  void finish(const FetchPointer& fetch, Status status);

  ScrubGate& gate_;
  std::map<std::string, FetchPointer> fetches_;
};

}  // namespace cairn::pg
