// The store against the model, without crashes: random transactions, reads at any moment, reopen,
// checkpoints, a full disk.
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

TEST_CASE("an absent object reads as zeros") {
  Machine machine(formatted_image(64));
  machine.must_open();
  auto [status, result] = machine.read(kPg, kObject, 0, 4096);
  CHECK(status.is_ok());
  CHECK(!result.exists);
  CHECK(equal(result.data, Buffer::zeroed(4096)));
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
  CHECK(refused([](Transaction& t) { t.write(kPg, kObject, 512, block_of(1), {1, 1}); }) ==
        ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.write(kPg, kObject, kMaxObjectBytes, block_of(1), {1, 1});
        }) == ErrorCode::out_of_range);
  CHECK(refused([](Transaction& t) { t.touch(kPg, {8, "x", kHead}, {1, 1}); }) ==
        ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) { t.touch(kPg, {7, "", kHead}, {1, 1}); }) ==
        ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) { t.log_append(kPg, 2, {}); }) == ErrorCode::invalid_argument);
  CHECK(refused([](Transaction& t) {
          t.clone(kPg, kObject, {7, "another", kHead}, {1, 1});
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
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
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
