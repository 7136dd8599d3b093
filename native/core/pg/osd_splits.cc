// What an OSD does for the splits of its PGs: see pg_splitter.hh.
#include <utility>

#include "base/probe.hh"
#include "pg/osd_core.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_split_found_half_made);
CAIRN_DEFINE_PROBE(pg_removed_behind_a_split);

// Who goes before its split is over would take along what belongs to its children; and a child that
// is not made yet would come into being when nobody speaks of it any more.
bool OsdCore::waits_for_split(PgId pg) const {
  return splitter_.is_splitting(pg) || splitter_.will_make(pg);
}

std::unique_ptr<Pg> OsdCore::make_for_split(PgId pg) {
  PgHost& host = *this;
  return std::make_unique<Pg>(host, pg);
}

void OsdCore::child_made(std::unique_ptr<Pg> child) {
  const PgId id = child->id();
  add_pg(id, std::move(child));
  if (removals_behind_splits_.contains(id)) return;
  if (auto due = starts_behind_splits_.extract(id)) start_interval(id, std::move(due.mapped()));
}

void OsdCore::split_over(PgId pg, bool holds_report) {
  if (removals_behind_splits_.erase(pg) != 0) {
    pg_removed_behind_a_split.hit();
    remove_pg(pg);
    // The same PG may have come here anew meanwhile.
    if (auto due = starts_behind_splits_.extract(pg)) start_interval(pg, std::move(due.mapped()));
  } else if (holds_report) {
    find(pg)->report_interval_again();
  }
}

void OsdCore::split_failed(PgId parent, const Status& status) { store_refused(parent, status); }

// Those whose parent is here are gone on with: set_pg_num() comes for each PG at the start.
void OsdCore::remove_half_made(const std::vector<PgId>& half_made) {
  for (const PgId child : half_made) {
    pg_split_found_half_made.hit();
    if (find(parent_of(child)) != nullptr) continue;
    object_store::Transaction transaction;
    transaction.remove_pg(child);
    store_.submit(std::move(transaction), [this](Status) { check_store(); });
  }
}

}  // namespace cairn::pg
