// The shapes of BenchOptions and BenchResult: see binding.d.ts.
#include "bench_value.hh"

#include <string>

#include "convert.hh"

namespace cairn::binding {

image::BenchSpec get_bench_spec(const Napi::Object& options) {
  image::BenchSpec spec;
  const std::string type = get_text(options, "ioType");
  spec.type = type == "read"    ? image::BenchSpec::Type::read
              : type == "write" ? image::BenchSpec::Type::write
                                : image::BenchSpec::Type::mixed;
  spec.io_bytes = get_u64(options, "ioBytes");
  spec.random_offsets = get_text(options, "pattern") == "rand";
  spec.queue_depth = static_cast<std::uint32_t>(get_u64(options, "queueDepth"));
  spec.duration_ns = get_u64(options, "durationMs") * 1'000'000;
  spec.seed = get_u64(options, "seed");
  if (options.Has("totalBytes")) spec.total_bytes = get_u64(options, "totalBytes");
  if (options.Has("readPercent"))
    spec.read_percent = static_cast<std::uint32_t>(get_u64(options, "readPercent"));
  return spec;
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
