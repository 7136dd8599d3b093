// The scrub part of NativeOsd: its events, its arguments and its counters as binding.d.ts has them.
#pragma once

#include <napi.h>

#include <string>

#include "events.hh"
#include "pg/osd_core.hh"

namespace cairn::binding {

// Emits the events of scrubs and trims; the base of the sink of all events of an OSD.
class ScrubEventSink : public pg::OsdEvents {
 public:
  ScrubEventSink(CoreHost& host, EventCallback callback)
      : host_(host), callback_(std::move(callback)) {}

  // fill: sets the fields of the event.
  template <typename Fill>
  void emit(const char* type, Fill fill) {
    emit_event(host_, callback_, type, std::move(fill));
  }

  void on_scrub_object(PgId pg, Epoch interval, std::uint64_t id, const pg::ObjectVerdict& verdict,
                       bool repaired) override;
  void on_scrub_progress(PgId pg, Epoch interval, std::uint64_t id, const std::string& after,
                         const pg::ScrubCounts& counts) override;
  void on_scrub_done(PgId pg, Epoch interval, std::uint64_t id, const Status& status) override;
  void on_read_repair(PgId pg, const std::string& object, const std::string& damage,
                      const Status& status) override;
  void on_snap_trim_done(PgId pg, Epoch interval, std::uint64_t id, const Status& status) override;

 private:
  CoreHost& host_;
  EventCallback callback_;
};

pg::ScrubSpec get_scrub_spec(const Napi::Object& object);
pg::SnapTrimSpec get_snap_trim_spec(const Napi::Object& object);
// setRemovedSnaps()
std::map<PoolId, pg::RemovedSnaps> get_removed_snaps(const Napi::Value& value);
void set_scrub_counters(Napi::Object& counters, const pg::PgCounters& pgs);

}  // namespace cairn::binding
