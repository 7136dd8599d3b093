// What an OSD does for the splits of its PGs: see pg_splitter.hh.
#include <utility>

#include "base/probe.hh"
#include "pg/osd_core.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_split_found_half_made);

std::unique_ptr<Pg> OsdCore::make_for_split(PgId pg) {
  PgHost& host = *this;
  return std::make_unique<Pg>(host, pg);
}

void OsdCore::child_made(std::unique_ptr<Pg> child) {
  const PgId id = child->id();
  pgs_[id] = std::move(child);
  if (auto due = starts_behind_splits_.extract(id)) start_interval(id, std::move(due.mapped()));
}

void OsdCore::split_over(PgId parent) { find(parent)->report_interval_again(); }

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
