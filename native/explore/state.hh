// The states of the disk that the explorer makes of a moment, as values: what was lost, torn or
// damaged. Which states a moment has follows from the seed alone, so a number names one for good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "explore/life.hh"

namespace cairn::explore {

enum class StateKind : std::uint8_t {
  subset,             // a power cut; each set of up to 10 unflushed writes
  sample,             // a power cut; drawn sets of more unflushed writes, some of them torn
  tear,               // a power cut; one write torn at one of its sectors
  recovery,           // a second power cut while the store recovers from the first
  recovery_twice,     // and a third one while it recovers from the second
  bit_flip,           // after a power cut a bit of one class of fields has decayed
  lost_write,         // a write was never done, though a flush said so
  misdirected_write,  // a write went to another place
};
constexpr std::size_t kStateKinds = 8;
std::string_view name_of(StateKind kind);

struct StateId {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;   // moment, counted over the lives of the seed
  std::uint64_t state = 0;  // number among the states of the moment

  std::string to_string() const;
  // As to_string() writes it: SEED:STEP:STATE.
  static std::optional<StateId> parse(std::string_view text);
};

struct StateSpec {
  StateKind kind = StateKind::subset;
  io::CrashChoice choice;       // of the first power cut
  std::uint64_t seed = 0;       // decides the rest
  std::size_t field_class = 0;  // bit_flip
};

// is_new: a write became pending with this moment, so its tears have not been tried yet.
std::vector<StateSpec> states_of(const Moment& moment, bool is_new, std::uint64_t seed);

// "keeps 3 of 5 unflushed writes: ..." for a report.
std::string describe(const io::CrashChoice& choice, const std::vector<io::PendingWrite>& pending);

}  // namespace cairn::explore
