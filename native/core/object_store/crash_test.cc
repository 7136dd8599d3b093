// Power cuts of the simulated disk at random points: in the middle of writes, checkpoints and
// recovery, with any subset of the unflushed writes lost and some torn at 512 bytes. Afterwards
// every acknowledged transaction must be there, and the state must be that after a prefix of the
// submitted ones. Several lives follow each other on one disk, so that the ring is full of records
// of earlier runs, some of which were never acknowledged.
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

struct Life {
  std::vector<Model> models;  // [i]: after transaction models[0].transaction + i
  std::uint64_t acked = 0;    // number of the last acknowledged transaction
};

// Submits transactions and stops at a random moment, without a word.
io::SimDiskImage run_and_cut(io::SimDiskImage image, std::uint64_t seed, Life& life) {
  Random random(seed);
  Machine machine(std::move(image), random.next());
  machine.must_open();
  life.acked = life.models.front().transaction;
  const Mix mix{.pgs = 2, .names = 3};
  const std::uint64_t transactions = 1 + random.below(60);
  for (std::uint64_t i = 0; i < transactions; ++i) {
    Model model = life.models.back();
    Transaction transaction = next_transaction(model, random, mix);
    life.models.push_back(std::move(model));
    const std::uint64_t number = life.models.back().transaction;
    machine.store->submit(std::move(transaction), [&life, number](Status status) {
      REQUIRE_MESSAGE(status.is_ok(), status.to_string());
      life.acked = number;
    });
    if (random.chance(0.5)) machine.executor.run_until_idle(random.below(40));
    if (random.chance(0.05)) machine.store->checkpoint([](Status) {});
    if (random.chance(0.02)) machine.executor.run_for(3'000'000'000);
  }
  machine.executor.run_until_idle(random.below(200));
  const io::SimDiskImage last = machine.disk.image();
  return last.crash(io::CrashChoice::draw(last.pending(), random));
}

// Opens the disk and cuts the power again at a random change of the image.
io::SimDiskImage cut_recovery(const io::SimDiskImage& image, Random& random) {
  std::vector<io::SimDiskImage> moments;
  Machine machine(image, random.next());
  machine.disk.observe([&](const io::SimDiskImage& now) { moments.push_back(now); });
  machine.must_open();
  machine.disk.observe({});
  const io::SimDiskImage& moment = moments[random.below(moments.size())];
  return moment.crash(io::CrashChoice::draw(moment.pending(), random));
}

std::uint64_t transactions_in(ObjectStore& store) {
  const std::optional<std::string> text = store.store_meta("transaction");
  return text ? std::stoull(*text) : 0;
}

}  // namespace

TEST_CASE("power cuts lose nothing that was acknowledged, and keep the order") {
  const io::SimDiskImage formatted = formatted_image(1024);
  std::uint64_t replayed_more = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    io::SimDiskImage image = formatted;
    Model model;
    for (int number = 0; number < 4; ++number) {
      CAPTURE(number);
      Life life{{model}, 0};
      image = run_and_cut(std::move(image), seed * 100 + static_cast<std::uint64_t>(number), life);
      while (random.chance(0.4)) image = cut_recovery(image, random);
      Machine machine(image, seed);
      machine.must_open();
      const std::uint64_t last = transactions_in(*machine.store);
      REQUIRE(last >= life.acked);
      REQUIRE(last <= life.models.back().transaction);
      if (last > life.acked) ++replayed_more;
      model = life.models[last - life.models.front().transaction];
      machine.check(model);
      // Blocks do not leak: after a checkpoint and the reclaiming, usage is what the model needs.
      if (random.chance(0.2)) {
        machine.executor.run_for(20'000'000'000);
        CHECK(machine.store->usage().used_bytes == model.data_blocks() * kBlockBytes);
        image = machine.disk.image().crash(io::CrashChoice::lose_all());
      }
    }
  }
  CHECK(replayed_more > 0);  // the cuts do hit unacknowledged transactions
}

TEST_CASE("after a failed write or flush nothing is acknowledged") {
  using On = io::DiskFault::On;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Life life{{Model{}}, 0};
    Machine machine(formatted_image(512), seed);
    machine.must_open();
    machine.disk.add_fault({.on = seed % 3 == 0 ? On::flush : On::write,
                            .action = io::DiskFault::Action::error,
                            .skip = random.below(seed % 3 == 0 ? 6 : 60)});
    bool has_failed = false;
    std::uint64_t settled = 0;
    for (int i = 0; i < 80; ++i) {
      Model model = life.models.back();
      Transaction transaction = next_transaction(model, random, {});
      life.models.push_back(std::move(model));
      const std::uint64_t number = life.models.back().transaction;
      machine.store->submit(std::move(transaction), [&, number](Status status) {
        ++settled;
        if (status) {
          CHECK(!has_failed);
          life.acked = number;
        } else {
          CHECK(machine.store->failed());
          has_failed = true;
        }
      });
      machine.executor.run_for(random.below(400'000));
      if (i % 20 == 19) machine.store->checkpoint([](Status) {});
    }
    machine.executor.run_for(10'000'000'000);
    CHECK(settled == 80);
    CHECK(machine.store->failed());
    CHECK(!machine.submit(Transaction()).is_ok());
    CHECK(!machine.close().is_ok());
    machine.disk.clear_faults();
    const io::SimDiskImage image = machine.disk.image();
    Machine again(image.crash(io::CrashChoice::draw(image.pending(), random)), seed);
    again.must_open();
    const std::uint64_t last = transactions_in(*again.store);
    REQUIRE(last >= life.acked);
    again.check(life.models[last]);
  }
}
