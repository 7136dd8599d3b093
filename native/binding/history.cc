// The shapes of HistoryOptions and HistoryResult: see binding.d.ts.
#include "history.hh"

#include "base/bytes.hh"
#include "convert.hh"

namespace cairn::binding {

image::HistorySpec get_history_spec(const Napi::Object& options) {
  const auto small = [&options](const char* key) {
    return static_cast<std::uint32_t>(get_u64(options, key));
  };
  const auto ns = [&options](const char* key) {
    return static_cast<std::uint64_t>(get_number(options, key) * 1e6);
  };
  image::HistorySpec spec;
  spec.mode = get_text(options, "mode") == "sweep" ? image::HistorySpec::Mode::sweep
                                                   : image::HistorySpec::Mode::mixed;
  spec.client = small("client");
  spec.blocks = small("blocks");
  spec.stride_bytes = get_u64(options, "strideBytes");
  spec.queue_depth = small("queueDepth");
  spec.write_percent = small("writePercent");
  spec.pause_ns = ns("pauseMs");
  spec.duration_ns = ns("durationMs");
  spec.drain_ns = ns("drainMs");
  spec.seed = get_u64(options, "seed");
  return spec;
}

Napi::Value history_value(Napi::Env env, const image::History& history) {
  Writer records;
  for (const image::HistoryRecord& record : history.records) {
    records.put(record.block);
    records.put(std::uint32_t{record.was_fenced ? 2U : (record.is_write ? 1U : 0U)});
    records.put(record.value);
    records.put(record.start_ns);
    records.put(record.end_ns);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("records", bytes_value(env, records.span()));
  const auto set = [&object](const char* name, std::uint64_t value) {
    object.Set(name, static_cast<double>(value));
  };
  set("failedReads", history.failed_reads);
  set("failedWrites", history.failed_writes);
  set("unanswered", history.unanswered);
  object.Set("isFenced", history.is_fenced);
  set("startNs", history.start_ns);
  set("endNs", history.end_ns);
  if (!history.first_error) object.Set("firstError", history.first_error.to_string());
  return object;
}

}  // namespace cairn::binding
