// The workload of a life.
#include "explore/life.hh"

#include <utility>

namespace cairn::explore {

namespace {

constexpr std::uint64_t kMostTransactions = 50;
constexpr std::uint64_t kLeastTransactionsInWide = 20;
constexpr double kChanceOfCheckpoint = 0.05;
constexpr double kChanceOfIdleTime = 0.02;
constexpr double kChanceOfMisplacedCopy = 0.05;
constexpr double kChanceOfWideLife = 0.4;
constexpr double kMoreScattered = 0.6;
// What a seed is mixed with to draw whether its life is wide: lives that are not are as they were
// before there were wide ones, and so are the names of their states (none in seeds 3, 8 and 15).
constexpr std::uint64_t kWideLives = 0x77696488;
constexpr std::uint64_t kIdleNs = 3'000'000'000;

// A life in which checkpoints have more pieces to write in place than all subsets are tried of.
Mix wide_mix(const StoreGeometry& geometry) {
  Mix mix{.pgs = 1, .names = 1, .blocks = 40, .large_blocks = 12, .max_ops = 1};
  mix.more_scattered = kMoreScattered;
  // Blocks that are written anew are free only after a checkpoint.
  mix.most_data_blocks = geometry.data_blocks / 2;
  return mix;
}

// A small data area and few names, so that freed blocks are used again soon. Lives differ, so that
// some have few large transactions and some many small ones.
Mix draw_mix(Random& random, std::uint64_t seed, const StoreGeometry& geometry) {
  if (Random(seed ^ kWideLives).chance(kChanceOfWideLife)) return wide_mix(geometry);
  Mix mix{.pgs = 2, .large_blocks = 5};
  mix.names = static_cast<std::uint32_t>(random.between(1, 4));
  mix.blocks = static_cast<std::uint32_t>(random.between(6, 24));
  mix.max_ops = static_cast<std::uint32_t>(random.between(1, 5));
  mix.most_data_blocks = most_data_blocks(geometry, mix);
  return mix;
}

class Recorder {
 public:
  Recorder(const io::SimDiskImage& image, std::vector<Model> history, std::uint64_t seed,
           const StoreGeometry& geometry)
      : random_(seed),
        machine_(image, random_.next()),
        mix_(draw_mix(random_, seed, geometry)),
        chance_of_pause_(0.1 * static_cast<double>(random_.between(1, 8))),
        acked_(history.back().transaction) {
    life_.models = std::move(history);
  }

  Life run() {
    machine_.disk.observe([this](const io::SimDiskImage& now) { record(now); });
    if (const Status status = machine_.open(); !status) {
      life_.failure = "open: " + status.to_string();
    } else {
      work();
    }
    machine_.disk.observe({});
    record(machine_.disk.image());
    return std::move(life_);
  }

 private:
  void record(const io::SimDiskImage& now) {
    for (const io::PendingWrite& write : now.pending()) {
      if (write.id <= newest_write_) continue;
      newest_write_ = write.id;
      life_.writes.push_back({life_.moments.size(), write});
    }
    life_.moments.push_back({now, acked_, life_.models.back().transaction});
  }

  void submit_next() {
    Model model = life_.models.back();
    Transaction transaction = next_transaction(model, random_, mix_);
    const std::uint64_t number = model.transaction;
    life_.models.push_back(std::move(model));
    machine_.store->submit(std::move(transaction), [this, number](Status status) {
      if (!status && life_.failure.empty())
        life_.failure = "transaction " + std::to_string(number) + ": " + status.to_string();
      if (acked_ + 1 != number && life_.failure.empty())
        life_.failure = "transaction " + std::to_string(number) + " was acknowledged out of order";
      acked_ = number;
    });
  }

  void submit_misplaced() {
    std::optional<Transaction> transaction = misplaced_copy(life_.models.back(), random_);
    if (!transaction) return;
    machine_.store->submit(std::move(*transaction), [this](Status status) {
      if (status.code() != ErrorCode::checksum_mismatch && life_.failure.empty())
        life_.failure = "a copy that belongs in another block's place was taken";
    });
  }

  void work() {
    const std::uint64_t least = mix_.more_scattered > 0 ? kLeastTransactionsInWide : 1;
    const std::uint64_t transactions = random_.between(least, kMostTransactions);
    for (std::uint64_t i = 0; i < transactions && life_.failure.empty(); ++i) {
      submit_next();
      if (random_.chance(kChanceOfMisplacedCopy)) submit_misplaced();
      if (random_.chance(chance_of_pause_)) machine_.executor.run_until_idle(random_.below(40));
      if (random_.chance(kChanceOfCheckpoint)) machine_.store->checkpoint([](Status) {});
      if (random_.chance(kChanceOfIdleTime)) machine_.executor.run_for(kIdleNs);
    }
    machine_.executor.run_until_idle(random_.below(200));
  }

  Random random_;
  Machine machine_;
  const Mix mix_;
  const double chance_of_pause_;
  std::uint64_t acked_;
  std::uint64_t newest_write_ = 0;
  Life life_;
};

}  // namespace

std::uint64_t most_data_blocks(const StoreGeometry& geometry, const Mix& mix) {
  // The store keeps a sixteenth back; a write has up to twice large_blocks.
  const std::uint64_t usable = geometry.data_blocks - geometry.data_blocks / 16;
  const std::uint64_t growth = std::uint64_t{mix.max_ops} * 2 * mix.large_blocks;
  return usable > growth ? usable - growth : 0;
}

Life live(const io::SimDiskImage& image, std::vector<Model> history, std::uint64_t seed,
          const StoreGeometry& geometry) {
  return Recorder(image, std::move(history), seed, geometry).run();
}

}  // namespace cairn::explore
