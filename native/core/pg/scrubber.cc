// The chunks of a scrub: see scrubber.hh.
#include "pg/scrubber.hh"

#include <algorithm>
#include <utility>

#include "base/probe.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(scrub_hold_waits_for_write);
CAIRN_DEFINE_PROBE(scrub_chunk_shortened);
CAIRN_DEFINE_PROBE(scrub_object_unsettled);
CAIRN_DEFINE_PROBE(scrub_place_refused);

namespace {
constexpr std::uint64_t kPauseNs = 5'000'000;  // between chunks: clients go first
constexpr std::uint64_t kHoldLimitNs = 10'000'000'000;
}  // namespace

struct Scrubber::Chunk {
  NameRange range;
  bool is_comparing = false;
  std::size_t awaited = 0;  // answers
  Status failure;
  std::map<OsdId, net::ScrubReply> replies;
  // What the members say of each object.
  std::map<std::string, std::map<OsdId, net::ScrubObject>> objects;
  std::map<std::string, std::map<OsdId, net::ScrubObject>>::iterator at;
  ScrubCounts counts;
};

void Scrubber::start(ScrubSpec spec) {
  stop();
  spec_ = std::move(spec);
  chunk_ = std::make_shared<Chunk>();
  places_ = gate_.members();
  std::sort(places_.begin(), places_.end());
  places_taken_ = 0;
  reserve_next(chunk_);
}

void Scrubber::reserve_next(const ChunkPointer& chunk) {
  if (places_taken_ == places_.size()) return next_chunk(spec_.after);
  const OsdId osd = places_[places_taken_];
  if (osd == gate_.own_id()) {
    const bool taken = gate_.take_scrub_place();
    return reserved(chunk,
                    taken ? Status::ok() : Status(ErrorCode::busy, "this OSD scrubs another PG"));
  }
  net::ScrubRequest request;
  request.question = net::ScrubQuestion::reserve;
  requests_.ask(osd, std::move(request),
                [this, chunk](const Status& status, const net::ScrubReply&) {
                  if (is_current(chunk)) reserved(chunk, status);
                });
}

void Scrubber::reserved(const ChunkPointer& chunk, const Status& status) {
  if (!status) {
    scrub_place_refused.hit();
    return finish(status);
  }
  ++places_taken_;
  reserve_next(chunk);
}

void Scrubber::leave_places() {
  for (std::size_t i = 0; i < places_taken_; ++i) {
    if (places_[i] == gate_.own_id()) {
      gate_.leave_scrub_place();
      continue;
    }
    net::ScrubRequest request;
    request.question = net::ScrubQuestion::leave;
    requests_.ask(places_[i], std::move(request), [](const Status&, const net::ScrubReply&) {});
  }
  places_taken_ = 0;
}

void Scrubber::stop() {
  if (is_running()) finish(Status(ErrorCode::canceled, "the scrub was stopped"));
}

void Scrubber::reset() {
  places_taken_ = 0;  // every member clears its place by itself
  chunk_ = nullptr;
  hold_.reset();
}

void Scrubber::finish(const Status& status) {
  chunk_ = nullptr;
  end_hold();
  leave_places();
  gate_.scrub_events().on_scrub_done(gate_.pg(), gate_.interval(), spec_.id, status);
}

void Scrubber::next_chunk(std::string after) {
  chunk_ = std::make_shared<Chunk>();
  std::optional<ObjectId> behind;
  if (!after.empty()) behind = ObjectId{gate_.pg().pool, after, kHead};
  gate_.scrub_store().list(
      gate_.pg(), std::move(behind), kChunkObjects + 1,
      [this, chunk = chunk_, after](Status status, std::vector<object_store::ListedObject> found) {
        if (!is_current(chunk)) return;
        if (!status) return finish(status);
        const bool is_last = found.size() <= kChunkObjects;
        hold(chunk, {after, is_last ? std::string() : found[kChunkObjects - 1].id.name});
      });
}

void Scrubber::hold(const ChunkPointer& chunk, NameRange range) {
  chunk->range = range;
  hold_ = std::move(range);
  gate_.scrub_executor().run_after(kHoldLimitNs, [this, chunk] {
    if (!is_current(chunk) || !hold_) return;
    finish(Status(ErrorCode::timed_out, "a member did not list its objects in time"));
  });
  if (!gate_.is_quiet(*hold_)) scrub_hold_waits_for_write.hit();
  recheck();
}

void Scrubber::recheck() {
  if (!hold_ || chunk_->is_comparing || !gate_.is_quiet(*hold_)) return;
  chunk_->is_comparing = true;
  compare(chunk_);
}

void Scrubber::compare(const ChunkPointer& chunk) {
  const std::vector<OsdId> members = gate_.members();
  chunk->awaited = members.size();
  for (const OsdId osd : members) {
    net::ScrubRequest request;
    request.question = net::ScrubQuestion::list;
    request.name = chunk->range.after;
    request.end = chunk->range.end;
    requests_.ask(osd, std::move(request),
                  [this, chunk, osd](const Status& status, net::ScrubReply reply) {
                    if (is_current(chunk)) listed(chunk, osd, status, std::move(reply));
                  });
  }
}

void Scrubber::listed(const ChunkPointer& chunk, OsdId osd, const Status& status,
                      net::ScrubReply reply) {
  if (!status) chunk->failure = status;
  chunk->replies[osd] = std::move(reply);
  if (--chunk->awaited > 0) return;
  if (!chunk->failure) return finish(chunk->failure);
  gather(chunk);
  end_hold();
  chunk->at = chunk->objects.begin();
  if (spec_.deep) return verify_next(chunk);
  judge_next(chunk);
}

void Scrubber::gather(const ChunkPointer& chunk) {
  // As far as all of them have listed.
  std::string& end = chunk->range.end;
  for (const auto& [osd, reply] : chunk->replies) {
    if (reply.end.empty() || (!end.empty() && reply.end >= end)) continue;
    scrub_chunk_shortened.hit();
    end = reply.end;
  }
  for (auto& [osd, reply] : chunk->replies) {
    for (net::ScrubObject& object : reply.objects) {
      if (!chunk->range.contains(object.name)) continue;
      if (gate_.is_unsettled(object.name)) {
        scrub_object_unsettled.hit();
        continue;
      }
      chunk->objects[object.name][osd] = std::move(object);
    }
  }
  for (auto& [name, copies] : chunk->objects) {
    for (const auto& [osd, reply] : chunk->replies) copies[osd].name = name;
    chunk->counts.objects += 1;
    chunk->counts.bytes += copies[gate_.own_id()].data_blocks * kBlockBytes;
  }
}

void Scrubber::end_hold() {
  if (!hold_) return;
  const NameRange range = std::move(*hold_);
  hold_.reset();
  gate_.hold_ended(range);
}

void Scrubber::verify_next(const ChunkPointer& chunk) {
  if (chunk->at == chunk->objects.end()) {
    chunk->at = chunk->objects.begin();
    return judge_next(chunk);
  }
  chunk->awaited = chunk->at->second.size();
  std::vector<OsdId> members;
  for (const auto& [osd, copy] : chunk->at->second) members.push_back(osd);
  for (const OsdId osd : members) {
    net::ScrubRequest request;
    request.question = net::ScrubQuestion::verify;
    request.name = chunk->at->first;
    request.bytes_per_second = spec_.bytes_per_second;
    requests_.ask(osd, std::move(request),
                  [this, chunk, osd](const Status& status, net::ScrubReply reply) {
                    if (is_current(chunk)) verified(chunk, osd, status, std::move(reply));
                  });
  }
}

void Scrubber::verified(const ChunkPointer& chunk, OsdId osd, const Status& status,
                        net::ScrubReply reply) {
  if (!status || reply.objects.empty()) {
    chunk->failure = status ? Status(ErrorCode::protocol_error, "an empty scrub reply") : status;
  } else {
    net::ScrubObject& copy = chunk->at->second[osd];
    copy.bad_blocks = std::move(reply.objects.front().bad_blocks);
    if (copy.code == ErrorCode::ok) copy.code = reply.objects.front().code;
  }
  if (--chunk->awaited > 0) return;
  if (!chunk->failure) return finish(chunk->failure);
  ++chunk->at;
  verify_next(chunk);
}

void Scrubber::judge_next(const ChunkPointer& chunk) {
  for (; chunk->at != chunk->objects.end(); ++chunk->at) {
    const auto& [name, copies] = *chunk->at;
    ObjectVerdict verdict = judge(name, copies, gate_.newest_entry(name));
    if (verdict.bad.empty()) continue;
    if (!spec_.repair || verdict.good.empty()) {
      conclude(chunk, verdict, false);
      continue;
    }
    std::vector<OsdId> bad;
    for (const BadCopy& copy : verdict.bad) bad.push_back(copy.osd);
    const std::vector<OsdId> good = verdict.good;
    ++chunk->at;
    return repairer_.repair(name, {std::move(bad), good, false},
                            [this, chunk, verdict = std::move(verdict)](const Status& status) {
                              if (!is_current(chunk)) return;
                              conclude(chunk, verdict, status.is_ok());
                              judge_next(chunk);
                            });
  }
  chunk_done(chunk);
}

void Scrubber::conclude(const ChunkPointer& chunk, const ObjectVerdict& verdict, bool repaired) {
  chunk->counts.errors += verdict.error_count();
  if (repaired) chunk->counts.repaired += verdict.error_count();
  gate_.scrub_events().on_scrub_object(gate_.pg(), gate_.interval(), spec_.id, verdict, repaired);
}

void Scrubber::chunk_done(const ChunkPointer& chunk) {
  const std::string end = chunk->range.end;
  gate_.scrub_events().on_scrub_progress(gate_.pg(), gate_.interval(), spec_.id, end,
                                         chunk->counts);
  if (!is_current(chunk)) return;
  if (end.empty()) return finish(Status::ok());
  gate_.scrub_executor().run_after(kPauseNs, [this, chunk, end] {
    if (is_current(chunk)) next_chunk(end);
  });
}

}  // namespace cairn::pg
