// Conversions: see convert.hh.
#include "convert.hh"

#include <algorithm>
#include <cmath>

#include "base/crc32c.hh"

namespace cairn::binding {

Napi::Value error_value(Napi::Env env, const Status& status) {
  const Napi::Error error = Napi::Error::New(env, status.message());
  error.Value().Set("code", std::string(error_name(status.code())));
  return error.Value();
}

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::error:
      return "error";
    case LogLevel::warn:
      return "warn";
    default:
      return "info";
  }
}

std::string get_text(const Napi::Object& object, const char* key) {
  return object.Get(key).ToString().Utf8Value();
}
double get_number(const Napi::Object& object, const char* key) {
  return object.Get(key).ToNumber().DoubleValue();
}
std::uint64_t get_u64(const Napi::Object& object, const char* key) {
  const double value = get_number(object, key);
  CAIRN_ASSERT(value >= 0 && value <= 9007199254740992.0);
  return static_cast<std::uint64_t>(value);
}
std::uint64_t get_bigint(const Napi::Object& object, const char* key) {
  bool lossless = false;
  const Napi::Value value = object.Get(key);
  CAIRN_ASSERT(value.IsBigInt());
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}
bool get_flag(const Napi::Object& object, const char* key) {
  return object.Get(key).ToBoolean().Value();
}

std::vector<std::byte> get_bytes(const Napi::Value& value) {
  CAIRN_ASSERT(value.IsTypedArray());
  const auto array = value.As<Napi::Uint8Array>();
  const auto* data = reinterpret_cast<const std::byte*>(array.Data());
  return {data, data + array.ByteLength()};
}

std::array<std::uint8_t, 16> get_uuid(const Napi::Object& object, const char* key) {
  const std::vector<std::byte> bytes = get_bytes(object.Get(key));
  std::array<std::uint8_t, 16> uuid{};
  CAIRN_ASSERT(bytes.size() == uuid.size());
  std::transform(bytes.begin(), bytes.end(), uuid.begin(),
                 [](std::byte b) { return static_cast<std::uint8_t>(b); });
  return uuid;
}

net::Address get_address(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {get_text(object, "host"), static_cast<std::uint16_t>(get_u64(object, "port"))};
}

std::vector<std::uint64_t> get_bigints(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::uint64_t> numbers;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    bool lossless = false;
    numbers.push_back(array.Get(i).As<Napi::BigInt>().Uint64Value(&lossless));
  }
  return numbers;
}

std::vector<std::string> get_texts(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> texts;
  texts.reserve(array.Length());
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    texts.push_back(array.Get(i).ToString().Utf8Value());
  }
  return texts;
}

Napi::Value bytes_value(Napi::Env env, ByteSpan bytes) {
  return Napi::Buffer<std::uint8_t>::Copy(env, reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                          bytes.size());
}

Napi::Value version_value(Napi::Env env, const Version& version) {
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(0U, Napi::Number::New(env, version.epoch));
  pair.Set(1U, Napi::Number::New(env, static_cast<double>(version.number)));
  return pair;
}

Napi::Value histogram_value(Napi::Env env, const Histogram& histogram) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array bounds = Napi::Array::New(env);
  Napi::Array counts = Napi::Array::New(env);
  std::uint32_t length = 0;
  for (std::uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    if (histogram.counts()[i] == 0) continue;
    bounds.Set(length, Napi::Number::New(env, static_cast<double>(Histogram::upper_edge(i))));
    counts.Set(length++, Napi::Number::New(env, static_cast<double>(histogram.counts()[i])));
  }
  object.Set("boundsNs", bounds);
  object.Set("counts", counts);
  object.Set("count", static_cast<double>(histogram.count()));
  object.Set("sumNs", static_cast<double>(histogram.sum_ns()));
  object.Set("maxNs", static_cast<double>(histogram.max_ns()));
  return object;
}

void set_pg(Napi::Object& object, const PgId& pg, Epoch interval) {
  object.Set("pool", pg.pool);
  object.Set("seed", pg.seed);
  object.Set("interval", interval);
}

void set_pg_info(Napi::Object& object, const pg::PgInfo& info) {
  object.Set("lastUpdate", version_value(object.Env(), info.last_update));
  object.Set("logTail", static_cast<double>(info.log_tail));
  object.Set("lastEpochStarted", info.last_epoch_started);
  object.Set("missingCount", static_cast<double>(info.missing_count));
  object.Set("leaseMs", std::ceil(static_cast<double>(info.lease_remaining_ns) / 1e6));
  object.Set("leaseHolder", info.lease_holder);
}

Napi::Value pg_status_value(Napi::Env env, const pg::PgStatus& status) {
  static constexpr const char* kRoles[] = {"stray", "replica", "primary"};
  static constexpr const char* kPhases[] = {"peering", "replica_active", "active"};
  Napi::Object object = Napi::Object::New(env);
  set_pg(object, status.pg, status.spec.interval);
  set_pg_info(object, status.info);
  Napi::Array acting = Napi::Array::New(env);
  for (std::uint32_t i = 0; i < status.spec.acting.size(); ++i) {
    acting.Set(i, Napi::Number::New(env, status.spec.acting[i]));
  }
  object.Set("acting", acting);
  object.Set("role", kRoles[static_cast<int>(status.spec.role)]);
  object.Set("phase", kPhases[static_cast<int>(status.phase)]);
  object.Set("peerMissingCount", static_cast<double>(status.peer_missing_count));
  object.Set("objectCount", static_cast<double>(status.object_count));
  object.Set("storedBytes", static_cast<double>(status.stored_bytes));
  object.Set("scrubRecord", status.scrub_record);
  object.Set("pgNum", static_cast<double>(status.pg_num));
  return object;
}

Napi::Value log_entry_value(Napi::Env env, const net::LogEntry& entry, bool is_own) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("epoch", entry.version.epoch);
  object.Set("number", static_cast<double>(entry.version.number));
  object.Set("object", is_own ? entry.object : std::string());
  object.Set("removes", entry.removes);
  Writer writer;
  net::encode(entry, writer);
  object.Set("bytes", bytes_value(env, writer.span()));
  return object;
}

PgId get_pg(const Napi::CallbackInfo& info) {
  return {info[0].ToNumber().Uint32Value(), info[1].ToNumber().Uint32Value()};
}

namespace {
Version get_version(const Napi::Value& value) {
  const auto pair = value.As<Napi::Array>();
  return {pair.Get(0U).ToNumber().Uint32Value(),
          static_cast<std::uint64_t>(pair.Get(1U).ToNumber().Int64Value())};
}
std::vector<pg::MissingObject> get_missing(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<pg::MissingObject> objects;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const auto triple = array.Get(i).As<Napi::Array>();
    objects.push_back({triple.Get(0U).ToString().Utf8Value(),
                       {get_version(triple.Get(1U)), triple.Get(2U).ToBoolean().Value()}});
  }
  return objects;
}
std::vector<OsdId> get_osds(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<OsdId> osds;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    osds.push_back(array.Get(i).ToNumber().Int32Value());
  }
  return osds;
}
}  // namespace

pg::IntervalSpec get_interval(const Napi::Object& object) {
  pg::IntervalSpec spec;
  spec.interval = static_cast<Epoch>(get_u64(object, "interval"));
  spec.acting = get_osds(object.Get("acting"));
  spec.min_size = static_cast<std::uint32_t>(get_u64(object, "minSize"));
  const std::string role = get_text(object, "role");
  spec.role = role == "primary"   ? pg::Role::primary
              : role == "replica" ? pg::Role::replica
                                  : pg::Role::stray;
  spec.pg_num = static_cast<std::uint32_t>(get_u64(object, "pgNum"));
  return spec;
}

Result<pg::Activation> get_activation(const Napi::Object& object) {
  pg::Activation activation;
  activation.interval = static_cast<Epoch>(get_u64(object, "interval"));
  activation.rewind_to = get_u64(object, "rewindTo");
  if (const Napi::Value reset = object.Get("resetLogTo"); reset.IsArray()) {
    activation.reset_log = true;
    activation.log_base = get_version(reset);
  }
  if (const Napi::Value bytes = object.Get("horizon"); bytes.IsTypedArray()) {
    auto horizon = pg::DupHorizon::decode(get_bytes(bytes));
    if (!horizon) return horizon.status();
    activation.horizon = std::move(*horizon);
  }
  const auto entries = object.Get("entries").As<Napi::Array>();
  for (std::uint32_t i = 0; i < entries.Length(); ++i) {
    const std::vector<std::byte> bytes = get_bytes(entries.Get(i));
    Reader reader(bytes);
    net::LogEntry entry;
    CAIRN_RETURN_IF_ERROR(net::decode(reader, entry));
    activation.entries.push_back(std::move(entry));
  }
  activation.missing = get_missing(object.Get("missing"));
  const auto peers = object.Get("peerMissing").As<Napi::Array>();
  for (std::uint32_t i = 0; i < peers.Length(); ++i) {
    const auto pair = peers.Get(i).As<Napi::Array>();
    activation.peer_missing.emplace_back(pair.Get(0U).ToNumber().Int32Value(),
                                         get_texts(pair.Get(1U)));
  }
  activation.sources = get_osds(object.Get("sources"));
  activation.other_sources = get_osds(object.Get("otherSources"));
  activation.lease_wait_ns = get_u64(object, "leaseWaitMs") * 1'000'000;
  return activation;
}

}  // namespace cairn::binding
