// Which states a moment has.
#include "explore/state.hh"

#include <algorithm>
#include <array>
#include <charconv>

#include "explore/damage.hh"

namespace cairn::explore {

namespace {

constexpr std::size_t kMostExhaustive = 10;
constexpr std::size_t kSamples = 48;
// Of a longer write the tears are drawn.
constexpr std::size_t kMostTears = 64;
// How much beside the power cuts themselves is tried at a moment. Most is at those at which a write
// became pending: the others differ from the one before in what has been flushed or acknowledged.
struct Extent {
  std::size_t recoveries, recoveries_twice, bit_flips, misplaced_writes, other_tears;
};
constexpr Extent kAtNewWrite{4, 3, kFieldClasses, 2, 4};
constexpr Extent kElsewhere{1, 1, 2, 1, 1};

constexpr std::array<std::string_view, kStateKinds> kNames = {
    "subset",         "sample",   "tear",       "recovery",
    "recovery twice", "bit flip", "lost write", "misdirected write"};

class Enumeration {
 public:
  Enumeration(const Moment& moment, std::uint64_t seed)
      : pending_(moment.image.pending()), random_(seed) {}

  std::vector<StateSpec> make(bool is_new) {
    if (pending_.size() <= kMostExhaustive)
      add_subsets();
    else
      add_samples();
    const Extent& extent = is_new ? kAtNewWrite : kElsewhere;
    if (is_new) add_tears();
    for (std::size_t i = 0; i < extent.other_tears && !pending_.empty(); ++i)
      add_drawn_tear(random_.below(pending_.size()));
    for (std::size_t i = 0; i < extent.recoveries; ++i) add_drawn(StateKind::recovery);
    for (std::size_t i = 0; i < extent.recoveries_twice; ++i) add_drawn(StateKind::recovery_twice);
    const std::uint64_t first_class = random_.below(kFieldClasses);
    for (std::size_t i = 0; i < extent.bit_flips; ++i) {
      add_drawn(StateKind::bit_flip);
      states_.back().field_class = (first_class + i) % kFieldClasses;
    }
    for (std::size_t i = 0; i < extent.misplaced_writes; ++i) {
      add_drawn(StateKind::lost_write);
      add_drawn(StateKind::misdirected_write);
    }
    return std::move(states_);
  }

 private:
  void add(StateKind kind, io::CrashChoice choice) {
    states_.push_back({kind, std::move(choice), random_.next(), 0});
  }
  void add_drawn(StateKind kind) { add(kind, io::CrashChoice::draw(pending_, random_)); }

  void add_subsets() {
    for (std::uint64_t mask = 0; mask < std::uint64_t{1} << pending_.size(); ++mask)
      add(StateKind::subset, io::CrashChoice::keep_mask(mask));
  }

  // Beside the drawn sets the four that find most: none, all, all but one, one alone.
  void add_samples() {
    add(StateKind::sample, io::CrashChoice::lose_all());
    add(StateKind::sample, io::CrashChoice::keep_first(pending_.size()));
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      std::vector<bool> kept(pending_.size(), true);
      kept[i] = false;
      add(StateKind::sample, {kept, {}});
      kept.flip();
      add(StateKind::sample, {kept, {}});
    }
    for (std::size_t i = 0; i < kSamples; ++i) add_drawn(StateKind::sample);
  }

  void add_tear(std::size_t index, std::uint64_t from, std::uint64_t to) {
    // The others: a fair coin for all of them together, so that the torn write is what differs.
    io::CrashChoice choice{std::vector<bool>(pending_.size(), random_.below(2) == 0), {}};
    choice.kept[index] = true;
    choice.tears.push_back({index, from, to});
    add(StateKind::tear, std::move(choice));
  }

  void add_drawn_tear(std::size_t index) {
    const std::uint64_t length = pending_[index].bytes.size();
    const std::uint64_t cut = random_.between(1, length / io::kSectorBytes - 1) * io::kSectorBytes;
    if (random_.below(2) == 0)
      add_tear(index, 0, cut);
    else
      add_tear(index, cut, length);
  }

  // Of the newest write, at each of its sectors, from the front and from the back.
  void add_tears() {
    const auto newest = std::max_element(pending_.begin(), pending_.end(),
                                         [](const auto& a, const auto& b) { return a.id < b.id; });
    if (newest == pending_.end()) return;
    const auto index = static_cast<std::size_t>(newest - pending_.begin());
    const std::uint64_t length = newest->bytes.size();
    if (2 * length / io::kSectorBytes > kMostTears) {
      for (std::size_t i = 0; i < kMostTears; ++i) add_drawn_tear(index);
      return;
    }
    for (std::uint64_t cut = io::kSectorBytes; cut < length; cut += io::kSectorBytes) {
      add_tear(index, 0, cut);
      add_tear(index, cut, length);
    }
  }

  const std::vector<io::PendingWrite> pending_;
  Random random_;
  std::vector<StateSpec> states_;
};

}  // namespace

std::string_view name_of(StateKind kind) { return kNames[static_cast<std::size_t>(kind)]; }

std::string StateId::to_string() const {
  return std::to_string(seed) + ":" + std::to_string(step) + ":" + std::to_string(state);
}

std::optional<StateId> StateId::parse(std::string_view text) {
  StateId id;
  std::uint64_t* const parts[] = {&id.seed, &id.step, &id.state};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::size_t i = 0; i < 3; ++i) {
    if (i > 0 && (at == end || *at++ != ':')) return std::nullopt;
    const auto [next, error] = std::from_chars(at, end, *parts[i]);
    if (error != std::errc()) return std::nullopt;
    at = next;
  }
  return at == end ? std::optional(id) : std::nullopt;
}

std::vector<StateSpec> states_of(const Moment& moment, bool is_new, std::uint64_t seed) {
  return Enumeration(moment, seed).make(is_new);
}

std::string describe(const io::CrashChoice& choice, const std::vector<io::PendingWrite>& pending) {
  std::string text;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pending.size(); ++i) {
    const bool is_kept = i < choice.kept.size() && choice.kept[i];
    if (is_kept) ++kept;
    text += is_kept ? "\n    kept" : "\n    lost";
    text += " offset " + std::to_string(pending[i].offset) + " length " +
            std::to_string(pending[i].bytes.size());
    for (const io::CrashChoice::Tear& tear : choice.tears)
      if (tear.index == i && is_kept)
        text += " torn: bytes " + std::to_string(tear.from) + " to " + std::to_string(tear.to);
  }
  return "power cut, " + std::to_string(kept) + " of " + std::to_string(pending.size()) +
         " unflushed writes kept" + text;
}

}  // namespace cairn::explore
