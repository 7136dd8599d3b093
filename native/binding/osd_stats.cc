// Figures of an OSD for JavaScript: see osd_stats.hh.
#include "osd_stats.hh"

#include "convert.hh"
#include "scrub_events.hh"

namespace cairn::binding {

Napi::Value osd_stats_value(Napi::Env env, const OsdFigures& figures) {
  Napi::Object counters = Napi::Object::New(env);
  const auto set = [&counters](const char* name, std::uint64_t value) {
    counters.Set(name, static_cast<double>(value));
  };
  set("reads", figures.pgs.reads);
  set("writes", figures.pgs.writes);
  set("readBytes", figures.pgs.read_bytes);
  set("writeBytes", figures.pgs.write_bytes);
  set("duplicates", figures.pgs.duplicates);
  set("refusedStale", figures.pgs.refused_stale);
  set("refusedFenced", figures.pgs.refused_fenced);
  set("recoveredObjects", figures.pgs.recovered_objects);
  set("recoveredBytes", figures.pgs.recovered_bytes);
  set_scrub_counters(counters, figures.pgs);
  set("reservationQueued", figures.reservations.queued);
  set("storeTransactions", figures.store.transactions);
  set("storeWalGroups", figures.store.wal_groups);
  set("storeWalBytes", figures.store.wal_bytes);
  set("storeFlushes", figures.store.flushes);
  set("storeCheckpoints", figures.store.checkpoints);
  set("storeDataReadBytes", figures.store.data_read_bytes);
  set("storeDataWrittenBytes", figures.store.data_written_bytes);
  set("storeDiscardedBlocks", figures.store.discarded_blocks);
  set("storeRedirectedBlocks", figures.store.redirected_blocks);
  set("storeReusedBlocks", figures.store.reused_blocks);
  set("storeMetadataCacheBytes", figures.usage.metadata_bytes);
  set("storeMetadataLoads", figures.store.metadata_loads);
  set("storeMetadataValues", figures.store.metadata_values);
  set("storeChecksumErrors", figures.store.checksum_errors);
  set("netFramesSent", figures.net.frames_sent);
  set("netFramesReceived", figures.net.frames_received);
  set("netBytesSent", figures.net.bytes_sent);
  set("netBytesReceived", figures.net.bytes_received);
  set("netConnections_unix", figures.net.local_connections);
  set("netConnections_tcp", figures.net.connections - figures.net.local_connections);
  set("netProtocolErrors", figures.net.protocol_errors);
  set("netHandshakeRefusals", figures.net.handshake_refusals);
  for (const auto& [code, count] : figures.net.refused_connections)
    set(("refusedConnections_" + std::string(error_name(code))).c_str(), count);
  Napi::Object histograms = Napi::Object::New(env);
  histograms.Set("write", histogram_value(env, figures.pgs.write_ns));
  histograms.Set("read", histogram_value(env, figures.pgs.read_ns));
  histograms.Set("storeCommit", histogram_value(env, figures.store.commit_ns));
  histograms.Set("storeRead", histogram_value(env, figures.store.read_ns));
  histograms.Set("reservationWait", histogram_value(env, figures.reservations.waited_ns));
  Napi::Array trips = Napi::Array::New(env, figures.round_trips.size());
  for (std::uint32_t i = 0; i < figures.round_trips.size(); ++i) {
    Napi::Array pair = Napi::Array::New(env, 2);
    pair.Set(0U, Napi::Number::New(env, figures.round_trips[i].first));
    pair.Set(1U, Napi::Number::New(env, static_cast<double>(figures.round_trips[i].second)));
    trips.Set(i, pair);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("counters", counters);
  object.Set("histograms", histograms);
  object.Set("totalBytes", static_cast<double>(figures.usage.total_bytes));
  object.Set("usedBytes", static_cast<double>(figures.usage.used_bytes));
  object.Set("reservedBytes", static_cast<double>(figures.usage.reserved_bytes));
  object.Set("objects", static_cast<double>(figures.usage.objects));
  object.Set("oldestOperationMs", static_cast<double>(figures.oldest_operation_ns) / 1e6);
  object.Set("roundTripsNs", trips);
  return object;
}

}  // namespace cairn::binding
