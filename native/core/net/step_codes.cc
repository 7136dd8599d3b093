// What the codes of steps mean for their fields.
#include <algorithm>

#include "net/messages.hh"

namespace cairn::net {

bool has_key(StepCode code) {
  return (code >= StepCode::omap_get && code <= StepCode::list_watchers) ||
         code == StepCode::list_objects || code == StepCode::measure_objects ||
         code == StepCode::set_snapset;
}

bool has_range(StepCode code) {
  return code < StepCode::omap_get ||
         (code >= StepCode::sparse_read && code <= StepCode::assert_present);
}

bool has_data(StepCode code) { return code == StepCode::write || code == StepCode::copyup; }

bool is_internal(StepCode code) {
  return code >= StepCode::clone_head && code <= StepCode::restore_head;
}

bool is_mutation(StepCode code) {
  switch (code) {
    case StepCode::write:
    case StepCode::write_zeroes:
    case StepCode::punch:
    case StepCode::touch:
    case StepCode::remove:
    case StepCode::omap_set:
    case StepCode::omap_remove:
    case StepCode::copyup:
    case StepCode::rollback:
    case StepCode::sparsify:
      return true;
    default:
      return false;
  }
}

bool OpRequest::mutates() const {
  return std::any_of(steps.begin(), steps.end(),
                     [](const Step& step) { return is_mutation(step.code); });
}

}  // namespace cairn::net
