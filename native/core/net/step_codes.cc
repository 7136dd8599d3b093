// What the codes of steps mean for their fields.
#include <algorithm>

#include "net/messages.hh"

namespace cairn::net {

namespace {

// In its value.
bool names_layers(StepCode code) {
  return code >= StepCode::fill_layers && code <= StepCode::share_blocks;
}

}  // namespace

std::string pack_ids(const std::vector<std::uint64_t>& ids) {
  Writer writer;
  for (const std::uint64_t id : ids) writer.put(id);
  return std::string(as_text(writer.span()));
}

std::vector<std::uint64_t> unpack_ids(std::string_view value) {
  Reader reader(as_bytes(value));
  std::vector<std::uint64_t> ids;
  while (reader.remaining() >= sizeof(std::uint64_t)) ids.push_back(reader.get<std::uint64_t>());
  return ids;
}

bool has_key(StepCode code) {
  return (code >= StepCode::omap_get && code <= StepCode::list_watchers) ||
         code == StepCode::list_objects || code == StepCode::measure_objects ||
         code == StepCode::set_snapset || names_layers(code);
}

bool has_range(StepCode code) {
  return code < StepCode::omap_get ||
         (code >= StepCode::sparse_read && code <= StepCode::assert_present) || names_layers(code);
}

bool has_data(StepCode code) {
  return code == StepCode::write || code == StepCode::copyup || code == StepCode::fill_layers ||
         code == StepCode::write_layer;
}

bool is_internal(StepCode code) {
  return (code >= StepCode::clone_head && code <= StepCode::restore_head) ||
         code >= StepCode::write_layer;
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
    case StepCode::fill_layers:
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
