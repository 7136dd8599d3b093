// Power cuts, and the comparison.
#include "explore/explorer.hh"

#include <numeric>

#include "explore/damaged_image.hh"

namespace cairn::explore {

namespace {

constexpr std::uint64_t kLivesOfSeed = 3;
// What a seed is mixed with, so that what is drawn from it differs from the lives' contents: the
// model takes equal contents for a shared block.
constexpr std::uint64_t kFurtherWork = 0x66757274686572;
// One undamaged state in so many works on after the comparison.
constexpr std::uint64_t kWorksOn = 16;
constexpr std::uint64_t kReclaimNs = 20'000'000'000;
constexpr std::uint64_t kMostStepsOfRecovery = 60;

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  return Random(a * 0x9e3779b97f4a7c15ULL + b).next();
}

std::string between(std::uint64_t last, std::uint64_t lowest, std::uint64_t highest) {
  return "the last transaction is " + std::to_string(last) + ", expected " +
         (lowest == highest ? std::to_string(lowest)
                            : std::to_string(lowest) + " to " + std::to_string(highest));
}

// The image at a drawn moment of the recovery and of the first steps behind it.
Result<io::SimDiskImage> cut_recovery(const io::SimDiskImage& image, Random& random) {
  std::vector<io::SimDiskImage> moments{image};
  Machine machine(image, random.next());
  machine.disk.observe([&](const io::SimDiskImage& now) { moments.push_back(now); });
  CAIRN_RETURN_IF_ERROR(machine.open());
  if (random.below(2) == 0) {
    machine.store->checkpoint([](Status) {});
    machine.executor.run_until_idle(random.below(kMostStepsOfRecovery));
  }
  machine.disk.observe({});
  const io::SimDiskImage& moment = moments[random.below(moments.size())];
  return moment.crash(io::CrashChoice::draw(moment.pending(), random));
}

}  // namespace

std::uint64_t Tally::total() const {
  return std::accumulate(states.begin(), states.end(), std::uint64_t{0});
}

void Explorer::explore(std::uint64_t seed) {
  wanted_.reset();
  run_lives(seed);
}

std::optional<std::string> Explorer::replay(const StateId& state) {
  wanted_ = state;
  description_.clear();
  outcome_.clear();
  run_lives(state.seed);
  if (description_.empty()) return std::nullopt;
  return description_ + "\n" + (outcome_.empty() ? "as it must be" : outcome_);
}

bool Explorer::run_lives(std::uint64_t seed) {
  Result<io::SimDiskImage> formatted = formatted_image(geometry_);
  CAIRN_ASSERT(formatted.is_ok());
  io::SimDiskImage image = *formatted;
  std::vector<Model> history(1);
  at_ = {seed, 0, 0};
  for (std::uint64_t number = 0; number < kLivesOfSeed; ++number) {
    known_.clear();
    known_damaged_.clear();
    const std::uint64_t before = history.back().transaction;
    const Life life = live(image, std::move(history), mixed(seed, number), geometry_);
    ++tally_.lives;
    tally_.transactions += life.models.back().transaction - before;
    if (!life.failure.empty()) {
      at_.step += life.moments.size() - 1;
      at_.state = 0;
      description_ = "life " + std::to_string(number) + ", without any fault";
      report(life.failure);
      return true;
    }
    for (std::size_t index = 0; index < life.moments.size(); ++index, ++at_.step)
      if (!run_moment(life, index)) return false;
    const std::optional<std::uint64_t> left = end_life(life, number, image);
    if (!left) return true;
    history.assign(life.models.begin(),
                   life.models.begin() + static_cast<std::ptrdiff_t>(*left) + 1);
  }
  return true;
}

std::vector<StateSpec> Explorer::states_at(const Life& life, std::size_t index) const {
  bool is_new = false;
  for (const DiskWrite& write : life.writes) is_new = is_new || write.moment == index;
  return states_of(life.moments[index], is_new, mixed(at_.seed, at_.step));
}

// The power cut that the next life begins with is the state behind the others of the last moment.
// What comes of it must depend on nothing but its name: a replay has checked nothing before it.
std::optional<std::uint64_t> Explorer::end_life(const Life& life, std::uint64_t number,
                                                io::SimDiskImage& image) {
  const Moment& last = life.moments.back();
  --at_.step;
  at_.state = states_at(life, life.moments.size() - 1).size();
  if (wanted_ && at_.step == wanted_->step && at_.state != wanted_->state) return std::nullopt;
  if (!sink_.go_on(at_)) return std::nullopt;
  Random random(mixed(at_.seed, number + 1000));
  const io::CrashChoice choice = io::CrashChoice::draw(last.image.pending(), random);
  if (wanted_ && at_.step == wanted_->step)
    description_ = "the end of a life\n  " + describe(choice, last.image.pending());
  image = last.image.crash(choice);
  const Checked checked =
      check(life, image, {.lowest = last.acked, .highest = last.submitted, .may_work_on = false});
  report(checked.problem);
  ++at_.step;
  if (!checked.problem.empty()) return std::nullopt;
  return checked.last;
}

bool Explorer::run_moment(const Life& life, std::size_t index) {
  if (wanted_ && at_.step != wanted_->step) return at_.step < wanted_->step;
  const Moment& moment = life.moments[index];
  ++tally_.moments;
  const std::vector<StateSpec> specs = states_at(life, index);
  for (std::size_t number = 0; number < specs.size(); ++number) {
    at_.state = number;
    if (wanted_ && number != wanted_->state) continue;
    if (!sink_.go_on(at_)) return false;
    run_state(life, moment, specs[number]);
  }
  return true;
}

void Explorer::run_state(const Life& life, const Moment& moment, const StateSpec& spec) {
  if (wanted_)
    description_ =
        std::string(name_of(spec.kind)) + "\n  " + describe(spec.choice, moment.image.pending());
  const io::SimDiskImage image = moment.image.crash(spec.choice);
  switch (spec.kind) {
    case StateKind::subset:
    case StateKind::sample:
    case StateKind::tear:
      return run_power_cut(life, moment, spec, image);
    case StateKind::recovery:
    case StateKind::recovery_twice:
      return run_recovery(life, moment, spec, image);
    case StateKind::bit_flip:
    case StateKind::lost_write:
    case StateKind::misdirected_write:
      return run_damage(life, moment, spec, image);
  }
}

void Explorer::count_cut(const StateSpec& spec, const Moment& moment) {
  ++tally_.states[static_cast<std::size_t>(spec.kind)];
  ++tally_.power_cuts;
  std::uint64_t kept = 0;
  for (const bool is_kept : spec.choice.kept) kept += is_kept ? 1 : 0;
  tally_.writes_lost += moment.image.pending_count() - kept;
  tally_.writes_torn += spec.choice.tears.size();
}

void Explorer::report(const std::string& problem) {
  if (problem.empty()) return;
  outcome_ = problem;
  sink_.found(at_, problem);
}

Explorer::Checked Explorer::undamaged(const Life& life, const Moment& moment,
                                      const io::SimDiskImage& image) {
  const std::uint64_t content = image.content_hash();
  if (const auto known = known_.find(content); known != known_.end()) {
    Checked checked;
    checked.last = known->second;
    // The same disk may come again when more had been acknowledged.
    if (checked.last < moment.acked)
      checked.problem = between(checked.last, moment.acked, moment.submitted);
    return checked;
  }
  Checked checked = check(life, image, {moment.acked, moment.submitted});
  if (checked.problem.empty()) known_.emplace(content, checked.last);
  return checked;
}

void Explorer::run_power_cut(const Life& life, const Moment& moment, const StateSpec& spec,
                             const io::SimDiskImage& image) {
  const std::size_t before = known_.size();
  const Checked checked = undamaged(life, moment, image);
  if (known_.size() == before && checked.problem.empty())
    ++tally_.repeats;
  else
    count_cut(spec, moment);
  report(checked.problem);
}

void Explorer::run_recovery(const Life& life, const Moment& moment, const StateSpec& spec,
                            io::SimDiskImage image) {
  const Checked first = undamaged(life, moment, image);
  if (!first.problem.empty()) return report(first.problem);
  Random random(spec.seed);
  const int cuts = spec.kind == StateKind::recovery_twice ? 2 : 1;
  for (int cut = 0; cut < cuts; ++cut) {
    Result<io::SimDiskImage> next = cut_recovery(image, random);
    if (!next)
      return report("open after " + std::to_string(cut) +
                    " cuts of the recovery: " + next.status().to_string());
    image = std::move(*next);
  }
  // A recovery makes nothing up and loses nothing.
  const std::uint64_t content = image.content_hash();
  if (const auto known = known_.find(content); known != known_.end()) {
    ++tally_.repeats;
    if (known->second != first.last) report(between(known->second, first.last, first.last));
    return;
  }
  const Checked checked = check(life, image, {first.last, first.last});
  count_cut(spec, moment);
  tally_.power_cuts += static_cast<std::uint64_t>(cuts);
  if (checked.problem.empty()) known_.emplace(content, checked.last);
  report(checked.problem);
}

void Explorer::run_damage(const Life& life, const Moment& moment, const StateSpec& spec,
                          io::SimDiskImage image) {
  const Checked before = undamaged(life, moment, image);
  if (!before.problem.empty()) return report(before.problem);
  const FieldMap fields(image, geometry_);
  Random random(spec.seed);
  const std::optional<Damage> damage =
      spec.kind == StateKind::bit_flip
          ? flip_bit(image, fields, static_cast<FieldClass>(spec.field_class), random)
          : displace_write(image, fields, life, moment, spec.kind, random);
  if (!damage || !known_damaged_.insert(image.content_hash()).second) {
    ++tally_.repeats;
    return;
  }
  if (wanted_) description_ += "\n  " + damage->description;
  Bounds bounds{.lowest = fields.lowest_last(before.last, damage->places), .highest = before.last};
  if (damage->verdict != Verdict::must_heal) {
    bounds.may_refuse = true;
    bounds.may_work_on = false;
    bounds.tolerance = Tolerance::damaged;
  }
  const Checked checked = check(life, image, bounds);
  count_cut(spec, moment);
  if (spec.kind == StateKind::bit_flip) ++tally_.bits_flipped;
  if (spec.kind == StateKind::lost_write) ++tally_.writes_dropped;
  if (spec.kind == StateKind::misdirected_write) ++tally_.writes_misdirected;
  if (checked.is_refused)
    ++tally_.refused;
  else if (checked.reported_errors > 0)
    ++tally_.reported;
  else
    ++tally_.harmless;
  report(checked.problem.empty() ? "" : damage->description + ": " + checked.problem);
}

Explorer::Checked Explorer::check(const Life& life, const io::SimDiskImage& image,
                                  const Bounds& bounds) {
  Checked checked;
  Machine machine(image, mixed(at_.step, at_.state));
  if (const Status status = machine.open(); !status) {
    checked.is_refused = bounds.may_refuse && status.code() == ErrorCode::corrupt;
    if (!checked.is_refused) checked.problem = "open: " + status.to_string();
    return checked;
  }
  Result<std::optional<std::string>> text = machine.store->store_meta("transaction");
  const bool is_named =
      !text && bounds.tolerance == Tolerance::damaged && text.status().code() == ErrorCode::corrupt;
  if (!text && !is_named) {
    checked.problem = "the number of the last transaction: " + text.status().to_string();
    return checked;
  }
  // A store that cannot say which transaction is its last one is judged if only one can be.
  checked.last = is_named ? bounds.highest : *text ? std::stoull(**text) : 0;
  checked.reported_errors = is_named ? 1 : 0;
  if (is_named && bounds.lowest < bounds.highest) return checked;
  if (checked.last < bounds.lowest || checked.last > bounds.highest ||
      checked.last >= life.models.size()) {
    checked.problem = between(checked.last, bounds.lowest, bounds.highest);
    return checked;
  }
  const Model& model = life.models[checked.last];
  const Comparison compared = compare(
      *machine.store, model, [&](const bool& flag) { return machine.run_until(flag); },
      bounds.tolerance);
  checked.problem = compared.difference;
  checked.reported_errors += compared.reported_errors;
  if (checked.problem.empty() && bounds.may_work_on && at_.state % kWorksOn == 0)
    checked.problem = check_further(machine, model);
  return checked;
}

// The recovered store works on: it takes a transaction and a checkpoint, and no block leaks.
std::string Explorer::check_further(Machine& machine, const Model& model) {
  Model next = model;
  Random random(mixed(mixed(at_.seed, kFurtherWork + at_.step), at_.state));
  Mix mix{.pgs = 2, .names = 2, .blocks = 8, .large_blocks = 4, .max_ops = 2};
  mix.most_data_blocks = most_data_blocks(geometry_, mix);
  if (const Status status = machine.submit(next_transaction(next, random, mix)); !status)
    return "a transaction after recovery: " + status.to_string();
  if (const Status status = machine.checkpoint(); !status)
    return "a checkpoint after recovery: " + status.to_string();
  machine.executor.run_for(kReclaimNs);
  const Comparison compared = compare(
      *machine.store, next, [&](const bool& flag) { return machine.run_until(flag); },
      Tolerance::exact);
  if (!compared.difference.empty()) return "a transaction after recovery: " + compared.difference;
  const std::uint64_t used = machine.store->usage().used_bytes;
  const std::uint64_t wanted = next.data_blocks() * kBlockBytes;
  if (used == wanted) return "";
  return std::to_string(used) + " bytes are in use, the model needs " + std::to_string(wanted);
}

}  // namespace cairn::explore
