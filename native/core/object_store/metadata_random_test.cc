// Random transactions, reads, checkpoints and starts of a store whose metadata cache is so small
// that its room comes and goes: maps of objects are loaded as a whole at one moment and by pieces
// at the next. All is compared with the model of the crash explorer.
#include <vector>

#include "../../test/budget.hh"
#include "object_store/shard.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

// How often there was room and was not, when a block was asked for that lies in one of several
// pieces of a map.
struct Seen {
  int with_room = 0;
  int without_room = 0;
};

class Life {
 public:
  Life(std::uint64_t seed, Seen& seen)
      : random_(seed), machine_(formatted_image(1024), seed), seen_(seen) {
    options_ = small_options();
    options_.metadata_cache_bytes = (2 + random_.below(22)) << 10;
    open();
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      const std::uint64_t kind = random_.below(100);
      if (kind < 35)
        submit();
      else if (kind < 90)
        read();
      else if (kind < 94)
        machine_.store->checkpoint([](Status) {});
      else if (kind < 96)
        start_again();
      else
        machine_.executor.run_for(random_.below(4) * 1'000'000'000);
      // Mostly several are under way at once.
      machine_.executor.run_until_idle(random_.below(12));
    }
    settle();
    machine_.check(models_.back());
    start_again();
    machine_.check(models_.back());
    machine_.executor.run_for(20'000'000'000);
    CHECK(machine_.store->usage().used_bytes == models_.back().data_blocks() * kBlockBytes);
  }

 private:
  static constexpr std::uint32_t kBlocks =
      7 * kShardBlocks;  // of an object, of which some are data

  void open() {
    const Status status = machine_.open(options_);
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }

  void submit() {
    const Mix mix{.pgs = 2, .names = 6, .blocks = kBlocks, .max_ops = 3, .most_data_blocks = 500};
    Model model = models_.back();
    Transaction transaction = next_transaction(model, random_, mix);
    models_.push_back(std::move(model));
    ++left_;
    machine_.store->submit(std::move(transaction), [this](Status status) {
      CHECK_MESSAGE(status.is_ok(), status.to_string());
      --left_;
    });
  }

  // The read sees one state of those from now until it is answered.
  void read() {
    const PgId pg{7, static_cast<std::uint32_t>(random_.below(2))};
    const ObjectId object{7, "object" + std::to_string(random_.below(6)), kHead};
    const auto block = static_cast<std::uint32_t>(random_.below(kBlocks));
    const std::size_t first = models_.size() - 1;
    const std::uint64_t used_bytes = machine_.store->usage().metadata_bytes;
    ++(used_bytes < options_.metadata_cache_bytes / 4 * 3 ? seen_.with_room : seen_.without_room);
    ++left_;
    machine_.store->read(pg, object, block * kBlockBytes, kBlockBytes, true,
                         [=, this](Status status, const ReadResult& found) {
                           --left_;
                           REQUIRE_MESSAGE(status.is_ok(), status.to_string());
                           bool is_one = false;
                           for (std::size_t i = first; i < models_.size() && !is_one; ++i)
                             is_one = is_of(models_[i], pg, object, block, found);
                           CHECK(is_one);
                         });
  }

  static bool is_of(const Model& model, PgId pg, const ObjectId& object, std::uint32_t block,
                    const ReadResult& found) {
    const auto group = model.pgs.find(pg);
    if (group == model.pgs.end()) return !found.exists;
    const auto expected = group->second.objects.find({object.name, object.snap});
    if (expected == group->second.objects.end()) return !found.exists;
    if (!found.exists || found.version != expected->second.version) return false;
    const auto wanted = expected->second.blocks.find(block);
    if (wanted == expected->second.blocks.end()) return found.blocks[0].state == BlockState::absent;
    if (found.blocks[0].state != wanted->second.state ||
        found.blocks[0].version != wanted->second.version)
      return false;
    // Its bytes have been compared with the checksum of the state that the read saw.
    return wanted->second.state != BlockState::data ||
           load_le<std::uint64_t>(found.data.data()) == wanted->second.content;
  }

  void settle() {
    for (int i = 0; i < 1000 && left_ > 0; ++i) machine_.executor.run_for(100'000'000);
    REQUIRE(left_ == 0);
  }

  // With a checkpoint, or from the log.
  void start_again() {
    settle();
    if (random_.chance(0.5)) REQUIRE(machine_.close().is_ok());
    machine_.store.reset();
    open();
  }

  Random random_;
  Machine machine_;
  Seen& seen_;
  Options options_;
  std::vector<Model> models_{Model{}};  // after each transaction
  int left_ = 0;
};

}  // namespace

TEST_CASE("a cache whose room comes and goes changes nothing of what is read") {
  Seen seen;
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(60U, 6U); ++seed) {
    CAPTURE(seed);
    Life(seed, seen).run(250);
  }
  CHECK(seen.with_room > 200);
  CHECK(seen.without_room > 200);
}
