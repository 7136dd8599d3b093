// The limits of an operation: see op_limits.hh.
#include "net/op_limits.hh"

#include <algorithm>
#include <bit>

namespace cairn::net {

namespace {

// Bytes of the encoded request without names, keys and values, and of a step without them.
constexpr std::size_t kFixedBytes = 16 + 8 + 4 + 1 + 8 + 2 + 8 + 1;
constexpr std::size_t kStepBytes = 1 + 8 + 8;
constexpr std::size_t kSnapContextBytes = 8 + 2;

Status too_large(const char* what, std::size_t bytes, std::size_t most) {
  return {ErrorCode::too_large, std::string(what) + " has " + std::to_string(bytes) +
                                    " bytes, at most " + std::to_string(most) + " are allowed"};
}

Status invalid(const char* what) { return {ErrorCode::invalid_argument, what}; }

bool watch_fits(const Step& step) {
  const bool has_timeout = step.length > 0 && step.length <= kMaxWatchTimeoutMs;
  switch (step.code) {
    case StepCode::watch:
      return step.key.size() <= kMaxCookieBytes && step.value.size() <= kMaxWatchDescriptionBytes &&
             has_timeout;
    case StepCode::unwatch:
      return step.key.size() <= kMaxCookieBytes && step.value.empty();
    case StepCode::notify:
      return step.key.empty() && step.value.size() <= kMaxNotifyPayloadBytes && has_timeout;
    case StepCode::list_watchers:
      return step.key.empty() && step.value.empty();
    default:
      return true;
  }
}

// A place of the object, and a length that divides it.
bool sparsify_fits(const Step& step) {
  return step.offset % kBlockBytes == 0 && step.offset <= kMaxObjectBytes &&
         step.length >= kBlockBytes && step.length <= kMaxObjectBytes &&
         std::has_single_bit(step.length);
}

// Of the steps that name layers in their value.
bool layers_fit(const Step& step) {
  constexpr std::size_t kIdBytes = sizeof(std::uint64_t);
  const std::size_t bytes = step.value.size();
  const bool is_whole = (step.offset | step.length) % kBlockBytes == 0;
  switch (step.code) {
    case StepCode::write_layer:
    case StepCode::share_blocks:
      return step.key.empty() && is_whole &&
             bytes == (step.code == StepCode::write_layer ? kIdBytes : 2 * kIdBytes);
    case StepCode::fill_layers:
    case StepCode::lacking: {
      if (step.code == StepCode::fill_layers && !is_whole) return false;
      if (!step.key.empty() || bytes == 0 || bytes % kIdBytes != 0) return false;
      if (bytes > (kMaxContextSnaps + 1) * kIdBytes) return false;
      std::uint64_t last = 0;
      for (const std::uint64_t id : unpack_ids(step.value)) {
        if (id <= last) return false;
        last = id;
      }
      return true;
    }
    default:
      return true;
  }
}

// Of the steps about snapshots that have no range: a snapshot's id in the offset.
bool snap_step_fits(const Step& step) {
  const bool is_some = step.offset != 0 && step.offset != kHead;
  switch (step.code) {
    case StepCode::diff:
      return step.offset != kHead && step.length == 0;
    case StepCode::list_objects:
    case StepCode::measure_objects:
      return step.offset != kHead && step.length >= 1 && step.length <= kMaxListedObjects &&
             step.key.size() <= kMaxObjectNameBytes && step.value.size() <= kMaxObjectNameBytes;
    case StepCode::sparsify:
      return sparsify_fits(step);
    case StepCode::rollback:
    case StepCode::clone_head:
    case StepCode::remove_clone:
    case StepCode::restore_head:
      return is_some && step.length == 0;
    case StepCode::copy_clone:
      return is_some && step.length > step.offset && step.length != kHead;
    case StepCode::set_snapset:
      return step.offset == 0 && step.length == 0 && step.key.empty() &&
             step.value.size() <= kMaxSnapSetBytes;
    default:
      return true;
  }
}

// Fills the reply's data, or the extents that belong to a snapshot.
bool answers_much(StepCode code) {
  return code == StepCode::read || code == StepCode::sparse_read || code == StepCode::diff ||
         code == StepCode::list_objects || code == StepCode::measure_objects;
}

}  // namespace

Status check_step(const Step& step) {
  if (has_key(step.code)) {
    if (step.key.size() > kMaxOmapKeyBytes)
      return too_large("a key", step.key.size(), kMaxOmapKeyBytes);
    if (step.value.size() > kMaxOmapValueBytes)
      return too_large("a value", step.value.size(), kMaxOmapValueBytes);
    if (!watch_fits(step)) return invalid("a step of a watch is beyond its limits");
  }
  if (!snap_step_fits(step) || !layers_fit(step))
    return invalid("a step about snapshots is beyond its limits");
  if (!has_range(step.code)) return Status::ok();
  if (step.offset > kMaxObjectBytes || step.length > kMaxObjectBytes - step.offset)
    return {ErrorCode::out_of_range, "a range reaches behind the largest object"};
  if (step.code == StepCode::copyup && (step.offset | step.length) % kBlockBytes != 0)
    return invalid("a copyup takes whole 4096-byte blocks");
  return Status::ok();
}

Status check_snap_context(const SnapContext& context) {
  if (context.snaps.size() > kMaxContextSnaps)
    return invalid("a snap context has at most 512 snapshots");
  std::uint64_t newest = context.seq;
  for (const std::uint64_t snap : context.snaps) {
    if (snap == 0 || snap > newest)
      return invalid("the snapshots of a snap context come newest first, none above its seq");
    newest = snap - 1;
  }
  return context.seq == kHead ? invalid("a snap context's seq is no snapshot") : Status::ok();
}

Status check_steps(const OpRequest& request, std::size_t data_bytes) {
  const std::vector<Step>& steps = request.steps;
  const auto count = [&steps](auto what) {
    return std::count_if(steps.begin(), steps.end(),
                         [what](const Step& step) { return what(step.code); });
  };
  if (count(is_internal) > 0) return invalid("a step that only primaries send to replicas");
  if (count(answers_much) > 1 || count(has_data) > 1)
    return invalid("an operation has one read and one write at most");
  const auto stands_alone = [](StepCode code) {
    return code == StepCode::copyup || code == StepCode::rollback || code == StepCode::sparsify ||
           code == StepCode::fill_layers;
  };
  if (count(stands_alone) > 0 && count(is_mutation) > 1)
    return invalid("a copyup, filling, rollback or sparsify is the only change of its operation");
  if (request.snap != kHead && request.mutates())
    return invalid("a snapshot can't be changed: only the head can");
  const auto with_data = std::find_if(steps.begin(), steps.end(),
                                      [](const Step& step) { return has_data(step.code); });
  const std::size_t written = with_data == steps.end() ? 0 : with_data->length;
  if (written != data_bytes || (with_data != steps.end() && data_bytes == 0))
    return invalid("the data is not that of the operation's write");
  return Status::ok();
}

Status check_limits(const OpRequest& request, std::size_t data_bytes) {
  const std::string& object = request.object;
  const std::vector<Step>& steps = request.steps;
  if (object.empty() || object.size() > kMaxObjectNameBytes)
    return invalid("an object name has 1 to 255 bytes");
  if (steps.empty() || steps.size() > kMaxStepsPerOp)
    return invalid("an operation has 1 to 64 steps");
  std::size_t meta_bytes = kFixedBytes + object.size() + steps.size() * kStepBytes;
  if (request.fence.token != 0) {
    const std::size_t key_bytes = request.fence.key.size();
    if (key_bytes == 0 || key_bytes > kMaxFenceKeyBytes)
      return invalid("a fence key has 1 to 64 bytes");
    meta_bytes += 2 + key_bytes;
  }
  if (request.snap != kHead) meta_bytes += sizeof request.snap;
  CAIRN_RETURN_IF_ERROR(check_snap_context(request.snap_context));
  if (request.snap_context.seq != 0)
    meta_bytes += kSnapContextBytes + request.snap_context.snaps.size() * sizeof(std::uint64_t);
  for (const Step& step : steps) {
    CAIRN_RETURN_IF_ERROR(check_step(step));
    if (has_key(step.code)) meta_bytes += kPairOverheadBytes + step.key.size() + step.value.size();
  }
  CAIRN_RETURN_IF_ERROR(check_steps(request, data_bytes));
  if (data_bytes > kMaxDataBytes) return too_large("the data", data_bytes, kMaxDataBytes);
  if (meta_bytes > kMaxOpMetaBytes)
    return too_large("an operation without its data", meta_bytes, kMaxOpMetaBytes);
  return Status::ok();
}

}  // namespace cairn::net
