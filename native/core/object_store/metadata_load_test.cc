// What operations ask the key-value region for when an object is not in memory.
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 1};
const ObjectId kObject{7, "rbd_data.1.0000", kHead};
const ObjectId kClone{7, "rbd_data.1.0000", 4};
constexpr std::uint64_t kLastBlock = std::uint64_t{4 << 20} - kBlockBytes;

Buffer block_of(std::uint64_t content) {
  Buffer data = Buffer::allocate(kBlockBytes);
  fill_block(content, data.span());
  return data;
}

// The first and the last block of an object of 4 MiB, with nothing of it in memory.
Machine reopened_with_sparse_object() {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, kObject, 0, block_of(1), {1, 1});
  transaction.write(kPg, kObject, kLastBlock, block_of(2), {1, 1});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  CHECK(machine.close().is_ok());
  return Machine(machine.disk.image());
}

Status clone(Machine& machine) {
  Transaction transaction;
  transaction.clone(kPg, kObject, kClone, {1, 2});
  return machine.submit(std::move(transaction));
}

std::uint64_t content_at(Machine& machine, const ObjectId& object, std::uint64_t offset) {
  auto [status, result] = machine.read(kPg, object, offset, kBlockBytes);
  CHECK_MESSAGE(status.is_ok(), status.to_string());
  return load_le<std::uint64_t>(result.data.data());
}

}  // namespace

TEST_CASE("a clone asks for what its object has, not for what it could have") {
  Machine machine = reopened_with_sparse_object();
  machine.must_open();
  CHECK(clone(machine).is_ok());
  // Two headers, two pieces of the block map, one piece of the reference counts.
  CHECK(machine.store->counters().metadata_values <= 6);
  CHECK(content_at(machine, kClone, 0) == 1);
  CHECK(content_at(machine, kClone, kLastBlock) == 2);
  CHECK(content_at(machine, kClone, kLastBlock / 2) == 0);
}

TEST_CASE("of an object that was made since the start nothing is asked for") {
  Machine machine(formatted_image(64));
  machine.must_open();
  Transaction transaction;
  transaction.write(kPg, kObject, kLastBlock, block_of(1), {1, 1});
  CHECK(machine.submit(std::move(transaction)).is_ok());
  CHECK(machine.checkpoint().is_ok());
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  for (std::uint64_t offset = 0; offset < kLastBlock; offset += std::uint64_t{256} << 10) {
    Transaction next;
    next.write(kPg, kObject, offset, block_of(2), {1, 2});
    CHECK(machine.submit(std::move(next)).is_ok());
  }
  CHECK(machine.store->counters().metadata_loads == loads);
}
