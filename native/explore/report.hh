// What a run prints: a progress line, a plain report or JSON.
#pragma once

#include <string>

#include "explore/workers.hh"

namespace cairn::explore {

std::string progress_line(const RunResult& result, const RunOptions& options);
std::string plain_report(const RunResult& result, const RunOptions& options);
std::string json_report(const RunResult& result, const RunOptions& options);
// The command that checks just this state again.
std::string replay_command(const StateId& state, const StoreGeometry& geometry);

}  // namespace cairn::explore
