// The scan of a PG for removed snapshots: see snap_trimmer.hh.
#include "pg/snap_trimmer.hh"

#include <algorithm>
#include <utility>

namespace cairn::pg {

namespace {

constexpr std::size_t kPageLayers = 256;
// Objects that are due in so long a time begin together: their changes share messages, records of
// the WAL and flushes.
constexpr std::uint64_t kBurstNs = 20'000'000;

bool has_any(const SnapSet& set, const RemovedSnaps& removed) {
  return std::any_of(set.clones.begin(), set.clones.end(), [&removed](const SnapSet::Clone& clone) {
    return std::any_of(clone.snaps.begin(), clone.snaps.end(),
                       [&removed](std::uint64_t snap) { return removed.contains(snap); });
  });
}

}  // namespace

struct SnapTrimmer::Run {
  SnapTrimSpec spec;
  RemovedSnaps removed;
  std::optional<ObjectId> after;
  bool is_listing = false;
  bool is_listed = false;  // to the end
  std::deque<std::string> waiting;
  std::set<std::string> in_flight;
  std::set<std::string> again;  // of those in flight: they are looked at once more
  std::uint64_t next_start_ns = 0;
  std::uint64_t timer_ns = 0;  // when it looks again; 0: no timer
  Status failure;
};

void SnapTrimmer::start(SnapTrimSpec spec) {
  if (is_running() && run_->spec.id == spec.id) {
    run_->spec.objects_per_second = spec.objects_per_second;
    return pump();
  }
  stop();
  run_ = std::make_shared<Run>();
  run_->removed.insert(spec.removed.begin(), spec.removed.end());
  run_->spec = std::move(spec);
  run_->spec.max_in_flight = std::max<std::size_t>(run_->spec.max_in_flight, 1);
  for (std::string& object : gate_.missing_objects()) run_->waiting.push_back(std::move(object));
  list_next(run_);
}

void SnapTrimmer::stop() {
  if (is_running()) finish(Status(ErrorCode::canceled, "the trim was stopped"));
}

void SnapTrimmer::object_lost(const std::string& object) {
  if (!is_running()) return;
  run_->waiting.push_back(object);
  pump();
}

void SnapTrimmer::list_next(const RunPointer& run) {
  run->is_listing = true;
  gate_.trim_store().list(
      gate_.trimmed_pg(), run->after, kPageLayers,
      [this, run](Status status, const std::vector<object_store::ListedObject>& found) {
        if (run != run_) return;
        run->is_listing = false;
        if (status) status = take_page(*run, found);
        if (!status) return finish(status);
        run->is_listed = found.size() < kPageLayers;
        if (!run->is_listed) run->after = found.back().id;
        pump();
      });
}

Status SnapTrimmer::take_page(Run& run,
                              const std::vector<object_store::ListedObject>& found) const {
  for (const object_store::ListedObject& layer : found) {
    if (layer.id.snap != kHead || layer.attr.empty()) continue;
    auto set = decode_snap_set(layer.attr);
    if (!set) return Status(set.status().code(), layer.id.name + ": " + set.status().message());
    if (has_any(*set, run.removed)) run.waiting.push_back(layer.id.name);
  }
  return Status::ok();
}

void SnapTrimmer::pump() {
  const RunPointer run = run_;
  const std::uint64_t rate = run->spec.objects_per_second;
  while (run == run_ && !run->waiting.empty() && run->in_flight.size() < run->spec.max_in_flight) {
    const std::uint64_t now = gate_.trim_executor().now_ns();
    if (now < run->next_start_ns) return pump_at(run->next_start_ns + kBurstNs);
    const std::string object = std::move(run->waiting.front());
    run->waiting.pop_front();
    if (!run->in_flight.insert(object).second) {
      run->again.insert(object);
      continue;
    }
    if (rate != 0) {
      // What could not begin in time is not made up for.
      const std::uint64_t due_ns = std::max(run->next_start_ns, now - std::min(now, kBurstNs));
      run->next_start_ns = due_ns + 1'000'000'000 / rate;
    }
    gate_.trim_object(object);
  }
  if (run != run_ || !run->waiting.empty() || run->is_listing) return;
  if (!run->is_listed) return list_next(run);
  if (run->in_flight.empty()) finish(run->failure);
}

void SnapTrimmer::pump_at(std::uint64_t at_ns) {
  if (run_->timer_ns == at_ns) return;
  run_->timer_ns = at_ns;
  const std::uint64_t now = gate_.trim_executor().now_ns();
  gate_.trim_executor().run_after(at_ns - now, [this, run = run_] {
    if (run != run_) return;
    run->timer_ns = 0;
    pump();
  });
}

void SnapTrimmer::object_done(const std::string& object, const Status& status, bool more) {
  if (!is_running() || run_->in_flight.erase(object) == 0) return;
  if (!status && run_->failure) run_->failure = status;
  const bool is_wanted_again = run_->again.erase(object) > 0;
  if (status && (more || is_wanted_again)) run_->waiting.push_back(object);
  // Later: whoever ends a change is not done with the object yet.
  gate_.trim_executor().post([this, run = run_] {
    if (run == run_) pump();
  });
}

void SnapTrimmer::finish(const Status& status) {
  const RunPointer run = std::move(run_);
  run_ = nullptr;
  gate_.trim_done(run->spec.id, status);
}

}  // namespace cairn::pg
