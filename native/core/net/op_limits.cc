// The limits of an operation: see op_limits.hh.
#include "net/op_limits.hh"

#include <algorithm>

namespace cairn::net {

namespace {

// Bytes of the encoded request without names, keys and values, and of a step without them.
constexpr std::size_t kFixedBytes = 16 + 8 + 4 + 1 + 8 + 2 + 8 + 1;
constexpr std::size_t kStepBytes = 1 + 8 + 8;

Status too_large(const char* what, std::size_t bytes, std::size_t most) {
  return {ErrorCode::too_large, std::string(what) + " has " + std::to_string(bytes) +
                                    " bytes, at most " + std::to_string(most) + " are allowed"};
}

Status check_step(const Step& step) {
  if (has_key(step.code)) {
    if (step.key.size() > kMaxOmapKeyBytes)
      return too_large("a key", step.key.size(), kMaxOmapKeyBytes);
    if (step.value.size() > kMaxOmapValueBytes)
      return too_large("a value", step.value.size(), kMaxOmapValueBytes);
    if (!key_and_value_fit(step))
      return {ErrorCode::invalid_argument, "a step of a watch is beyond its limits"};
    return Status::ok();
  }
  if (step.offset <= kMaxObjectBytes && step.length <= kMaxObjectBytes - step.offset)
    return Status::ok();
  return {ErrorCode::out_of_range, "a range reaches behind the largest object"};
}

}  // namespace

bool key_and_value_fit(const Step& step) {
  switch (step.code) {
    case StepCode::watch:
      return step.key.size() <= kMaxCookieBytes && step.value.size() <= kMaxWatchDescriptionBytes &&
             step.length > 0 && step.length <= kMaxWatchTimeoutMs;
    case StepCode::unwatch:
      return step.key.size() <= kMaxCookieBytes && step.value.empty();
    case StepCode::notify:
      return step.key.empty() && step.value.size() <= kMaxNotifyPayloadBytes && step.length > 0 &&
             step.length <= kMaxWatchTimeoutMs;
    case StepCode::list_watchers:
      return step.key.empty() && step.value.empty();
    default:
      return step.key.size() <= kMaxOmapKeyBytes && step.value.size() <= kMaxOmapValueBytes;
  }
}

Status check_limits(const OpRequest& request, std::size_t data_bytes) {
  const std::string& object = request.object;
  const std::vector<Step>& steps = request.steps;
  if (object.empty() || object.size() > kMaxObjectNameBytes)
    return {ErrorCode::invalid_argument, "an object name has 1 to 255 bytes"};
  if (steps.empty() || steps.size() > kMaxStepsPerOp)
    return {ErrorCode::invalid_argument, "an operation has 1 to 64 steps"};
  std::size_t meta_bytes = kFixedBytes + object.size() + steps.size() * kStepBytes;
  if (request.fence.token != 0) {
    const std::size_t key_bytes = request.fence.key.size();
    if (key_bytes == 0 || key_bytes > kMaxFenceKeyBytes)
      return {ErrorCode::invalid_argument, "a fence key has 1 to 64 bytes"};
    meta_bytes += 2 + key_bytes;
  }
  for (const Step& step : steps) {
    CAIRN_RETURN_IF_ERROR(check_step(step));
    if (has_key(step.code)) meta_bytes += kPairOverheadBytes + step.key.size() + step.value.size();
  }
  const auto count = [&steps](StepCode code) {
    return std::count_if(steps.begin(), steps.end(),
                         [code](const Step& step) { return step.code == code; });
  };
  if (count(StepCode::read) > 1 || count(StepCode::write) > 1)
    return {ErrorCode::invalid_argument, "an operation has one read and one write at most"};
  const auto write = std::find_if(steps.begin(), steps.end(),
                                  [](const Step& step) { return step.code == StepCode::write; });
  const std::size_t written = write == steps.end() ? 0 : write->length;
  if (written != data_bytes || (write != steps.end() && data_bytes == 0))
    return {ErrorCode::invalid_argument, "the data is not that of the operation's write"};
  if (data_bytes > kMaxDataBytes) return too_large("the data", data_bytes, kMaxDataBytes);
  if (meta_bytes > kMaxOpMetaBytes)
    return too_large("an operation without its data", meta_bytes, kMaxOpMetaBytes);
  return Status::ok();
}

}  // namespace cairn::net
