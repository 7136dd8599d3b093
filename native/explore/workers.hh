// Workers: explorers in processes of their own, each with its own seeds, that share nothing but a
// page of counters. A store that fails an assertion, or never comes back, ends its process only,
// and the page still says in which state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_function.hh"
#include "explore/explorer.hh"

namespace cairn::explore {

struct RunOptions {
  std::uint64_t seed = 1;
  double seconds = 60;              // none limits it: 0
  std::uint64_t most_states = 0;    // none limits it: 0
  std::uint64_t most_findings = 5;  // then the run ends
  unsigned workers = 2;
  StoreGeometry geometry;
};

struct RunResult {
  struct Finding {
    StateId state;
    std::string text;
    double after_seconds = 0;
  };
  Tally tally;
  double seconds = 0;
  std::vector<Finding> findings;
};

// progress: called some times a second with what is known by then.
RunResult run_workers(const RunOptions& options, UniqueFunction<void(const RunResult&)> progress);

}  // namespace cairn::explore
