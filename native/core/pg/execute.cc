// Carrying out the steps of one client operation: guards and reads in order, then the mutations as
// one log entry. An operation with guards or partial blocks holds its object's lock meanwhile.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/planted_bug.hh"
#include "base/probe.hh"
#include "pg/pg_running.hh"

namespace cairn::pg {

CAIRN_DEFINE_PROBE(pg_read_met_write);
CAIRN_DEFINE_PROBE(pg_read_met_fill);
CAIRN_DEFINE_PROBE(pg_superseded_while_running);

using net::Step;
using net::StepCode;

namespace {

const Step* write_step(const std::vector<Step>& steps) {
  const auto found = std::find_if(steps.begin(), steps.end(),
                                  [](const Step& s) { return s.code == StepCode::write; });
  return found == steps.end() ? nullptr : &*found;
}

bool may_grow(StepCode code) {
  return code == StepCode::write || code == StepCode::write_zeroes || code == StepCode::touch ||
         code == StepCode::omap_set || code == StepCode::copyup || code == StepCode::fill_layers;
}

bool is_aligned(const Step& step) { return (step.offset | step.length) % kBlockBytes == 0; }

std::uint64_t round_down(std::uint64_t value) { return value / kBlockBytes * kBlockBytes; }
std::uint64_t round_up(std::uint64_t value) { return round_down(value + kBlockBytes - 1); }

bool has_step(const net::OpRequest& request, StepCode code) {
  return std::any_of(request.steps.begin(), request.steps.end(),
                     [code](const Step& step) { return step.code == code; });
}

// A change that depends on what there is, so that it is one read and one change.
bool looks_first(StepCode code) {
  return code == StepCode::copyup || code == StepCode::rollback || code == StepCode::sparsify ||
         code == StepCode::fill_layers;
}

// Of its snapshot, if it names one beside the request's.
std::uint64_t other_snap(const Step& step) {
  const bool names_one = step.code == StepCode::diff || step.code == StepCode::list_objects ||
                         step.code == StepCode::measure_objects || step.code == StepCode::rollback;
  return names_one ? step.offset : 0;
}

// Finds out which one first, then looks at it.
bool looks_at_clones(const net::OpRequest& request) {
  return request.snap != kHead || has_step(request, StepCode::diff) ||
         has_step(request, StepCode::lacking);
}

}  // namespace

bool Pg::needs_guard(const ClientOp& op) {
  return std::any_of(op.request.steps.begin(), op.request.steps.end(), [](const Step& step) {
    return !is_mutation(step.code) || looks_first(step.code);
  });
}

bool Pg::whole_blocks(const ClientOp& op) {
  const Step* write = write_step(op.request.steps);
  return write == nullptr || is_aligned(*write);
}

Status Pg::room_for(const ClientOp& op) const {
  std::uint64_t metadata_bytes = 0;
  bool grows = false;
  for (const Step& step : op.request.steps) {
    if (!may_grow(step.code)) continue;
    grows = true;
    metadata_bytes += step.key.size() + step.value.size();
  }
  if (!grows) return Status::ok();
  return host_.store().room_for(round_up(op.data.size()), metadata_bytes);
}

Status Pg::check_snaps(const net::OpRequest& request) const {
  const RemovedSnaps& removed = host_.removed_snaps(id_.pool);
  const auto gone = [] { return Status(ErrorCode::not_found, "the snapshot has been removed"); };
  if (request.snap != kHead && removed.contains(request.snap)) return gone();
  for (const Step& step : request.steps) {
    const std::uint64_t snap = other_snap(step);
    if (snap == 0) continue;
    if (removed.contains(snap)) return gone();
    if (snap > request.snap)
      return {ErrorCode::invalid_argument, "a difference is told from older to newer"};
  }
  return Status::ok();
}

void Pg::execute(ClientOp&& op) {
  if (op.times != nullptr) op.times->executing_ns = host_.executor().now_ns();
  if (op.trims) return execute_trim(std::move(op));
  const bool mutates = op.request.mutates();
  for (const Step& step : op.request.steps) {
    const bool zeroing = step.code == StepCode::write_zeroes || step.code == StepCode::punch;
    if (zeroing && !is_aligned(step)) {
      return refuse(op, ErrorCode::invalid_argument, "zeroing takes whole 4096-byte blocks");
    }
  }
  if (const Status snaps = check_snaps(op.request); !snaps) {
    return refuse(op, snaps.code(), snaps.message());
  }
  if (mutates && host_.full() && op.data.size() != 0) {
    return refuse(op, ErrorCode::no_space, "the OSD is full; add OSDs or delete data");
  }
  // Before the change is in any log: what is logged must happen.
  if (const Status room = room_for(op); !room) {
    return refuse(op, room.code(), "osd." + std::to_string(host_.self()) + ": " + room.message());
  }
  const bool is_plain = mutates && !needs_guard(op) && whole_blocks(op);
  if (is_plain &&
      (!depends_on_family(op.request) || families_.find(op.request.object) != nullptr)) {
    return commit_change(std::move(op), {});
  }
  if (!has_lease_for(op)) return wait_for_lease(std::move(op));
  if (op.zeros == nullptr && has_step(op.request, StepCode::sparsify)) {
    return find_zeros(std::move(op));
  }
  auto running = std::make_unique<Running>();
  running->op = std::move(op);
  running->interval = spec_.interval;
  running->began_after = log_.head_number();
  if (mutates) {
    running->locked = true;
    objects_[running->op.request.object].locked = true;
  }
  run_steps(std::move(running));
}

bool Pg::still_current(const Running& running) {
  if (current(running.interval)) return true;
  refuse(running.op, ErrorCode::stale_epoch, "new interval");
  return false;
}

void Pg::run_steps(std::unique_ptr<Running> running) {
  OpTimes* const times = running->op.times.get();
  if (times != nullptr) times->has_read(host_.executor().now_ns());
  const std::vector<Step>& steps = running->op.request.steps;
  while (running->next_step < steps.size() && is_mutation(steps[running->next_step].code)) {
    ++running->next_step;
  }
  if (running->next_step == steps.size()) return steps_done(std::move(running));
  const Step& step = steps[running->next_step++];
  if (times != nullptr) times->reads(host_.executor().now_ns());
  switch (step.code) {
    case StepCode::read:
      return run_read(std::move(running), step);
    case StepCode::sparse_read:
      return run_sparse_read(std::move(running), step);
    case StepCode::extents:
    case StepCode::assert_present:
      return run_extents(std::move(running), step);
    case StepCode::lacking:
      return run_lacking(std::move(running), step);
    case StepCode::diff:
      return run_diff(std::move(running), step);
    case StepCode::list_objects:
    case StepCode::measure_objects:
      return run_list(std::move(running), step);
    case StepCode::stat:
    case StepCode::assert_exists:
    case StepCode::assert_absent:
      return run_exists(std::move(running), step.code);
    case StepCode::watch:
    case StepCode::unwatch:
      return run_watch(std::move(running), step);
    case StepCode::list_watchers:
      return run_list_watchers(std::move(running));
    case StepCode::notify:
      return run_notify(std::move(running), step);
    default:
      return run_omap(std::move(running));
  }
}

void Pg::run_read(std::unique_ptr<Running> running, const Step& step) {
  LayerRead read = layer_read(*running, step.offset, step.length);
  const std::uint64_t offset = step.offset;
  const std::uint64_t length = step.length;
  read.done = [this, offset, length, running = std::move(running)](
                  Status status, object_store::ReadResult result) mutable {
    if (!still_current(*running)) return;
    const FetchWanted wanted{running->op.request.snap, offset, length};
    const auto from_other = [this, offset, length](std::unique_ptr<Running> waiting,
                                                   FetchedRange range) {
      waiting->reply.exists = range.exists;
      waiting->data = range.data.slice(offset % kBlockBytes, length);
      run_steps(std::move(waiting));
    };
    if (helped_by_others(running, status, wanted, from_other)) return;
    if (!status) return fail_steps(std::move(running), status.code(), status.message());
    running->reply.exists = result.exists;
    running->data = std::move(result.data);
    run_steps(std::move(running));
  };
  read_layer(std::move(read));
}

void Pg::run_exists(std::unique_ptr<Running> running, StepCode code) {
  LayerRead read = layer_read(*running, 0, 0);
  read.done = [this, code, running = std::move(running)](Status status,
                                                         object_store::ReadResult result) mutable {
    if (!still_current(*running)) return;
    const FetchWanted wanted{running->op.request.snap, 0, 0};
    const auto from_other = [this, code](std::unique_ptr<Running> waiting, FetchedRange range) {
      exists_found(std::move(waiting), code, range.exists);
    };
    if (helped_by_others(running, status, wanted, from_other)) return;
    if (!status) return fail_steps(std::move(running), status.code(), status.message());
    exists_found(std::move(running), code, result.exists);
  };
  read_layer(std::move(read));
}

void Pg::exists_found(std::unique_ptr<Running> running, StepCode code, bool exists) {
  running->reply.exists = exists;
  if (code == StepCode::assert_exists && !exists) {
    return fail_steps(std::move(running), ErrorCode::not_found, "the object does not exist");
  }
  if (code == StepCode::assert_absent && exists) {
    return fail_steps(std::move(running), ErrorCode::already_exists, "the object exists");
  }
  run_steps(std::move(running));
}

// The store shows what is submitted, durable everywhere or not, and it may look some time after it
// was asked. A read that met such a write shows nothing of it before it is acknowledged.
bool Pg::read_again(Running& running) {
  const net::OpRequest& request = running.op.request;
  if (request.mutates()) return false;
  const auto found = objects_.find(request.object);
  const bool is_changed = found != objects_.end() && found->second.in_flight_writes != 0;
  if (is_changed && overlaps_in_flight(running.op)) {
    pg_read_met_write.hit();
    found->second.waiting.push_back(std::move(running.op));
    return true;
  }
  if (!looks_at_clones(request) || !fills_.may_have_filled(request.object, running.began_after)) {
    return false;
  }
  pg_read_met_fill.hit();
  admit(std::move(running.op));
  return true;
}

void Pg::fail_steps(std::unique_ptr<Running> running, ErrorCode code, std::string message) {
  if (read_again(*running)) return;
  const std::string object = running->op.request.object;
  if (running->op.trims) {
    trimmer_.object_done(object, Status(code, std::move(message)), false);
  } else {
    net::OpReply answer;
    answer.code = code;
    answer.exists = running->reply.exists;
    answer.message = std::move(message);
    reply(running->op, std::move(answer), {});
  }
  if (!running->locked) return;
  objects_[object].locked = false;
  release_object(object);
}

bool Pg::fence_still_holds(std::unique_ptr<Running>& running) {
  if (!fence_.superseded(running->op.request.fence) || planted(PlantedBug::no_fencing_check)) {
    return true;
  }
  pg_superseded_while_running.hit();
  ++counters_.refused_fenced;
  fail_steps(std::move(running), ErrorCode::fenced,
             "another client has taken the image's lock over");
  return false;
}

void Pg::steps_done(std::unique_ptr<Running> running) {
  if (!fence_still_holds(running)) return;
  if (running->op.request.mutates()) {
    if (has_step(running->op.request, StepCode::copyup)) return run_copyup(std::move(running));
    if (running->op.zeros != nullptr) return run_sparsify(std::move(running));
    if (has_step(running->op.request, StepCode::fill_layers)) return run_fill(std::move(running));
    if (!whole_blocks(running->op)) return merge_partial_write(std::move(running));
    return commit_running(std::move(running));
  }
  if (read_again(*running)) return;
  // A clone may have gone while it was read: then the snapshot is one that is being removed.
  if (const Status snaps = check_snaps(running->op.request); !snaps) {
    return fail_steps(std::move(running), snaps.code(), snaps.message());
  }
  ++counters_.reads;
  counters_.read_bytes += running->data.size();
  counters_.read_ns.record(host_.executor().now_ns() - running->op.arrived_ns);
  reply(running->op, std::move(running->reply), std::move(running->data));
}

void Pg::merge_partial_write(std::unique_ptr<Running> running) {
  const Step* write = write_step(running->op.request.steps);
  const std::uint64_t begin = round_down(write->offset);
  const std::uint64_t end = round_up(write->offset + write->length);
  const ObjectId object = object_id(running->op.request.object);
  if (running->op.times != nullptr) running->op.times->reads(host_.executor().now_ns());
  host_.store().read(id_, object, begin, end - begin, false,
                     [this, begin, end, running = std::move(running)](
                         Status status, object_store::ReadResult result) mutable {
                       if (!still_current(*running)) return;
                       const auto from_other = [this, begin](std::unique_ptr<Running> waiting,
                                                             FetchedRange range) {
                         merge_and_commit(std::move(waiting), begin, range.data);
                       };
                       const FetchWanted wanted{kHead, begin, end - begin};
                       if (helped_by_others(running, status, wanted, from_other)) return;
                       if (!status)
                         return fail_steps(std::move(running), status.code(), status.message());
                       merge_and_commit(std::move(running), begin, result.data);
                     });
}

void Pg::merge_and_commit(std::unique_ptr<Running> running, std::uint64_t begin,
                          const Buffer& old) {
  ClientOp& op = running->op;
  if (op.times != nullptr) op.times->has_read(host_.executor().now_ns());
  Buffer merged = Buffer::copy_of(old.span());
  for (Step& step : op.request.steps) {
    if (step.code != StepCode::write) continue;
    std::memcpy(merged.data() + (step.offset - begin), op.data.data(), op.data.size());
    step.offset = begin;
    step.length = old.size();
  }
  op.data = std::move(merged);
  commit_running(std::move(running));
}

}  // namespace cairn::pg
