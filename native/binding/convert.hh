// Values between JavaScript and the core: the shapes of native/binding.d.ts. A wrong shape throws a
// TypeError in JavaScript (the callers are our own TypeScript, so it is a defect, not an input).
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "base/histogram.hh"
#include "base/ids.hh"
#include "base/log.hh"
#include "base/status.hh"
#include "binding_promise.hh"
#include "net/messages.hh"
#include "net/messenger.hh"
#include "object_store/object_store.hh"
#include "pg/osd_core.hh"

namespace cairn::binding {

// "info" | "warn" | "error": the levels of an event of type log
const char* level_name(LogLevel level);
std::string get_text(const Napi::Object& object, const char* key);
double get_number(const Napi::Object& object, const char* key);
std::uint64_t get_u64(const Napi::Object& object, const char* key);     // number
std::uint64_t get_bigint(const Napi::Object& object, const char* key);  // bigint
bool get_flag(const Napi::Object& object, const char* key);
std::vector<std::byte> get_bytes(const Napi::Value& value);
std::array<std::uint8_t, 16> get_uuid(const Napi::Object& object, const char* key);
net::Address get_address(const Napi::Value& value);
std::vector<std::uint64_t> get_bigints(const Napi::Value& value);
std::vector<std::string> get_texts(const Napi::Value& value);

Napi::Value bytes_value(Napi::Env env, ByteSpan bytes);
Napi::Value version_value(Napi::Env env, const Version& version);
Napi::Value histogram_value(Napi::Env env, const Histogram& histogram);
void set_pg(Napi::Object& object, const PgId& pg, Epoch interval);
void set_pg_info(Napi::Object& object, const pg::PgInfo& info);
Napi::Value pg_status_value(Napi::Env env, const pg::PgStatus& status);
// is_own: its object has not gone to another PG by a split.
Napi::Value log_entry_value(Napi::Env env, const net::LogEntry& entry, bool is_own);

PgId get_pg(const Napi::CallbackInfo& info);  // the first two arguments
pg::IntervalSpec get_interval(const Napi::Object& object);
Result<pg::Activation> get_activation(const Napi::Object& object);

}  // namespace cairn::binding
