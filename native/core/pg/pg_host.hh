// PgHost: what a Pg needs from the OSD around it: its store and its clock, ways to others, what the
// map says of clients and snapshots, and whom to tell of what has happened.
#pragma once

#include <string>

#include "base/ids.hh"
#include "net/messenger.hh"
#include "object_store/object_store.hh"
#include "pg/pg_values.hh"
#include "pg/removed_snaps.hh"
#include "pg/scrub_gate.hh"

namespace cairn::pg {

class Pg;

class PgHost {
 public:
  virtual ~PgHost() = default;
  virtual object_store::ObjectStore& store() = 0;
  virtual io::Executor& executor() = 0;
  virtual OsdId self() const = 0;
  virtual Epoch map_epoch() const = 0;
  // Entries of its log that a PG keeps: for dedup, and for recovery without backfill.
  virtual std::uint64_t log_entries_kept() const { return kDefaultLogEntriesKept; }
  // No room for writes that allocate: the cluster or this OSD is full.
  virtual bool full() const = 0;
  // Those that the map lists: they count as not there.
  virtual const RemovedSnaps& removed_snaps(PoolId pool) const = 0;
  // The map says that nothing of this client is carried out any more.
  virtual bool blocklisted(ClientId client) const = 0;
  // To a member of the acting set; resent by the Pg after peer_reconnected().
  virtual void send_to_osd(OsdId osd, net::Frame frame) = 0;
  // False: the map shows it down, nothing sent to it now arrives.
  virtual bool is_peer(OsdId) const { return true; }
  virtual void send_on(net::ConnectionId connection, net::Frame frame) = 0;
  // Asks the other members of the PG's acting set for a read lease.
  virtual void request_lease(const Pg& pg) = 0;
  virtual void interval_started(PgId pg, Epoch interval, const PgInfo& info) = 0;
  virtual void activated(PgId pg, Epoch interval, const Status& status) = 0;
  // The store refused a transaction that is in the log already: this copy can't go on.
  virtual void store_refused(PgId pg, const Status& status) = 0;
  // Missing objects in all copies changed; 0: the PG is clean in this interval.
  virtual void recovery_progress(PgId pg, Epoch interval, std::uint64_t missing_count) = 0;
  // No source has the object, or a copy is damaged.
  virtual void recovery_failed(PgId pg, Epoch interval, const std::string& object,
                               const Status& status) = 0;
  virtual ScrubEvents& scrub_events() = 0;
  // An OSD takes part in the scrub of one PG at a time.
  virtual bool take_scrub_place(PgId pg) = 0;
  virtual void leave_scrub_place(PgId pg) = 0;
  virtual void snap_trim_done(PgId pg, Epoch interval, std::uint64_t id, const Status& status) = 0;
};

}  // namespace cairn::pg
