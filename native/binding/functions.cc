// The addon's functions that need no object: store format, checksums, CRUSH, CPU clocks.
#include <time.h>

#include <algorithm>

#include "base/crc32c.hh"
#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "convert.hh"
#include "crush/binding_api.hh"
#include "crush/object_hash.hh"
#include "exports.hh"
#include "io/uring_disk.hh"
#include "object_store/object_store.hh"

namespace cairn::binding {

namespace {

// Formats on a thread of its own: pre-writing the WAL takes a while.
class FormatWorker : public Napi::AsyncWorker {
 public:
  FormatWorker(Napi::Env env, const Napi::Object& options)
      : Napi::AsyncWorker(env), deferred_(env) {
    path_ = get_text(options, "path");
    identity_.cluster = get_uuid(options, "clusterId");
    identity_.osd = static_cast<OsdId>(get_u64(options, "osd"));
    identity_.store = get_uuid(options, "storeId");
    size_bytes_ = get_u64(options, "sizeBytes");
    geometry_.wal_bytes = get_u64(options, "walBytes");
  }
  Napi::Value promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    auto reactor = io::Reactor::create();
    if (!reactor) {
      status_ = reactor.status();
      return;
    }
    io::UringDisk::Options options;
    options.create = size_bytes_ != 0;
    options.size_bytes = size_bytes_;
    auto disk = io::UringDisk::open(**reactor, path_, options);
    status_ =
        disk ? object_store::ObjectStore::format(**disk, identity_, geometry_) : disk.status();
  }
  void OnOK() override {
    if (status_) return deferred_.Resolve(Env().Undefined());
    deferred_.Reject(error_value(Env(), status_));
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::string path_;
  object_store::Identity identity_;
  object_store::Geometry geometry_;
  std::uint64_t size_bytes_ = 0;
  Status status_;
};

Napi::Value format_store(const Napi::CallbackInfo& info) {
  auto* worker = new FormatWorker(info.Env(), info[0].As<Napi::Object>());
  const Napi::Value promise = worker->promise();
  worker->Queue();
  return promise;
}

ByteSpan view(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  return {reinterpret_cast<const std::byte*>(array.Data()), array.ByteLength()};
}

Napi::Value crc32c_of(const Napi::CallbackInfo& info) {
  const std::uint32_t seed = info[1].ToNumber().Uint32Value();
  return Napi::Number::New(info.Env(), crc32c(view(info[0]), seed));
}

Napi::Value error_codes(const Napi::CallbackInfo& info) {
  Napi::Object codes = Napi::Object::New(info.Env());
#define CAIRN_ERROR(name, number) codes.Set(#name, number);
#include "base/error_codes.def"
#undef CAIRN_ERROR
  return codes;
}

std::span<const std::uint32_t> weights_of(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint32Array>();
  return {array.Data(), array.ElementLength()};
}

Napi::Value rows_value(Napi::Env env, const Result<std::vector<std::int32_t>>& rows) {
  if (!rows) {
    Napi::Error(env, error_value(env, rows.status())).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const std::vector<std::int32_t>& values = rows.value();
  Napi::Int32Array array = Napi::Int32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Value crush_map_pgs(const Napi::CallbackInfo& info) {
  const auto number = [&info](std::size_t i) { return info[i].ToNumber().Uint32Value(); };
  return rows_value(info.Env(), crush::crush_map_pgs(view(info[0]), number(1), number(2), number(3),
                                                     number(4), weights_of(info[5])));
}

Napi::Value crush_test(const Napi::CallbackInfo& info) {
  const auto number = [&info](std::size_t i) { return info[i].ToNumber().Uint32Value(); };
  return rows_value(info.Env(), crush::crush_test(view(info[0]), number(1), number(2), number(3),
                                                  number(4), weights_of(info[5])));
}

Napi::Value object_pg_seed(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  const std::uint32_t pg_num = info[1].ToNumber().Uint32Value();
  const std::uint32_t hash = crush::object_name_hash(as_bytes(name));
  return Napi::Number::New(info.Env(),
                           crush::stable_mod(hash, pg_num, crush::stable_mod_mask(pg_num)));
}

Napi::Value probes(const Napi::CallbackInfo& info) {
  Napi::Object hits = Napi::Object::New(info.Env());
  for (const auto& [name, count] : Probe::all()) hits.Set(name, static_cast<double>(count));
  return hits;
}

// The kernel's own sum over all threads of the process, those that have ended too, to the
// nanosecond; /proc/PID/stat shows the same sum in ticks of 10 ms.
Napi::Value process_cpu_ns(const Napi::CallbackInfo& info) {
  const auto pid = static_cast<pid_t>(info[0].ToNumber().Int32Value());
  clockid_t clock = 0;
  timespec used{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
    return info.Env().Undefined();
  }
  constexpr double kNsPerSecond = 1e9;
  return Napi::Number::New(info.Env(), static_cast<double>(used.tv_sec) * kNsPerSecond +
                                           static_cast<double>(used.tv_nsec));
}

Napi::Value planted_bugs_built(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), kPlantedBugsBuilt);
}

}  // namespace

void define_functions(Napi::Env env, Napi::Object exports) {
  exports.Set("formatStore", Napi::Function::New<format_store>(env));
  exports.Set("crc32c", Napi::Function::New<crc32c_of>(env));
  exports.Set("errorCodes", Napi::Function::New<error_codes>(env));
  exports.Set("crushMapPgs", Napi::Function::New<crush_map_pgs>(env));
  exports.Set("crushTest", Napi::Function::New<crush_test>(env));
  exports.Set("objectPgSeed", Napi::Function::New<object_pg_seed>(env));
  exports.Set("probes", Napi::Function::New<probes>(env));
  exports.Set("processCpuNs", Napi::Function::New<process_cpu_ns>(env));
  exports.Set("plantedBugsBuilt", Napi::Function::New<planted_bugs_built>(env));
}

}  // namespace cairn::binding
