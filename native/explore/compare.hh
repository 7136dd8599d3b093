// The comparison of an open store with a model, over the store's whole interface.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "explore/model.hh"

namespace cairn::explore {

// Runs the executor until the flag is set; false: it never was.
using RunUntil = std::function<bool(const bool&)>;

// exact: everything must be there. damaged: an answer may also be a named error of damage (corrupt,
// checksum_mismatch), but never a wrong value.
enum class Tolerance : std::uint8_t { exact, damaged };

struct Comparison {
  std::string difference;             // the first one; empty: none
  std::uint64_t reported_errors = 0;  // answers that were a named error of damage
};

Comparison compare(object_store::ObjectStore& store, const Model& model, const RunUntil& run,
                   Tolerance tolerance);

}  // namespace cairn::explore
