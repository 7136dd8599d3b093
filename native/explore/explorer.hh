// Explorer: checks every state of every moment of the lives of a seed.
//
// A state is a disk after a power cut, perhaps with damage. It is opened by the real store, on a
// machine of its own, and compared with the model:
// - without damage: every acknowledged transaction is there, of the others a prefix, each whole,
//   and nothing else; a power cut during recovery changes none of it;
// - with damage: the same, or a named error in its place; the one loss that damage.hh allows.
// Two workers share nothing; what they find they hand to a sink.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "explore/compare.hh"
#include "explore/state.hh"

namespace cairn::explore {

struct Tally {
  std::array<std::uint64_t, kStateKinds> states{};  // checked, by kind
  std::uint64_t repeats = 0;  // states equal to one that was checked before, not counted above
  std::uint64_t lives = 0;
  std::uint64_t moments = 0;
  std::uint64_t transactions = 0;
  // Faults delivered, in the states that were checked.
  std::uint64_t power_cuts = 0;
  std::uint64_t writes_lost = 0;  // by power cuts
  std::uint64_t writes_torn = 0;
  std::uint64_t bits_flipped = 0;
  std::uint64_t writes_dropped = 0;  // lost though flushed
  std::uint64_t writes_misdirected = 0;
  // What became of damage.
  std::uint64_t refused = 0;   // the store did not open, and said why
  std::uint64_t reported = 0;  // some answers were named errors
  std::uint64_t harmless = 0;  // healed, or nothing hit that counts

  std::uint64_t total() const;
};

class ExplorerSink {
 public:
  virtual ~ExplorerSink() = default;
  // Before each state; false ends the run.
  virtual bool go_on(const StateId& next) = 0;
  virtual void found(const StateId& state, const std::string& text) = 0;
};

class Explorer {
 public:
  Explorer(StoreGeometry geometry, Tally& tally, ExplorerSink& sink)
      : geometry_(geometry), tally_(tally), sink_(sink) {}

  void explore(std::uint64_t seed);
  // Checks just this state. The text: what it is, and what came of it; none: there is no such
  // state.
  std::optional<std::string> replay(const StateId& state);

 private:
  struct Checked {
    std::string problem;  // empty: none
    bool is_refused = false;
    std::uint64_t last = 0;  // transaction
    std::uint64_t reported_errors = 0;
  };
  struct Bounds {
    std::uint64_t lowest = 0;
    std::uint64_t highest = 0;
    bool may_refuse = false;
    bool may_work_on = true;
    Tolerance tolerance = Tolerance::exact;
  };

  // Both true when the run goes on.
  bool run_lives(std::uint64_t seed);
  bool run_moment(const Life& life, std::size_t index);
  // Cuts the power at the end of a life. The last transaction that is left; none: the seed ends.
  std::optional<std::uint64_t> end_life(const Life& life, std::uint64_t number,
                                        io::SimDiskImage& image);
  std::vector<StateSpec> states_at(const Life& life, std::size_t index) const;

  void run_state(const Life& life, const Moment& moment, const StateSpec& spec);
  void run_power_cut(const Life& life, const Moment& moment, const StateSpec& spec,
                     const io::SimDiskImage& image);
  void run_recovery(const Life& life, const Moment& moment, const StateSpec& spec,
                    io::SimDiskImage image);
  void run_damage(const Life& life, const Moment& moment, const StateSpec& spec,
                  io::SimDiskImage image);
  // What an undamaged disk holds, from memory when it is known.
  Checked undamaged(const Life& life, const Moment& moment, const io::SimDiskImage& image);
  Checked check(const Life& life, const io::SimDiskImage& image, const Bounds& bounds);
  std::string check_further(Machine& machine, const Model& model);
  void count_cut(const StateSpec& spec, const Moment& moment);
  void report(const std::string& problem);

  const StoreGeometry geometry_;
  Tally& tally_;
  ExplorerSink& sink_;
  std::optional<StateId> wanted_;  // replay: nothing else is checked
  StateId at_;
  std::string description_;
  std::string outcome_;
  std::unordered_map<std::uint64_t, std::uint64_t> known_;  // content to last transaction
  std::unordered_set<std::uint64_t> known_damaged_;
};

}  // namespace cairn::explore
