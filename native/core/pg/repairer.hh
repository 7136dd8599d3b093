// Repairer: replaces bad copies of an object by a good one.
//
// Invariants
//  - Nothing is given up before it is certain what replaces it: the source has just read and
//  checked
//    the whole object, and nobody writes to it meanwhile (all operations on it wait).
//  - A bad copy becomes a missing object, durably and before it is touched; recovery does the rest.
//    So a crash in between leaves a missing object, never half of one; and deletes stay deletes.
//
// Without a source the copies stay as they are: what of them is good can still be read.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pg/member_requests.hh"

namespace cairn::pg {

struct RepairPlan {
  std::vector<OsdId> bad;      // members whose copy is to be replaced
  std::vector<OsdId> sources;  // members to try, best first
  // The own copy is bad in its data only: a source has to have equal metadata.
  bool same_metadata = false;
};

class Repairer {
 public:
  Repairer(ScrubGate& gate, MemberRequests& requests, ScrubReader& reader)
      : gate_(gate), requests_(requests), reader_(reader) {}

  bool is_repairing(const std::string& object) const { return jobs_.contains(object); }
  // done: ok once all bad copies are replaced; unfound when there is no good source; busy when the
  // object is being repaired already.
  void repair(const std::string& object, RepairPlan plan, object_store::Done done);
  // A write of the PG has ended.
  void recheck();
  void object_recovered(const std::string& object);
  // The interval is over; nobody is told.
  void reset() { jobs_.clear(); }
  bool is_waiting() const;

 private:
  struct Job;
  using JobPointer = std::shared_ptr<Job>;
  bool is_current(const JobPointer& job) const;
  void begin(const JobPointer& job);
  void try_source(const JobPointer& job);
  void source_verified(const JobPointer& job, OsdId source, const Status& status,
                       const net::ScrubReply& reply);
  void mark_bad(const JobPointer& job, OsdId source);
  void lose(const JobPointer& job, OsdId source);
  void finish(const JobPointer& job, Status status);

  ScrubGate& gate_;
  MemberRequests& requests_;
  ScrubReader& reader_;
  std::map<std::string, JobPointer> jobs_;
};

}  // namespace cairn::pg
