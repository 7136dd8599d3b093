// Reading and making the shapes of image_values.hh.
#include "image_values.hh"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

namespace cairn::binding {

namespace {

image::QosLimit get_limit(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsObject()) return {};
  const auto limit = value.As<Napi::Object>();
  const bool has_burst = limit.Get("burst").IsNumber();
  return {get_u64(limit, "perSecond"), has_burst ? get_u64(limit, "burst") : 0};
}

double state_number(image::ExtentState state) {
  return state == image::ExtentState::data ? 2 : state == image::ExtentState::zero ? 1 : 0;
}

}  // namespace

net::SnapContext get_snap_context(const Napi::Value& value) {
  net::SnapContext context;
  if (!value.IsObject()) return context;
  const auto object = value.As<Napi::Object>();
  context.seq = get_u64(object, "seq");
  const auto snaps = object.Get("snaps").As<Napi::Array>();
  for (std::uint32_t i = 0; i < snaps.Length(); ++i) {
    const double snap = snaps.Get(i).ToNumber().DoubleValue();
    context.snaps.push_back(static_cast<std::uint64_t>(snap));
  }
  return context;
}

std::optional<ParentSpec> get_parent(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  return ParentSpec{static_cast<std::uint32_t>(get_u64(object, "device")),
                    get_u64(object, "overlapBytes")};
}

ImageSpec get_image_spec(const Napi::Object& object) {
  ImageSpec spec;
  image::ImageLayout& layout = spec.layout;
  layout.pool = static_cast<PoolId>(get_u64(object, "pool"));
  layout.object_prefix = get_text(object, "objectPrefix");
  layout.size_bytes = get_u64(object, "sizeBytes");
  layout.object_bytes = get_u64(object, "objectBytes");
  layout.read_only = get_flag(object, "readOnly");
  const auto has = [&object](const char* key) {
    const Napi::Value value = object.Get(key);
    return !value.IsUndefined() && !value.IsNull();
  };
  layout.locked = has("locked") && get_flag(object, "locked");
  if (has("stripeUnitBytes")) layout.stripe_unit_bytes = get_u64(object, "stripeUnitBytes");
  if (has("stripeCount")) layout.stripe_count = get_u64(object, "stripeCount");
  if (has("snap")) layout.snap = get_u64(object, "snap");
  layout.snap_context = get_snap_context(object.Get("snapContext"));
  spec.parent = get_parent(object.Get("parent"));
  if (has("cache")) spec.cached_as = get_text(object.Get("cache").As<Napi::Object>(), "image");
  return spec;
}

image::QosLimits get_qos(const Napi::Object& object) {
  return {get_limit(object, "iops"),      get_limit(object, "readIops"),
          get_limit(object, "writeIops"), get_limit(object, "bytes"),
          get_limit(object, "readBytes"), get_limit(object, "writeBytes")};
}

std::uint32_t get_reserved_iops(const Napi::Object& object) {
  constexpr std::uint64_t kMost = 1'000'000'000;
  return static_cast<std::uint32_t>(std::min(get_limit(object, "reservation").per_second, kMost));
}

ParentCacheOptions get_parent_cache(const Napi::Value& value) {
  ParentCacheOptions options;
  options.path = "/dev/shm/cairn-parents-" + std::to_string(::geteuid());
  options.size_bytes = image::ParentCache::kDefaultBytes;
  if (const char* const text = std::getenv("CAIRN_PARENT_CACHE")) options.path = text;
  if (const char* const text = std::getenv("CAIRN_PARENT_CACHE_BYTES"))
    options.size_bytes = std::strtoull(text, nullptr, 10);
  if (!value.IsObject()) return options;
  const auto object = value.As<Napi::Object>();
  if (object.Get("path").IsString()) options.path = get_text(object, "path");
  if (object.Get("sizeBytes").IsNumber()) options.size_bytes = get_u64(object, "sizeBytes");
  return options;
}

Napi::Value device_stats_value(Napi::Env env, const DeviceFigures& figures) {
  Napi::Object counters = Napi::Object::New(env);
  const auto set = [&counters](const char* name, std::uint64_t value) {
    counters.Set(name, static_cast<double>(value));
  };
  set("reads", figures.io.reads);
  set("readBytes", figures.io.read_bytes);
  set("writes", figures.io.writes);
  set("writeBytes", figures.io.write_bytes);
  set("discards", figures.io.discards);
  set("flushes", figures.io.flushes);
  set("errors", figures.io.errors);
  set("inFlight", figures.io.in_flight);
  set("throttled", figures.throttled.throttled);
  set("throttledNs", figures.throttled.throttled_ns);
  set("throttledNow", figures.throttled_now);
  set("parentReads", figures.clone.parent_reads);
  set("parentReadBytes", figures.clone.parent_read_bytes);
  set("copyups", figures.clone.copyups);
  set("cacheHits", figures.cache.hits);
  set("cacheMisses", figures.cache.misses);
  set("cacheShared", figures.cache.shared);
  set("cacheReadBytes", figures.cache.read_bytes);
  Napi::Object histograms = Napi::Object::New(env);
  histograms.Set("read", histogram_value(env, figures.io.read_ns));
  histograms.Set("write", histogram_value(env, figures.io.write_ns));
  Napi::Object object = Napi::Object::New(env);
  object.Set("counters", counters);
  object.Set("histograms", histograms);
  return object;
}

namespace {

// In the order of objecter::TraceStage.
constexpr std::array<const char*, objecter::kTraceStages> kStageNames = {
    "queue", "client", "network", "primaryQueue", "primary", "disk", "replicas"};

Napi::Value figures_value(Napi::Env env, const objecter::TraceCollector::Figures& figures) {
  Napi::Object stages = Napi::Object::New(env);
  for (std::size_t i = 0; i < objecter::kTraceStages; ++i)
    stages.Set(kStageNames[i], histogram_value(env, figures.stages[i]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("total", histogram_value(env, figures.total));
  object.Set("stages", stages);
  object.Set("replica", histogram_value(env, figures.replica));
  object.Set("replicaCommit", histogram_value(env, figures.replica_commit));
  return object;
}

}  // namespace

Napi::Value trace_value(Napi::Env env, const objecter::TraceCollector& collector) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, objecter::TracedKind kind) {
    object.Set(name, figures_value(env, collector.of(kind)));
  };
  set("reads", objecter::TracedKind::read);
  set("writes", objecter::TracedKind::write);
  set("discards", objecter::TracedKind::discard);
  set("flushes", objecter::TracedKind::flush);
  return object;
}

Napi::Value extents_value(Napi::Env env, const std::vector<image::Extent>& extents) {
  Napi::Float64Array triples = Napi::Float64Array::New(env, extents.size() * 3);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    triples[3 * i] = static_cast<double>(extents[i].offset);
    triples[3 * i + 1] = static_cast<double>(extents[i].length_bytes);
    triples[3 * i + 2] = state_number(extents[i].state);
  }
  return triples;
}

}  // namespace cairn::binding
