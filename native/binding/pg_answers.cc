// Statuses and logs of PGs for JavaScript: see pg_answers.hh.
#include "pg_answers.hh"

#include <utility>
#include <vector>

#include "convert.hh"

namespace cairn::binding {

void answer_statuses(const pg::OsdCore& core, const Promise& promise) {
  promise.resolve([statuses = core.pg_statuses()](Napi::Env env) -> Napi::Value {
    Napi::Array array = Napi::Array::New(env, statuses.size());
    for (std::uint32_t i = 0; i < statuses.size(); ++i) {
      array.Set(i, pg_status_value(env, statuses[i]));
    }
    return array;
  });
}

void answer_log(const pg::Pg* pg, std::uint64_t after, std::size_t limit, const Promise& promise) {
  std::vector<std::pair<net::LogEntry, bool>> entries;
  if (pg != nullptr) {
    for (net::LogEntry& entry : pg->log().entries_after(after, limit)) {
      const bool is_own = pg->owns(entry.object);
      entries.emplace_back(std::move(entry), is_own);
    }
  }
  promise.resolve([entries = std::move(entries)](Napi::Env env) -> Napi::Value {
    Napi::Array array = Napi::Array::New(env, entries.size());
    for (std::uint32_t i = 0; i < entries.size(); ++i) {
      array.Set(i, log_entry_value(env, entries[i].first, entries[i].second));
    }
    return array;
  });
}

}  // namespace cairn::binding
