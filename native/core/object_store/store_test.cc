// The store against the model, without crashes: random transactions, reads at any moment, reopen,
// checkpoints, a full disk.
#include "../../test/budget.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 1};
const ObjectId kObject{7, "rbd_data.1.0000", kHead};

Buffer block_of(std::uint64_t content, std::uint32_t count = 1) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  for (std::uint32_t i = 0; i < count; ++i)
    fill_block(content + i, data.span().subspan(i * kBlockBytes, kBlockBytes));
  return data;
}

bool equal(const Buffer& a, const Buffer& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

TEST_CASE("a write is visible at once, durable when acknowledged, there after a reopen") {
  Machine machine(formatted_image(256));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, kObject, 8192, block_of(5), {1, 1});
  bool acked = false;
  machine.store->submit(std::move(transaction), [&](Status status) {
    CHECK(status.is_ok());
    acked = true;
  });
  bool was_read = false;
  machine.store->read(kPg, kObject, 8192, 4096, true, [&](Status status, ReadResult result) {
    CHECK(status.is_ok());
    CHECK(result.exists);
    CHECK(equal(result.data, block_of(5)));
    CHECK(result.blocks.size() == 1);
    was_read = true;
  });
  machine.run_until(was_read);
  CHECK(!acked);
  machine.run_until(acked);
  CHECK(machine.close().is_ok());

  Machine again(machine.disk.image());
  again.must_open();
  auto [status, result] = again.read(kPg, kObject, 8000, 5000);
  CHECK(status.is_ok());
  Buffer expected = Buffer::zeroed(3 * kBlockBytes);
  std::memcpy(expected.data() + 8192 - 8000, block_of(5).data(), kBlockBytes);
  CHECK(std::memcmp(result.data.data(), expected.data(), 5000) == 0);
  CHECK(again.store->counters().wal_groups == 0);
}

TEST_CASE("an attribute is there after a reopen; a clone has none; a removal takes it away") {
  Machine machine(formatted_image(256));
  machine.must_open();
  const ObjectId clone{7, kObject.name, 4};
  Transaction transaction;
  transaction.set_attr(kPg, kObject, "first", {1, 1});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  Transaction next;
  next.set_attr(kPg, kObject, std::string(kMaxAttrBytes, 'a'), {1, 2});
  next.clone(kPg, kObject, clone, {1, 2});
  CHECK(machine.submit(std::move(next)).is_ok());
  CHECK(machine.close().is_ok());
  Machine again(machine.disk.image());
  again.must_open();
  const ReadResult head = again.read(kPg, kObject, 0, 0).second;
  CHECK(head.exists);
  CHECK(head.version == Version{1, 2});
  CHECK(head.attr == std::string(kMaxAttrBytes, 'a'));
  const ReadResult cloned = again.read(kPg, clone, 0, 0).second;
  CHECK(cloned.exists);
  CHECK(cloned.attr.empty());
  Transaction removal;
  removal.remove(kPg, kObject);
  removal.touch(kPg, kObject, {1, 3});
  CHECK(again.submit(std::move(removal)).is_ok());
  CHECK(again.read(kPg, kObject, 0, 0).second.attr.empty());
  Transaction too_long;
  too_long.set_attr(kPg, kObject, std::string(kMaxAttrBytes + 1, 'a'), {1, 4});
  CHECK(again.submit(std::move(too_long)).code() == ErrorCode::too_large);
}

TEST_CASE("an absent object reads as zeros") {
  Machine machine(formatted_image(64));
  machine.must_open();
  auto [status, result] = machine.read(kPg, kObject, 0, 4096);
  CHECK(status.is_ok());
  CHECK(!result.exists);
  CHECK(equal(result.data, Buffer::zeroed(4096)));
}

TEST_CASE("blocks that are shared with another layer take no space, and keep their version") {
  Machine machine(formatted_image(64));
  machine.must_open();
  const ObjectId layer{7, kObject.name, 4};
  Transaction first;
  first.write(kPg, layer, 4096, block_of(9), {1, 1});
  first.write(kPg, kObject, 0, block_of(1), {1, 1});
  first.write(kPg, kObject, 4096, block_of(2), {1, 1});
  REQUIRE(machine.submit(std::move(first)).is_ok());
  Transaction second;
  // What the same transaction writes can be shared by it.
  second.write(kPg, kObject, 8192, block_of(3), {1, 2});
  second.share(kPg, kObject, layer, 0, 4096, {1, 2});
  second.share(kPg, kObject, layer, 8192, 4096, {1, 2});
  second.share(kPg, kObject, layer, 8192, 4096, {1, 2});
  REQUIRE(machine.submit(std::move(second)).is_ok());
  const auto has = [&](const ObjectId& object, std::uint64_t block, std::uint8_t content) {
    const Buffer data = machine.read(kPg, object, block * 4096, 4096).second.data;
    const Buffer wanted = block_of(content);
    return std::memcmp(data.data(), wanted.data(), wanted.size()) == 0;
  };
  CHECK(machine.store->usage().used_bytes == 4 * 4096);
  CHECK(has(layer, 0, 1));
  CHECK(has(layer, 1, 9));
  CHECK(has(layer, 2, 3));
  Transaction third;
  third.write(kPg, kObject, 0, block_of(5), {1, 3});
  third.remove(kPg, kObject);
  REQUIRE(machine.submit(std::move(third)).is_ok());
  CHECK(has(layer, 0, 1));
  CHECK(has(layer, 2, 3));
}

TEST_CASE("bad arguments refuse the whole transaction and nothing else") {
  Machine machine(formatted_image(64));
  machine.must_open();
  const auto refused = [&](auto build) {
    Transaction transaction;
    transaction.write(kPg, kObject, 0, block_of(1), {1, 1});
    build(transaction);
    const Status status = machine.submit(std::move(transaction));
    CHECK(!machine.read(kPg, kObject, 0, 4096).second.exists);
    return status.code();
  };
  CHECK(refused([](Transaction& t) {
          t.write(kPg, kObject, 512, block_of(1), {1, 1});
        }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.write(kPg, kObject, kMaxObjectBytes, block_of(1), {1, 1});
        }) == ErrorCode::out_of_range);
  CHECK(refused([](Transaction& t) {
          t.touch(kPg, {8, "x", kHead}, {1, 1});
        }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.touch(kPg, {7, "", kHead}, {1, 1});
        }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) { t.log_append(kPg, 2, {}); }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.clone(kPg, kObject, {7, "another", kHead}, {1, 1});
        }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.share(kPg, kObject, {7, kObject.name, 4}, 512, 4096, {1, 1});
        }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.share(kPg, kObject, kObject, 0, 4096, {1, 1});
        }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.write_checked(kPg, kObject, 0, block_of(1), {{BlockState::data, 12345, {1, 1}}});
        }) == ErrorCode::checksum_mismatch);
  CHECK(refused([](Transaction& t) {
          for (int i = 0; i < 300; ++i)
            t.omap_set(kPg, kObject, std::to_string(i), std::string(1000, 'x'), {1, 1});
        }) == ErrorCode::too_large);
  CHECK(machine.submit(Transaction()).is_ok());
}

TEST_CASE("random transactions against the model, with reopens") {
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(12U); ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Model model;
    const Mix mix{.pgs = 1 + static_cast<std::uint32_t>(seed % 4)};
    io::SimDiskImage image = formatted_image(2048);
    for (int life = 0; life < 4; ++life) {
      Machine machine(std::move(image), seed * 10 + static_cast<std::uint64_t>(life));
      machine.must_open();
      machine.check(model);
      std::uint64_t acked = model.transaction;
      for (int i = 0; i < 150; ++i) {
        const std::uint64_t number = model.transaction + 1;
        machine.store->submit(next_transaction(model, random, mix), [&, number](Status status) {
          REQUIRE_MESSAGE(status.is_ok(), status.to_string());
          CHECK(++acked == number);
        });
        if (random.chance(0.2)) machine.executor.run_for(random.below(3'000'000));
        if (random.chance(0.02)) machine.check(model);
        if (random.chance(0.01)) CHECK(machine.checkpoint().is_ok());
        if (random.chance(0.01)) machine.executor.run_for(5'000'000'000);
      }
      machine.check(model);
      // Time for removed PGs: a checkpoint, their removal, another checkpoint.
      machine.executor.run_for(20'000'000'000);
      CHECK(acked == model.transaction);
      CHECK(machine.store->usage().used_bytes == model.data_blocks() * kBlockBytes);
      CHECK(machine.store->counters().checkpoints > 0);
      CHECK(machine.close().is_ok());
      image = machine.disk.image();
    }
  }
}

TEST_CASE("a full disk refuses writes whole, and takes removals; the space comes back") {
  Machine machine(formatted_image(512));
  machine.must_open();
  std::uint64_t number = 0;
  int written = 0;
  Status status;
  for (; written < 100; ++written) {
    Transaction transaction;
    const ObjectId object{7, "o" + std::to_string(written), kHead};
    ++number;
    transaction.log_append(kPg, number, std::vector<std::byte>(10));
    transaction.write(kPg, object, 0, block_of(number * 1000, 16), {1, number});
    status = machine.submit(std::move(transaction));
    if (!status) break;
  }
  CHECK(status.code() == ErrorCode::no_space);
  // 512 blocks, 32 of them kept back, 16 for each object.
  CHECK(written == 30);
  CHECK(machine.store->load_pgs()->front().log.size() == 30);
  CHECK(!machine.read(kPg, {7, "o30", kHead}, 0, 4096).second.exists);
  // In place is still fine.
  Transaction overwrite;
  overwrite.write(kPg, {7, "o1", kHead}, 0, block_of(1), {1, 99});
  CHECK(machine.submit(std::move(overwrite)).is_ok());
  Transaction removal;
  for (int i = 0; i < 10; ++i) removal.remove(kPg, {7, "o" + std::to_string(i), kHead});
  CHECK(machine.submit(std::move(removal)).is_ok());
  // The blocks are not free before a checkpoint: the write waits for one instead of failing.
  const std::uint64_t checkpoints = machine.store->counters().checkpoints;
  Transaction again;
  again.write(kPg, {7, "new", kHead}, 0, block_of(7, 32), {1, 100});
  const Status refilled = machine.submit(std::move(again));
  CHECK_MESSAGE(refilled.is_ok(), refilled.to_string());
  CHECK(machine.store->counters().checkpoints > checkpoints);
  CHECK(equal(machine.read(kPg, {7, "new", kHead}, 0, 32 * 4096).second.data, block_of(7, 32)));
  CHECK(equal(machine.read(kPg, {7, "o20", kHead}, 0, 4096).second.data, block_of(21000)));
}

TEST_CASE("a full key-value region refuses growth and takes removals") {
  Machine machine(formatted_image(512));
  Options options = small_options();
  options.log = [](const char*, const std::string& text) { MESSAGE(text); };
  REQUIRE(machine.open(std::move(options)).is_ok());
  Status status;
  int written = 0;
  const auto key = [](int i) { return "key" + std::to_string(i); };
  for (; written < 10000 && status; ++written) {
    Transaction transaction;
    for (int i = 0; i < 20; ++i)
      transaction.omap_set(kPg, kObject, key(written * 20 + i), std::string(500, 'v'), {1, 1});
    status = machine.submit(std::move(transaction));
  }
  CHECK(status.code() == ErrorCode::no_space);
  CHECK(written > 10);
  CHECK(!machine.store->failed());
  Transaction removal;
  removal.remove(kPg, kObject);
  CHECK(machine.submit(std::move(removal)).is_ok());
  machine.executor.run_for(30'000'000'000);
  Transaction again;
  again.omap_set(kPg, kObject, "a", "b", {1, 2});
  const Status grown = machine.submit(std::move(again));
  CHECK_MESSAGE(grown.is_ok(), grown.to_string());
  CHECK(machine.close().is_ok());
}

TEST_CASE("large writes go beside the WAL and are there after a reopen") {
  Machine machine(formatted_image(2048));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, kObject, 0, block_of(50, 1024), {1, 1});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  CHECK(machine.store->counters().wal_bytes < 16 * kBlockBytes);
  CHECK(equal(machine.read(kPg, kObject, 0, 1024 * 4096).second.data, block_of(50, 1024)));
  Machine again(machine.disk.image().crash(io::CrashChoice::lose_all()));
  again.must_open();
  CHECK(equal(again.read(kPg, kObject, 0, 1024 * 4096).second.data, block_of(50, 1024)));
}

TEST_CASE("large writes begin a checkpoint when so much of metadata has come") {
  for (const std::uint64_t pending_bytes : {std::uint64_t{8} << 10, std::uint64_t{1} << 20}) {
    Machine machine(formatted_image(4096));
    Options options = small_options();
    options.pending_metadata_bytes = pending_bytes;
    REQUIRE(machine.open(std::move(options)).is_ok());
    for (std::uint64_t version = 1; version <= 4; ++version) {
      Transaction transaction;
      transaction.write({7, 1}, {7, "o" + std::to_string(version), kHead}, 0,
                        Buffer::zeroed(256 * kBlockBytes), {1, version});
      REQUIRE(machine.submit(std::move(transaction)).is_ok());
    }
    machine.executor.run_for(1'000'000'000);  // a pause begins one after two seconds
    // 16 pieces of a block map each, of over 200 bytes.
    CHECK((machine.store->counters().checkpoints > 0) == (pending_bytes < 64 * 200));
    CHECK(machine.close().is_ok());
  }
}

TEST_CASE("the data of a large write is under way while the record before is, readable meanwhile") {
  Machine machine(formatted_image(2048));
  machine.must_open();
  const Counters& counters = machine.store->counters();
  const auto write = [&](const ObjectId& object, Buffer data, std::uint64_t number, bool& is_done) {
    Transaction transaction;
    transaction.write(kPg, object, 0, std::move(data), {1, number});
    machine.store->submit(std::move(transaction), [&is_done](Status status) {
      CHECK_MESSAGE(status.is_ok(), status.to_string());
      is_done = true;
    });
  };
  bool small_done = false, large_done = false;
  write({kPg.pool, "small", kHead}, block_of(1, 1), 1, small_done);
  CHECK(machine.executor.run_until([&] { return counters.wal_groups == 1; }, 1'000'000'000));
  write(kObject, block_of(50, 64), 2, large_done);
  CHECK(machine.executor.run_until(
      [&] { return small_done || counters.data_written_bytes == 64 * kBlockBytes; },
      1'000'000'000));
  CHECK(!small_done);
  CHECK(counters.wal_groups == 1);
  CHECK(equal(machine.read(kPg, kObject, 5 * 4096, 4096).second.data,
              block_of(50, 64).slice(5 * 4096, 4096)));
  machine.run_until(large_done);
  CHECK(small_done);
  CHECK(equal(machine.read(kPg, kObject, 0, 64 * 4096).second.data, block_of(50, 64)));
}

TEST_CASE("a removed PG is gone at once, may come back empty, and gives its space back") {
  Machine machine(formatted_image(512));
  machine.must_open();
  for (int i = 0; i < 50; ++i) {
    Transaction transaction;
    const auto number = static_cast<std::uint64_t>(i) + 1;
    transaction.write(kPg, {7, "o" + std::to_string(i), kHead}, 0, block_of(number), {1, number});
    transaction.omap_set(kPg, {7, "o" + std::to_string(i), kHead}, "k", "v", {1, number});
    transaction.log_append(kPg, number, std::vector<std::byte>(20));
    CHECK(machine.submit(std::move(transaction)).is_ok());
  }
  Transaction removal;
  removal.remove_pg(kPg);
  removal.write(kPg, kObject, 0, block_of(9), {2, 1});
  CHECK(machine.submit(std::move(removal)).is_ok());
  CHECK(!machine.read(kPg, {7, "o1", kHead}, 0, 4096).second.exists);
  CHECK(machine.store->load_pgs()->front().log.empty());
  machine.executor.run_for(20'000'000'000);
  CHECK(machine.store->usage().used_bytes == kBlockBytes);
  CHECK(machine.close().is_ok());
}

TEST_CASE("omap_get: keys, prefixes and pages, pending and stored") {
  Machine machine(formatted_image(64));
  machine.must_open();
  for (int half = 0; half < 2; ++half) {
    Transaction transaction;
    for (int i = half; i < 10; i += 2)
      transaction.omap_set(kPg, kObject, "a" + std::to_string(i), std::to_string(i), {1, 1});
    transaction.omap_set(kPg, kObject, "b", "x", {1, 1});
    if (half == 1) transaction.omap_remove(kPg, kObject, "a4", {1, 1});
    CHECK(machine.submit(std::move(transaction)).is_ok());
    if (half == 0) CHECK(machine.checkpoint().is_ok());
  }
  const auto get = [&](std::vector<std::string> keys, const std::string& prefix,
                       const std::string& after, std::size_t limit) {
    std::string text;
    bool is_done = false;
    machine.store->omap_get(kPg, kObject, std::move(keys), prefix, after, limit,
                            [&](Status status, bool exists, auto values) {
                              CHECK(status.is_ok());
                              CHECK(exists);
                              for (const auto& [key, value] : values) text += key + ' ';
                              is_done = true;
                            });
    machine.run_until(is_done);
    return text;
  };
  CHECK(get({"b", "a4", "a1", "zz"}, "", "", 0) == "a1 b ");
  CHECK(get({}, "a", "", 100) == "a0 a1 a2 a3 a5 a6 a7 a8 a9 ");
  CHECK(get({}, "a", "a2", 3) == "a3 a5 a6 ");
  CHECK(get({}, "", "a8", 100) == "a9 b ");
  CHECK(get({}, "", "", 2) == "a0 a1 ");
}

TEST_CASE("reads that race with writes in place show the old or the new data, never an error") {
  io::SimDiskImage image = formatted_image(64);
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(300U); ++seed) {
    CAPTURE(seed);
    Machine machine(image, seed);
    machine.must_open();
    Transaction first;
    first.write(kPg, kObject, 0, block_of(1), {1, 1});
    REQUIRE(machine.submit(std::move(first)).is_ok());
    REQUIRE(machine.checkpoint().is_ok());
    int reads_left = 8;
    for (int i = 0; i < 8; ++i)
      machine.store->read(kPg, kObject, 0, 4096, false, [&](Status status, ReadResult result) {
        REQUIRE_MESSAGE(status.is_ok(), status.to_string());
        CHECK((equal(result.data, block_of(1)) || equal(result.data, block_of(2))));
        --reads_left;
      });
    Transaction second;
    second.write(kPg, kObject, 0, block_of(2), {1, 2});
    machine.store->submit(std::move(second), [](Status) {});
    REQUIRE(machine.checkpoint().is_ok());
    machine.executor.run_for(1'000'000'000);
    CHECK(reads_left == 0);
    CHECK(machine.store->counters().checksum_errors == 0);
  }
}

TEST_CASE("a PG log is rewound into a segment that is not in memory, during a checkpoint") {
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(20U); ++seed) {
    Machine machine(formatted_image(64), seed);
    machine.must_open();
    const auto append = [&](std::uint64_t number) {
      Transaction transaction;
      transaction.log_append(kPg, number, std::vector<std::byte>(number % 7));
      return transaction;
    };
    for (std::uint64_t number = 1; number <= 200; ++number)
      machine.store->submit(append(number), [](Status status) { CHECK(status.is_ok()); });
    // Twice: the second one forgets what the first one wrote.
    CHECK(machine.checkpoint().is_ok());
    CHECK(machine.submit(append(201)).is_ok());
    CHECK(machine.checkpoint().is_ok());
    CHECK(machine.submit(append(202)).is_ok());
    machine.store->checkpoint([](Status) {});
    machine.executor.run_until_idle(seed);
    Transaction transaction;
    transaction.log_rewind(kPg, 10);
    CHECK(machine.submit(std::move(transaction)).is_ok());
    CHECK(machine.submit(append(11)).is_ok());
    CHECK(machine.store->load_pgs()->front().log.size() == 11);
    CHECK(machine.close().is_ok());
    Machine again(machine.disk.image());
    again.must_open();
    CHECK(again.store->load_pgs()->front().log.size() == 11);
  }
}
