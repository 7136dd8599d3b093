// Answers of the core to questions of peering about its PGs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "binding_promise.hh"
#include "pg/osd_core.hh"

namespace cairn::binding {

// NativePgStatus of each PG.
void answer_statuses(const pg::OsdCore& core, const Promise& promise);
// NativeLogEntry of each entry behind `after`; pg may be null: none.
void answer_log(const pg::Pg* pg, std::uint64_t after, std::size_t limit, const Promise& promise);

}  // namespace cairn::binding
