// Scrub events and arguments between JavaScript and the core: see scrub_events.hh.
#include "scrub_events.hh"

#include "convert.hh"

namespace cairn::binding {

namespace {

std::vector<std::uint64_t> get_numbers(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::uint64_t> numbers;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    numbers.push_back(static_cast<std::uint64_t>(array.Get(i).ToNumber().Int64Value()));
  }
  return numbers;
}

template <typename Number>
Napi::Array numbers_value(Napi::Env env, const std::vector<Number>& numbers) {
  Napi::Array array = Napi::Array::New(env, numbers.size());
  for (std::uint32_t i = 0; i < numbers.size(); ++i) {
    array.Set(i, Napi::Number::New(env, static_cast<double>(numbers[i])));
  }
  return array;
}

}  // namespace

void ScrubEventSink::on_scrub_object(PgId pg, Epoch interval, std::uint64_t id,
                                     const pg::ObjectVerdict& verdict, bool repaired) {
  emit("scrubObject", [pg, interval, id, verdict, repaired](Napi::Env env, Napi::Object& event) {
    set_pg(event, pg, interval);
    event.Set("scrub", static_cast<double>(id));
    event.Set("object", verdict.object);
    event.Set("repaired", repaired);
    event.Set("good", numbers_value(env, verdict.good));
    Napi::Array bad = Napi::Array::New(env, verdict.bad.size());
    for (std::uint32_t i = 0; i < verdict.bad.size(); ++i) {
      Napi::Object copy = Napi::Object::New(env);
      copy.Set("osd", verdict.bad[i].osd);
      copy.Set("problem", std::string(pg::name_of(verdict.bad[i].problem)));
      copy.Set("badBlocks", numbers_value(env, verdict.bad[i].bad_blocks));
      bad.Set(i, copy);
    }
    event.Set("bad", bad);
  });
}

void ScrubEventSink::on_scrub_progress(PgId pg, Epoch interval, std::uint64_t id,
                                       const std::string& after, const pg::ScrubCounts& counts) {
  emit("scrubProgress", [pg, interval, id, after, counts](Napi::Env, Napi::Object& event) {
    set_pg(event, pg, interval);
    event.Set("scrub", static_cast<double>(id));
    event.Set("after", after);
    event.Set("objects", static_cast<double>(counts.objects));
    event.Set("bytes", static_cast<double>(counts.bytes));
  });
}

void ScrubEventSink::on_scrub_done(PgId pg, Epoch interval, std::uint64_t id,
                                   const Status& status) {
  emit("scrubDone", [pg, interval, id, status](Napi::Env env, Napi::Object& event) {
    set_pg(event, pg, interval);
    event.Set("scrub", static_cast<double>(id));
    if (!status) event.Set("error", error_value(env, status));
  });
}

void ScrubEventSink::on_read_repair(PgId pg, const std::string& object, const std::string& damage,
                                    const Status& status) {
  emit("readRepair", [pg, object, damage, status](Napi::Env env, Napi::Object& event) {
    event.Set("pool", pg.pool);
    event.Set("seed", pg.seed);
    event.Set("object", object);
    event.Set("damage", damage);
    if (!status) event.Set("error", error_value(env, status));
  });
}

void ScrubEventSink::on_snap_trim_done(PgId pg, Epoch interval, std::uint64_t id,
                                       const Status& status) {
  emit("snapTrimDone", [pg, interval, id, status](Napi::Env env, Napi::Object& event) {
    set_pg(event, pg, interval);
    event.Set("trim", static_cast<double>(id));
    if (!status) event.Set("error", error_value(env, status));
  });
}

pg::SnapTrimSpec get_snap_trim_spec(const Napi::Object& object) {
  pg::SnapTrimSpec spec;
  spec.id = get_u64(object, "trim");
  spec.removed = get_numbers(object.Get("removed"));
  spec.max_in_flight = get_u64(object, "maxInFlight");
  spec.objects_per_second = get_u64(object, "objectsPerSecond");
  return spec;
}

std::map<PoolId, pg::RemovedSnaps> get_removed_snaps(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::map<PoolId, pg::RemovedSnaps> pools;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const auto pool = array.Get(i).As<Napi::Object>();
    const std::vector<std::uint64_t> snaps = get_numbers(pool.Get("snaps"));
    pg::RemovedSnaps& removed = pools[static_cast<PoolId>(get_u64(pool, "pool"))];
    removed.insert(snaps.begin(), snaps.end());
    // First and last of each, one behind the other.
    const std::vector<std::uint64_t> runs = get_numbers(pool.Get("runs"));
    for (std::size_t at = 0; at + 1 < runs.size(); at += 2)
      removed.insert_run(runs[at], runs[at + 1]);
  }
  return pools;
}

pg::ScrubSpec get_scrub_spec(const Napi::Object& object) {
  pg::ScrubSpec spec;
  spec.id = get_u64(object, "scrub");
  spec.deep = get_flag(object, "deep");
  spec.repair = get_flag(object, "repair");
  spec.after = get_text(object, "after");
  spec.bytes_per_second = get_u64(object, "bytesPerSecond");
  return spec;
}

void set_scrub_counters(Napi::Object& counters, const pg::PgCounters& pgs) {
  const auto set = [&counters](const char* name, std::uint64_t value) {
    counters.Set(name, static_cast<double>(value));
  };
  set("scrubbedObjects", pgs.scrubbed_objects);
  set("scrubbedBytes", pgs.scrubbed_bytes);
  set("scrubErrors", pgs.scrub_errors);
  set("scrubRepaired", pgs.scrub_repaired);
  set("readRepairs", pgs.read_repairs);
  set("readRepairsFailed", pgs.read_repairs_failed);
  set("trimmedObjects", pgs.trimmed_objects);
  set("trimmedClones", pgs.trimmed_clones);
}

}  // namespace cairn::binding
