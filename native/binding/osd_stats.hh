// OsdStats of binding.d.ts.
#pragma once

#include <napi.h>

#include <utility>
#include <vector>

#include "net/messenger.hh"
#include "object_store/object_store.hh"
#include "pg/osd_core.hh"

namespace cairn::binding {

// The figures of one moment, copied on the core's thread.
struct OsdFigures {
  pg::PgCounters pgs;
  object_store::Counters store;
  object_store::Usage usage;
  net::MessengerCounters net;
  std::uint64_t oldest_operation_ns = 0;
  std::vector<std::pair<OsdId, std::uint64_t>> round_trips;
  pg::ReservationCounters reservations;
};

Napi::Value osd_stats_value(Napi::Env env, const OsdFigures& figures);

}  // namespace cairn::binding
