// Objects that move to another placement group: what comes with them, what stays, and that neither
// a crash nor the removal of the former PG takes anything from them.
#include "../../test/budget.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kParent{7, 1};
const PgId kChild{7, 5};
const std::string kName = "rbd_data.1.0000";
const ObjectId kHeadLayer{7, kName, kHead};
const ObjectId kClone{7, kName, 4};
constexpr std::uint64_t kReclaimNs = 20'000'000'000;

ObjectId numbered(int number) { return {7, "o" + std::to_string(number), kHead}; }

Buffer block_of(std::uint64_t content, std::uint32_t count = 1) {
  Buffer data = Buffer::allocate(count * kBlockBytes);
  for (std::uint32_t i = 0; i < count; ++i)
    fill_block(content + i, data.span().subspan(i * kBlockBytes, kBlockBytes));
  return data;
}

void must(Machine& machine, Transaction transaction) {
  const Status status = machine.submit(std::move(transaction));
  REQUIRE_MESSAGE(status.is_ok(), status.to_string());
}

void move(Machine& machine, const ObjectId& object, PgId from = kParent, PgId to = kChild) {
  Transaction transaction;
  transaction.move(from, object, to);
  must(machine, std::move(transaction));
}

bool has(Machine& machine, PgId pg, const ObjectId& object, std::uint32_t block,
         std::uint64_t content) {
  const auto found = machine.read(pg, object, block * kBlockBytes, kBlockBytes);
  REQUIRE_MESSAGE(found.first.is_ok(), found.first.to_string());
  const Buffer wanted = block_of(content);
  return found.second.exists &&
         std::memcmp(found.second.data.data(), wanted.data(), kBlockBytes) == 0;
}

bool exists(Machine& machine, PgId pg, const ObjectId& object) {
  return machine.read(pg, object, 0, 0).second.exists;
}

ObjectInfo info(Machine& machine, PgId pg, const ObjectId& object) {
  ObjectInfo result;
  bool is_done = false;
  machine.store->info(pg, object, [&](Status status, ObjectInfo found) {
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
    result = std::move(found);
    is_done = true;
  });
  machine.run_until(is_done);
  return result;
}

// Names and snapshots in the order of the list, asked for two at a time.
std::string list(Machine& machine, PgId pg) {
  std::string text;
  for (std::optional<ObjectId> after;;) {
    bool is_done = false;
    std::size_t count = 0;
    machine.store->list(pg, after, 2, [&](Status status, std::vector<ListedObject> page) {
      REQUIRE_MESSAGE(status.is_ok(), status.to_string());
      count = page.size();
      for (const ListedObject& object : page) {
        text += object.id.name + (object.id.snap == kHead ? " " : "@ ");
        after = object.id;
      }
      is_done = true;
    });
    machine.run_until(is_done);
    if (count < 2) return text;
  }
}

// Data, a zero, a block that the clone shares, keys and an attribute.
void write_family(Machine& machine) {
  Transaction transaction;
  transaction.write(kParent, kHeadLayer, 0, block_of(1, 40), {1, 1});
  transaction.write_zeroes(kParent, kHeadLayer, 50 * kBlockBytes, kBlockBytes, {1, 1});
  transaction.omap_set(kParent, kHeadLayer, "key", "value", {1, 1});
  transaction.clone(kParent, kHeadLayer, kClone, {1, 2});
  transaction.write(kParent, kHeadLayer, 0, block_of(100), {1, 3});
  transaction.set_attr(kParent, kHeadLayer, "attribute", {1, 3});
  transaction.touch(kParent, {7, "stays", kHead}, {1, 4});
  must(machine, std::move(transaction));
}

void check_moved_family(Machine& machine) {
  CHECK(!exists(machine, kParent, kHeadLayer));
  CHECK(!exists(machine, kParent, kClone));
  const ObjectInfo head = info(machine, kChild, kHeadLayer);
  REQUIRE(head.exists);
  CHECK(head.version == Version{1, 3});
  CHECK(head.attr == "attribute");
  CHECK(head.block_count == 51);
  CHECK(head.blocks[0].version == Version{1, 3});
  CHECK(head.blocks[39].version == Version{1, 1});
  CHECK(head.blocks[40].state == BlockState::absent);
  CHECK(head.blocks[50].state == BlockState::zero);
  REQUIRE(head.omap.size() == 1);
  CHECK(head.omap[0] == std::pair<std::string, std::string>("key", "value"));
  CHECK(has(machine, kChild, kHeadLayer, 0, 100));
  CHECK(has(machine, kChild, kHeadLayer, 39, 40));
  const ObjectInfo clone = info(machine, kChild, kClone);
  CHECK(clone.attr.empty());
  CHECK(clone.omap == head.omap);
  CHECK(has(machine, kChild, kClone, 0, 1));
  CHECK(has(machine, kChild, kClone, 39, 40));
  CHECK(list(machine, kParent) == "stays ");
  CHECK(list(machine, kChild) == kName + "@ " + kName + " ");
  CHECK(machine.store->object_count(kParent) == 1);
  CHECK(machine.store->object_count(kChild) == 2);
  CHECK(machine.store->stored_bytes(kParent) == 0);
  CHECK(machine.store->stored_bytes(kChild) == 80 * kBlockBytes);
  CHECK(machine.store->usage().objects == 3);
  CHECK(machine.store->usage().used_bytes == 41 * kBlockBytes);
}

void move_family(Machine& machine) {
  Transaction transaction;
  transaction.move(kParent, kHeadLayer, kChild);
  transaction.move(kParent, kClone, kChild);
  must(machine, std::move(transaction));
}

}  // namespace

TEST_CASE("a moved object has all that it had, at once and after a reopen") {
  for (const bool is_stored : {false, true}) {
    CAPTURE(is_stored);
    Machine machine(formatted_image(256));
    machine.must_open();
    write_family(machine);
    // From the region, with nothing of it in memory.
    if (is_stored) {
      REQUIRE(machine.close().is_ok());
      machine.must_open();
    }
    move_family(machine);
    check_moved_family(machine);
    // By replay, then from the region.
    Machine replayed(machine.disk.image().crash(io::CrashChoice::lose_all()));
    replayed.must_open();
    check_moved_family(replayed);
    REQUIRE(machine.close().is_ok());
    machine.must_open();
    check_moved_family(machine);
    // Again: nothing is there to be moved, and what is there stays.
    move_family(machine);
    check_moved_family(machine);
  }
}

TEST_CASE("reads and lists right behind a move that is not durable see it") {
  Machine machine(formatted_image(256));
  machine.must_open();
  write_family(machine);
  REQUIRE(machine.close().is_ok());
  machine.must_open();
  bool is_durable = false;
  Transaction transaction;
  transaction.move(kParent, kHeadLayer, kChild);
  machine.store->submit(std::move(transaction), [&](Status) { is_durable = true; });
  int answers = 0;
  machine.store->read(kParent, kHeadLayer, 0, kBlockBytes, false,
                      [&](Status status, ReadResult result) {
                        CHECK(status.is_ok());
                        CHECK(!result.exists);
                        CHECK(!is_durable);
                        ++answers;
                      });
  machine.store->read(kChild, kHeadLayer, 0, kBlockBytes, false,
                      [&](Status status, ReadResult result) {
                        CHECK(status.is_ok());
                        CHECK(result.exists);
                        CHECK(!is_durable);
                        ++answers;
                      });
  machine.store->list(kChild, std::nullopt, 10, [&](Status, std::vector<ListedObject> objects) {
    REQUIRE(objects.size() == 1);
    CHECK(objects[0].id == kHeadLayer);
    CHECK(objects[0].attr == "attribute");
    ++answers;
  });
  CHECK(machine.executor.run_until([&] { return answers == 3; }, 1'000'000'000));
}

TEST_CASE("blocks that are shared between two PGs are kept while one of them needs them") {
  Machine machine(formatted_image(256));
  machine.must_open();
  write_family(machine);
  move(machine, kClone);
  CHECK(machine.store->stored_bytes(kParent) == 40 * kBlockBytes);
  CHECK(machine.store->stored_bytes(kChild) == 40 * kBlockBytes);
  // Not in place: the other one has the block too.
  Transaction overwrite;
  overwrite.write(kParent, kHeadLayer, kBlockBytes, block_of(200), {1, 5});
  must(machine, std::move(overwrite));
  CHECK(has(machine, kChild, kClone, 1, 2));
  Transaction removal;
  removal.remove_pg(kParent);
  must(machine, std::move(removal));
  machine.executor.run_for(kReclaimNs);
  CHECK(machine.store->usage().used_bytes == 40 * kBlockBytes);
  REQUIRE(machine.close().is_ok());
  machine.must_open();
  for (std::uint32_t block = 0; block < 40; ++block)
    CHECK(has(machine, kChild, kClone, block, block + 1));
  CHECK(info(machine, kChild, kClone).omap.size() == 1);
}

TEST_CASE("what was moved outlives the removal of the PG that it was in") {
  constexpr int kObjects = 50;
  // A checkpoint before the moves, between them and the removal, and neither.
  for (int checkpoint_at = 0; checkpoint_at < 3; ++checkpoint_at) {
    CAPTURE(checkpoint_at);
    Machine machine(formatted_image(512));
    machine.must_open();
    for (int i = 0; i < kObjects; ++i) {
      const auto number = static_cast<std::uint64_t>(i) + 1;
      Transaction transaction;
      transaction.write(kParent, numbered(i), 0, block_of(number), {1, number});
      transaction.omap_set(kParent, numbered(i), "k", "v", {1, number});
      must(machine, std::move(transaction));
    }
    if (checkpoint_at == 0) REQUIRE(machine.checkpoint().is_ok());
    Transaction moves;
    for (int i = 0; i < kObjects; i += 2) moves.move(kParent, numbered(i), kChild);
    must(machine, std::move(moves));
    if (checkpoint_at == 1) REQUIRE(machine.checkpoint().is_ok());
    Transaction removal;
    removal.remove_pg(kParent);
    must(machine, std::move(removal));
    machine.executor.run_for(kReclaimNs);
    CHECK(machine.store->usage().used_bytes == kObjects / 2 * kBlockBytes);
    Transaction change;
    change.write(kChild, numbered(0), 0, block_of(1000), {2, 1});
    must(machine, std::move(change));
    REQUIRE(machine.close().is_ok());
    machine.must_open();
    CHECK(machine.store->object_count(kChild) == kObjects / 2);
    CHECK(has(machine, kChild, numbered(0), 0, 1000));
    for (int i = 2; i < kObjects; i += 2) {
      CHECK(has(machine, kChild, numbered(i), 0, static_cast<std::uint64_t>(i) + 1));
      CHECK(info(machine, kChild, numbered(i)).omap.size() == 1);
    }
  }
}

TEST_CASE("a move in the middle of a transaction: what comes behind it finds what it has left") {
  Machine machine(formatted_image(256));
  machine.must_open();
  write_family(machine);
  Transaction stored;
  stored.touch(kChild, {7, "other", kHead}, {1, 1});
  must(machine, std::move(stored));
  REQUIRE(machine.close().is_ok());
  machine.must_open();
  Transaction transaction;
  transaction.move(kParent, kHeadLayer, kChild);
  // A new object of the old name, and a block that the moved one shares with the clone.
  transaction.write(kParent, kHeadLayer, 0, block_of(300), {2, 1});
  transaction.write(kChild, kHeadLayer, kBlockBytes, block_of(400), {2, 2});
  transaction.omap_set(kChild, kHeadLayer, "second", "value", {2, 2});
  // An object of a PG that the transaction makes goes to one that is on the disk.
  transaction.touch({7, 9}, numbered(1), {2, 3});
  transaction.move({7, 9}, numbered(1), kChild);
  must(machine, std::move(transaction));
  for (int round = 0; round < 2; ++round) {
    CHECK(has(machine, kParent, kHeadLayer, 0, 300));
    CHECK(info(machine, kParent, kHeadLayer).block_count == 1);
    CHECK(info(machine, kParent, kHeadLayer).omap.empty());
    CHECK(has(machine, kChild, kHeadLayer, 0, 100));
    CHECK(has(machine, kChild, kHeadLayer, 1, 400));
    CHECK(info(machine, kChild, kHeadLayer).omap.size() == 2);
    CHECK(has(machine, kParent, kClone, 1, 2));
    CHECK(exists(machine, kChild, numbered(1)));
    CHECK(machine.store->object_count({7, 9}) == 0);
    REQUIRE(machine.close().is_ok());
    machine.must_open();
  }
}

TEST_CASE("a move replaces what the target has, and one of nothing leaves it") {
  Machine machine(formatted_image(256));
  machine.must_open();
  Transaction transaction;
  transaction.write(kParent, kHeadLayer, 0, block_of(1, 2), {1, 1});
  transaction.write(kChild, kHeadLayer, 0, block_of(50, 20), {1, 1});
  transaction.omap_set(kChild, kHeadLayer, "key", "value", {1, 1});
  must(machine, std::move(transaction));
  REQUIRE(machine.close().is_ok());
  machine.must_open();
  move(machine, numbered(7));
  move(machine, numbered(7), {7, 12}, {7, 13});
  CHECK(machine.store->load_pgs()->size() == 2);
  CHECK(has(machine, kChild, kHeadLayer, 19, 69));
  move(machine, kHeadLayer);
  CHECK(machine.store->object_count(kChild) == 1);
  CHECK(machine.store->stored_bytes(kChild) == 2 * kBlockBytes);
  CHECK(info(machine, kChild, kHeadLayer).omap.empty());
  CHECK(has(machine, kChild, kHeadLayer, 1, 2));
  machine.executor.run_for(kReclaimNs);
  CHECK(machine.store->usage().used_bytes == 2 * kBlockBytes);
}

TEST_CASE("a move to the same PG or to another pool is refused") {
  Machine machine(formatted_image(64));
  machine.must_open();
  for (const PgId to : {kParent, PgId{8, kParent.seed}, PgId{8, 5}}) {
    Transaction transaction;
    transaction.touch(kParent, kHeadLayer, {1, 1});
    transaction.move(kParent, kHeadLayer, to);
    CHECK(machine.submit(std::move(transaction)).code() == ErrorCode::invalid_argument);
    CHECK(!exists(machine, kParent, kHeadLayer));
  }
}

TEST_CASE("a full data area takes moves; a write of the old name in the same transaction counts") {
  Machine machine(formatted_image(512));
  machine.must_open();
  Status status;
  int written = 0;
  for (; status; ++written) {
    Transaction transaction;
    transaction.write(kParent, numbered(written), 0, block_of(1, 16), {1, 1});
    status = machine.submit(std::move(transaction));
  }
  REQUIRE(status.code() == ErrorCode::no_space);
  Transaction grows;
  grows.move(kParent, numbered(0), kChild);
  // Short enough for the WAL, which would write it in place.
  grows.write(kParent, numbered(0), 0, block_of(1, 4), {1, 2});
  CHECK(machine.submit(std::move(grows)).code() == ErrorCode::no_space);
  for (int i = 0; i + 1 < written; ++i) move(machine, numbered(i));
  CHECK(machine.store->object_count(kParent) == 0);
  CHECK(has(machine, kChild, numbered(0), 15, 16));
}

TEST_CASE("moves to and fro with a small cache and checkpoints under way keep every block") {
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(20U); ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Machine machine(formatted_image(1024), seed);
    machine.must_open();
    constexpr int kObjects = 40;
    std::vector<std::uint64_t> contents(kObjects);
    std::vector<bool> is_in_child(kObjects);
    for (std::uint64_t round = 1; round <= 300; ++round) {
      const auto index = static_cast<std::size_t>(random.below(kObjects));
      const ObjectId object = numbered(static_cast<int>(index));
      PgId from = is_in_child[index] ? kChild : kParent;
      PgId to = is_in_child[index] ? kParent : kChild;
      Transaction transaction;
      if (random.chance(0.5)) {
        transaction.move(from, object, to);
        is_in_child[index] = contents[index] != 0 && !is_in_child[index];
        from = is_in_child[index] ? kChild : kParent;
      }
      if (random.chance(0.4)) {
        contents[index] = round * 1000;
        // In the third shard of its map too.
        transaction.write(from, object, 0, block_of(round * 1000), {1, round});
        transaction.write(from, object, 33 * kBlockBytes, block_of(round * 1000), {1, round});
      }
      machine.store->submit(std::move(transaction), [](Status status) { CHECK(status.is_ok()); });
      if (random.chance(0.1)) machine.store->checkpoint([](Status) {});
      if (random.chance(0.3)) machine.executor.run_until_idle(random.below(60));
    }
    for (int life = 0; life < 2; ++life) {
      for (int i = 0; i < kObjects; ++i) {
        const auto index = static_cast<std::size_t>(i);
        CAPTURE(i);
        const PgId pg = is_in_child[index] ? kChild : kParent;
        const PgId other = is_in_child[index] ? kParent : kChild;
        CHECK(!exists(machine, other, numbered(i)));
        if (contents[index] == 0) continue;
        CHECK(has(machine, pg, numbered(i), 0, contents[index]));
        CHECK(has(machine, pg, numbered(i), 33, contents[index]));
      }
      REQUIRE(machine.close().is_ok());
      machine.must_open();
    }
  }
}
