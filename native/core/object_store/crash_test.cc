// Power cuts of the simulated disk at random points: in the middle of writes, checkpoints and
// recovery, with any subset of the unflushed writes lost and some torn at 512 bytes. Afterwards
// every acknowledged transaction must be there, and the state must be that after a prefix of the
// submitted ones. Several lives follow each other on one disk, so that the ring is full of records
// of earlier runs, some of which were never acknowledged.
#include "../../test/budget.hh"
#include "object_store/test_machine.hh"
#include "object_store/wal_record.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

struct Life {
  std::vector<Model> models;  // [i]: after transaction models[0].transaction + i
  std::uint64_t acked = 0;    // number of the last acknowledged transaction
  std::uint64_t redirected_blocks = 0;
  std::uint64_t reused_blocks = 0;
};

// Submits transactions and stops at a random moment, without a word.
io::SimDiskImage run_and_cut(io::SimDiskImage image, std::uint64_t seed, Life& life) {
  Random random(seed);
  Machine machine(std::move(image), random.next());
  machine.must_open();
  life.acked = life.models.front().transaction;
  // A small data area, so that freed blocks are used again soon.
  const Mix mix{.pgs = 2, .names = 2, .blocks = 16, .most_data_blocks = 128};
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
    // The last ones are on their way together when the power goes.
    if (i + 4 < transactions && random.chance(0.5)) {
      machine.executor.run_until_idle(random.below(40));
    }
    if (random.chance(0.05)) machine.store->checkpoint([](Status) {});
    if (random.chance(0.02)) machine.executor.run_for(3'000'000'000);
  }
  machine.executor.run_until_idle(random.below(60));
  life.redirected_blocks = machine.store->counters().redirected_blocks;
  life.reused_blocks = machine.store->counters().reused_blocks;
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
  Result<std::optional<std::string>> text = store.store_meta("transaction");
  REQUIRE_MESSAGE(text.is_ok(), text.status().to_string());
  return *text ? std::stoull(**text) : 0;
}

}  // namespace

TEST_CASE("power cuts lose nothing that was acknowledged, and keep the order") {
  const io::SimDiskImage formatted = formatted_image(256);
  std::uint64_t replayed_more = 0;
  std::uint64_t redirected_blocks = 0;
  std::uint64_t reused_blocks = 0;
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(150U, 40U); ++seed) {
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
      redirected_blocks += life.redirected_blocks;
      reused_blocks += life.reused_blocks;
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
  CHECK(redirected_blocks > 100);
  CHECK(reused_blocks > 100);
}

TEST_CASE("after a failed write or flush nothing is acknowledged") {
  using On = io::DiskFault::On;
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(60U); ++seed) {
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

TEST_CASE("a block written beside the WAL and then in place, in one record, survives every cut") {
  Machine machine(formatted_image(256));
  machine.must_open();
  const PgId pg{7, 0};
  const ObjectId object{7, "o", kHead};
  Buffer large = Buffer::allocate(8 * kBlockBytes);
  Buffer small = Buffer::allocate(kBlockBytes);
  fill_block(1, large.span());
  fill_block(2, small.span());
  Transaction transaction;
  transaction.write(pg, object, 0, large, {1, 1});
  transaction.write(pg, object, 4096, small, {1, 2});
  REQUIRE(machine.submit(std::move(transaction)).is_ok());
  std::vector<io::SimDiskImage> moments;
  machine.disk.observe([&](const io::SimDiskImage& now) { moments.push_back(now); });
  REQUIRE(machine.checkpoint().is_ok());
  machine.disk.observe({});
  REQUIRE(moments.size() > 3);
  for (const io::SimDiskImage& moment : moments) {
    Machine again(moment.crash(io::CrashChoice::keep_first(moment.pending_count())));
    again.must_open();
    auto [status, result] = again.read(pg, object, 4096, kBlockBytes);
    REQUIRE(status.is_ok());
    REQUIRE(result.exists);
    CHECK(std::memcmp(result.data.data(), small.data(), kBlockBytes) == 0);
  }
}

TEST_CASE("blocks that recovery brings without data vouch for no direct data of the record") {
  Machine machine(formatted_image(256));
  machine.must_open();
  const PgId pg{7, 0};
  const ObjectId object{7, "o", kHead};
  Buffer large = Buffer::allocate(8 * kBlockBytes);
  fill_block(1, large.span());
  io::SimDiskImage cut = machine.disk.image();
  machine.disk.observe([&](const io::SimDiskImage& now) {
    if (now.pending_count() == 2) cut = now;
  });
  // Takes the first block of the disk. An absent block has no place, which is kept as number 0.
  Transaction direct;
  direct.write(pg, object, 0, large, {1, 1});
  machine.store->submit(std::move(direct), [](Status) {});
  Transaction absent;
  absent.write_checked(pg, {7, "p", kHead}, 0, Buffer::zeroed(kBlockBytes), {BlockInfo{}});
  REQUIRE(machine.submit(std::move(absent)).is_ok());
  machine.disk.observe({});
  REQUIRE(machine.store->counters().wal_groups == 1);
  // The record is there, of the data beside it the first block is not.
  const std::vector<io::PendingWrite> pending = cut.pending();
  REQUIRE(pending.size() == 2);
  io::CrashChoice choice = io::CrashChoice::keep_first(2);
  const std::size_t beside = pending[0].bytes.size() == large.size() ? 0 : 1;
  choice.tears.push_back({beside, kBlockBytes, large.size()});
  Machine again(cut.crash(choice));
  again.must_open();
  auto [status, result] = again.read(pg, object, 0, large.size());
  CHECK(status.to_string() == "ok");
  CHECK(!result.exists);
}

TEST_CASE("a record of an earlier generation behind a newer one does not count") {
  Machine machine(formatted_image(64));
  for (std::uint64_t life = 1; life <= 2; ++life) {
    machine.must_open();
    Transaction transaction;
    transaction.touch({7, 0}, {7, "o" + std::to_string(life), kHead}, {1, life});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
    machine.store.reset();
  }
  // Record 2, of generation 2, as if an earlier run had left it there.
  const std::uint64_t offset = 4096 + 4096;
  Buffer block = Buffer::allocate(kBlockBytes);
  REQUIRE(machine.disk.read_now(offset, block.span()).is_ok());
  std::optional<RecordHeader> header = decode_record_header(block.span());
  REQUIRE(header.has_value());
  REQUIRE(header->sequence == 2);
  REQUIRE(header->generation == 2);
  header->generation = 0;
  encode_record_header(*header, block.data());
  REQUIRE(machine.disk.write_now(offset, block.span()).is_ok());
  machine.must_open();
  CHECK(machine.read({7, 0}, {7, "o1", kHead}, 0, 0).second.exists);
  CHECK(!machine.read({7, 0}, {7, "o2", kHead}, 0, 0).second.exists);
}

TEST_CASE("freed blocks are not written again while a crash could bring their owner back") {
  Machine machine(formatted_image(64));
  machine.must_open();
  const PgId pg{7, 0};
  const ObjectId old_object{7, "old", kHead};
  const ObjectId new_object{7, "new", kHead};
  Buffer old_data = Buffer::allocate(40 * kBlockBytes);
  Buffer new_data = Buffer::allocate(40 * kBlockBytes);
  fill_block(1, old_data.span());
  fill_block(2, new_data.span());
  Transaction first;
  first.write(pg, old_object, 0, old_data, {1, 1});
  REQUIRE(machine.submit(std::move(first)).is_ok());
  REQUIRE(machine.checkpoint().is_ok());
  // Known to be absent: nothing keeps the two transactions out of one record.
  CHECK(!machine.read(pg, new_object, 0, 0).second.exists);
  std::vector<io::SimDiskImage> moments;
  machine.disk.observe([&](const io::SimDiskImage& now) { moments.push_back(now); });
  Transaction removal;
  removal.remove(pg, old_object);
  machine.store->submit(std::move(removal), [](Status) {});
  Transaction second;
  second.write(pg, new_object, 0, new_data, {1, 3});
  REQUIRE(machine.submit(std::move(second)).is_ok());
  machine.disk.observe({});
  Random random(1);
  for (const io::SimDiskImage& moment : moments)
    for (int round = 0; round < 4; ++round) {
      Machine again(moment.crash(io::CrashChoice::draw(moment.pending(), random)));
      again.must_open();
      for (const auto& [object, data] : {std::pair(old_object, old_data), {new_object, new_data}}) {
        auto [status, result] = again.read(pg, object, 0, data.size());
        REQUIRE(status.to_string() == "ok");
        if (result.exists) CHECK(std::memcmp(result.data.data(), data.data(), data.size()) == 0);
      }
    }
}
