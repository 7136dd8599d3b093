// Shapes of copy jobs and benchmarks: see client_values.hh.
#include "client_values.hh"

namespace cairn::binding {

qcow2::SourceExtent get_extent(const Napi::Object& object) {
  const auto small = [&object](const char* key) {
    return object.Has(key) ? static_cast<std::uint32_t>(get_u64(object, key)) : 0;
  };
  qcow2::SourceExtent extent;
  const std::string kind = get_text(object, "kind");
  extent.kind = kind == "data"   ? qcow2::SourceKind::data
                : kind == "zero" ? qcow2::SourceKind::zero
                : kind == "zlib" ? qcow2::SourceKind::zlib
                                 : qcow2::SourceKind::zstd;
  extent.source = small("source");
  extent.guest_offset = get_u64(object, "guestOffset");
  extent.length_bytes = get_u64(object, "lengthBytes");
  extent.host_offset = get_u64(object, "hostOffset");
  extent.compressed_bytes = small("compressedBytes");
  extent.cluster_bytes = small("clusterBytes");
  extent.cluster_offset = small("clusterOffset");
  return extent;
}

Napi::Value bench_value(Napi::Env env, const image::BenchReport& report) {
  Napi::Object object = Napi::Object::New(env);
  const auto number = [env](std::uint64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
  };
  object.Set("operations", number(report.operations));
  object.Set("bytes", number(report.bytes));
  object.Set("elapsedNs", number(report.elapsed_ns));
  object.Set("errors", number(report.errors));
  object.Set("longestGapNs", number(report.longest_gap_ns));
  object.Set("latency", histogram_value(env, report.latency_ns));
  Napi::Object latency = Napi::Object::New(env);
  const Histogram& histogram = report.latency_ns;
  latency.Set("mean", number(histogram.count() == 0 ? 0 : histogram.sum_ns() / histogram.count()));
  latency.Set("p50", number(histogram.percentile_ns(0.5)));
  latency.Set("p95", number(histogram.percentile_ns(0.95)));
  latency.Set("p99", number(histogram.percentile_ns(0.99)));
  latency.Set("p999", number(histogram.percentile_ns(0.999)));
  latency.Set("max", number(histogram.max_ns()));
  object.Set("latencyNs", latency);
  Napi::Array series = Napi::Array::New(env, report.series.size());
  for (std::uint32_t i = 0; i < report.series.size(); ++i) series.Set(i, number(report.series[i]));
  object.Set("series", series);
  return object;
}

}  // namespace cairn::binding
