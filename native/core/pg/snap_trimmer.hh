// SnapTrimmer: the primary goes through its PG and rids objects of removed snapshots.
//
// Invariants
//  - It is over only when no object of the PG has a clone that serves a snapshot of its list. No
//    new one comes while it runs: the list is part of what the map says is removed, which changes
//    of heads leave out (PgHost::removed_snaps).
//  - An object that this copy lacks is in no listing of the store: those count as candidates.
//  - It keeps nothing: an interval ends it, and the next one begins with the first name again.
//    Objects that are done have nothing more to do.
//
// Which PG is trimmed when is decided in TypeScript (osd/snaptrim); what happens to an object in
// pg_snap_trim.cc.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/executor.hh"
#include "object_store/object_store.hh"
#include "pg/snapset.hh"

namespace cairn::pg {

struct SnapTrimSpec {
  std::uint64_t id = 0;
  std::vector<std::uint64_t> removed;
  std::size_t max_in_flight = 1;
  std::uint64_t objects_per_second = 0;  // 0: no limit
};

// What it needs of the Pg around it.
class SnapTrimGate {
 public:
  virtual ~SnapTrimGate() = default;
  virtual PgId trimmed_pg() const = 0;
  virtual io::Executor& trim_executor() = 0;
  virtual object_store::ObjectStore& trim_store() = 0;
  // Objects that this copy lacks.
  virtual std::vector<std::string> missing_objects() const = 0;
  // SnapTrimmer::object_done() follows, maybe inside the call, unless the interval ends.
  virtual void trim_object(const std::string& object) = 0;
  virtual void trim_done(std::uint64_t id, const Status& status) = 0;
};

class SnapTrimmer {
 public:
  explicit SnapTrimmer(SnapTrimGate& gate) : gate_(gate) {}

  // One that runs ends with canceled.
  void start(SnapTrimSpec spec);
  // Ends it with canceled.
  void stop();
  // The interval is over; nobody is told.
  void reset() { run_ = nullptr; }
  bool is_running() const { return run_ != nullptr; }

  // This copy lacks the object from now on.
  void object_lost(const std::string& object);
  // more: it has still something of removed snapshots.
  void object_done(const std::string& object, const Status& status, bool more);

 private:
  struct Run;
  using RunPointer = std::shared_ptr<Run>;
  void list_next(const RunPointer& run);
  Status take_page(Run& run, const std::vector<object_store::ListedObject>& found) const;
  void pump();
  void pump_at(std::uint64_t at_ns);
  void finish(const Status& status);

  SnapTrimGate& gate_;
  RunPointer run_;
};

}  // namespace cairn::pg
