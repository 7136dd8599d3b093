// ScrubGate: what scrub and repair need of the Pg around them: who the members are, that writes to
// some objects wait, and that a copy becomes a missing one, so that recovery brings it anew.
#pragma once

#include <string>
#include <vector>

#include "io/executor.hh"
#include "net/messages.hh"
#include "object_store/object_store.hh"
#include "pg/scrub_verdict.hh"

namespace cairn::pg {

// Objects behind `after` up to `end`; an empty end is the end of the PG.
struct NameRange {
  std::string after;
  std::string end;
  bool contains(const std::string& name) const {
    return name > after && (end.empty() || name <= end);
  }
};

struct ScrubCounts {
  std::uint64_t objects = 0, bytes = 0, errors = 0, repaired = 0;
  void add(const ScrubCounts& other) {
    objects += other.objects;
    bytes += other.bytes;
    errors += other.errors;
    repaired += other.repaired;
  }
};

// What TypeScript hears of a scrub; id is that of the scrub, object and counts those of a chunk.
class ScrubEvents {
 public:
  virtual ~ScrubEvents() = default;
  virtual void on_scrub_object(PgId, Epoch, std::uint64_t /*id*/, const ObjectVerdict&,
                               bool /*repaired*/) {}
  // Everything up to the name `after` has been compared; counts: since the last such event.
  virtual void on_scrub_progress(PgId, Epoch, std::uint64_t /*id*/, const std::string& /*after*/,
                                 const ScrubCounts&) {}
  virtual void on_scrub_done(PgId, Epoch, std::uint64_t /*id*/, const Status&) {}
  // A read met damage in the local copy, and the copy was replaced (ok) or could not be.
  virtual void on_read_repair(PgId, const std::string& /*object*/, const std::string& /*damage*/,
                              const Status&) {}
};

class ScrubGate {
 public:
  virtual ~ScrubGate() = default;
  virtual PgId pg() const = 0;
  virtual Epoch interval() const = 0;
  virtual OsdId own_id() const = 0;
  virtual const std::vector<OsdId>& members() const = 0;  // the acting set, this OSD too
  virtual io::Executor& scrub_executor() = 0;
  virtual object_store::ObjectStore& scrub_store() = 0;
  virtual ScrubEvents& scrub_events() = 0;
  virtual void send_to_member(OsdId osd, net::Frame frame) = 0;

  // One scrub per OSD at a time: false when another PG has the place.
  virtual bool take_scrub_place() = 0;
  virtual void leave_scrub_place() = 0;

  // No write to an object of the range is under way (those that wait do not count).
  virtual bool is_quiet(const NameRange& range) const = 0;
  virtual bool is_object_quiet(const std::string& object) const = 0;
  // Writes that waited for the end of a hold pass the gate again.
  virtual void hold_ended(const NameRange& range) = 0;
  // Missing in some copy, being recovered, or closed.
  virtual bool is_unsettled(const std::string& object) const = 0;
  virtual const net::LogEntry* newest_entry(const std::string& object) const = 0;

  // From now on all operations on the object wait.
  virtual void close_object(const std::string& object) = 0;
  virtual void open_object(const std::string& object) = 0;
  // These copies of a closed and quiet object go, and are recovered from the source at once; then
  // the object is open again, and object_recovered() is called. version: that the source has;
  // number 0: the object does not exist there.
  virtual void lose_copies(const std::string& object, const std::vector<OsdId>& copies,
                           const std::vector<OsdId>& sources, const Version& version) = 0;
};

}  // namespace cairn::pg
