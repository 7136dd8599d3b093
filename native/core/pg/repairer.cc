// The steps of a repair: see repairer.hh.
#include "pg/repairer.hh"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(repair_source_refused);
CAIRN_DEFINE_PROBE(repair_without_source);
CAIRN_DEFINE_PROBE(repair_own_copy_bad_too);

struct Repairer::Job {
  std::string object;
  RepairPlan plan;
  object_store::Done done;
  std::optional<net::ScrubObject> expected;  // what a source has to have
  bool is_started = false;                   // the object is quiet
  bool is_lost = false;                      // recovery is at work
  std::size_t next_source = 0;
  std::size_t awaited = 0;     // members that are to note the loss
  std::vector<OsdId> to_lose;  // those that did
  Version version;             // of the source's copy
  Status failure;
};

namespace {

bool fits(const net::ScrubObject& copy, const std::optional<net::ScrubObject>& expected) {
  if (copy.code != ErrorCode::ok || !copy.bad_blocks.empty()) return false;
  if (!expected) return true;
  return std::tie(copy.exists, copy.version, copy.blocks_digest, copy.omap_digest) ==
         std::tie(expected->exists, expected->version, expected->blocks_digest,
                  expected->omap_digest);
}

}  // namespace

bool Repairer::is_current(const JobPointer& job) const {
  const auto found = jobs_.find(job->object);
  return found != jobs_.end() && found->second == job;
}

bool Repairer::is_waiting() const {
  return std::any_of(jobs_.begin(), jobs_.end(),
                     [](const auto& entry) { return !entry.second->is_started; });
}

void Repairer::repair(const std::string& object, RepairPlan plan, object_store::Done done) {
  if (is_repairing(object)) {
    return done(Status(ErrorCode::busy, "the object is being repaired already"));
  }
  auto job = std::make_shared<Job>();
  job->object = object;
  job->plan = std::move(plan);
  job->done = std::move(done);
  jobs_[object] = job;
  gate_.close_object(object);
  recheck();
}

void Repairer::recheck() {
  std::vector<JobPointer> ready;
  for (const auto& [object, job] : jobs_) {
    if (!job->is_started && gate_.is_object_quiet(object)) ready.push_back(job);
  }
  for (const JobPointer& job : ready) {
    job->is_started = true;
    begin(job);
  }
}

void Repairer::begin(const JobPointer& job) {
  if (!job->plan.same_metadata) return try_source(job);
  reader_.describe(job->object, [this, job](net::ScrubObject own) {
    if (!is_current(job)) return;
    job->expected = std::move(own);
    try_source(job);
  });
}

void Repairer::try_source(const JobPointer& job) {
  if (job->next_source == job->plan.sources.size()) {
    repair_without_source.hit();
    return finish(job, Status(ErrorCode::unfound, "no member has a whole copy of " + job->object));
  }
  const OsdId source = job->plan.sources[job->next_source++];
  net::ScrubRequest request;
  request.question = net::ScrubQuestion::verify;
  request.name = job->object;
  requests_.ask(source, std::move(request),
                [this, job, source](const Status& status, const net::ScrubReply& reply) {
                  if (is_current(job)) source_verified(job, source, status, reply);
                });
}

void Repairer::source_verified(const JobPointer& job, OsdId source, const Status& status,
                               const net::ScrubReply& reply) {
  if (status && !reply.objects.empty() && fits(reply.objects.front(), job->expected)) {
    const net::ScrubObject& copy = reply.objects.front();
    if (copy.exists) job->version = copy.version;
    return mark_bad(job, source);
  }
  repair_source_refused.hit();
  if (source == gate_.own_id()) {
    // What is pushed to others goes through the own copy: it has to be replaced as well.
    repair_own_copy_bad_too.hit();
    job->plan.bad.push_back(source);
  }
  try_source(job);
}

void Repairer::mark_bad(const JobPointer& job, OsdId source) {
  std::vector<OsdId> replicas;
  for (const OsdId osd : job->plan.bad) {
    if (osd == gate_.own_id()) {
      job->to_lose.push_back(osd);
    } else if (osd != source) {
      replicas.push_back(osd);
    }
  }
  job->awaited = replicas.size();
  if (replicas.empty()) return lose(job, source);
  for (const OsdId osd : replicas) {
    requests_.mark_missing(osd, job->object, job->version, [this, job, osd, source](Status status) {
      if (!is_current(job)) return;
      if (status) {
        job->to_lose.push_back(osd);
      } else {
        job->failure = std::move(status);
      }
      if (--job->awaited == 0) lose(job, source);
    });
  }
}

void Repairer::lose(const JobPointer& job, OsdId source) {
  if (job->to_lose.empty()) return finish(job, job->failure);
  job->is_lost = true;
  std::vector<OsdId> sources{source};
  for (const OsdId osd : job->plan.sources) {
    if (osd != source && osd != gate_.own_id()) sources.push_back(osd);
  }
  gate_.lose_copies(job->object, job->to_lose, sources, job->version);
}

void Repairer::object_recovered(const std::string& object) {
  const auto found = jobs_.find(object);
  if (found == jobs_.end() || !found->second->is_lost) return;
  const JobPointer job = found->second;
  jobs_.erase(found);
  job->done(job->failure);
}

void Repairer::finish(const JobPointer& job, Status status) {
  jobs_.erase(job->object);
  job->done(std::move(status));
  gate_.open_object(job->object);
}

}  // namespace cairn::pg
