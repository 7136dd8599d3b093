// Small overwrites that move: in how few requests a checkpoint writes them, when they stay, and
// what is left after a power cut.
#include <algorithm>
#include <numeric>

#include "io/fault_disk.hh"
#include "object_store/redirector.hh"
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 1};
const ObjectId kObject{7, "rbd_data.1.0000", kHead};
constexpr std::uint32_t kBlocks = 64;  // of the object
// Every fifth of them is overwritten: few enough that the WAL asks for no checkpoint.
constexpr std::uint32_t kStep = 5;
constexpr std::uint32_t kOverwritten = (kBlocks + kStep - 1) / kStep;

// A store with one object whose blocks lie in order and can be overwritten block by block, each by
// its own transaction.
struct Overwritten {
  Overwritten(std::uint32_t data_blocks, std::uint32_t redirect_run_blocks)
      : machine(formatted_image(data_blocks)) {
    Options options = small_options();
    options.pending_data_bytes = std::uint64_t{4} << 20;  // the checkpoints are ours
    options.redirect_run_blocks = redirect_run_blocks;
    REQUIRE(machine.open(std::move(options)).is_ok());
    for (std::uint32_t block = 0; block < kBlocks; ++block) content[block] = 1000 + block;
    Transaction transaction;
    Buffer data = Buffer::allocate(kBlocks * kBlockBytes);
    for (std::uint32_t block = 0; block < kBlocks; ++block)
      fill_block(content[block], data.span().subspan(block * kBlockBytes, kBlockBytes));
    transaction.write(kPg, kObject, 0, std::move(data), {1, ++version});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
    REQUIRE(machine.checkpoint().is_ok());
  }
  void overwrite(std::uint32_t block) {
    Buffer data = Buffer::allocate(kBlockBytes);
    content[block] = 5000 + ++version;
    fill_block(content[block], data.span());
    Transaction transaction;
    transaction.write(kPg, kObject, std::uint64_t{block} * kBlockBytes, std::move(data),
                      {1, version});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
  }
  void overwrite_at_random(std::uint64_t seed) {
    std::vector<std::uint32_t> order;
    for (std::uint32_t block = 0; block < kBlocks; block += kStep) order.push_back(block);
    Random random(seed);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    for (const std::uint32_t block : order) overwrite(block);
  }
  // How many requests the data of the next checkpoint takes.
  std::uint64_t writes_of_checkpoint() {
    // What a checkpoint writes beside its data is the same for all.
    const std::uint64_t before = machine.disk.counters().writes;
    REQUIRE(machine.checkpoint().is_ok());
    return machine.disk.counters().writes - before;
  }
  std::uint64_t moved() const { return machine.store->counters().redirected_blocks; }
  void check_content(Machine& of) const {
    const auto [status, result] = of.read(kPg, kObject, 0, kBlocks * kBlockBytes);
    REQUIRE(status.is_ok());
    Buffer expected = Buffer::allocate(kBlockBytes);
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      CAPTURE(block);
      fill_block(content[block], expected.span());
      const ByteSpan found = result.data.span().subspan(block * kBlockBytes, kBlockBytes);
      CHECK(std::equal(found.begin(), found.end(), expected.span().begin()));
    }
    CHECK(of.store->usage().used_bytes == kBlocks * kBlockBytes);
  }

  Machine machine;
  std::array<std::uint64_t, kBlocks> content{};
  std::uint64_t version = 0;
};

}  // namespace

TEST_CASE("a checkpoint writes overwrites at random in few requests") {
  Overwritten moving(512, 8);
  moving.overwrite_at_random(1);
  CHECK(moving.moved() == kOverwritten);
  moving.check_content(moving.machine);
  Overwritten staying(512, 0);
  staying.overwrite_at_random(1);
  CHECK(staying.moved() == 0);
  // Those that stay are a request each; those that move one together.
  CHECK(staying.writes_of_checkpoint() == moving.writes_of_checkpoint() + kOverwritten - 1);
  staying.check_content(staying.machine);
  moving.check_content(moving.machine);
}

TEST_CASE("a block moves once between two checkpoints") {
  Overwritten store(512, 8);
  for (int i = 0; i < 5; ++i) store.overwrite(10);
  CHECK(store.moved() == 1);
  REQUIRE(store.machine.checkpoint().is_ok());
  store.overwrite(10);
  CHECK(store.moved() == 2);
  store.check_content(store.machine);
}

TEST_CASE("moved blocks are there after a power cut, before, in and after a checkpoint") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Overwritten store(512, 4);
    Random random(seed);
    for (std::uint64_t round = random.below(3); round > 0; --round) {
      store.overwrite_at_random(seed + round);
      REQUIRE(store.machine.checkpoint().is_ok());
    }
    store.overwrite_at_random(seed);
    store.machine.store->checkpoint([](Status) {});
    store.machine.executor.run_until_idle(random.below(120));
    CHECK(store.moved() >= kOverwritten);
    const io::SimDiskImage last = store.machine.disk.image();
    Machine after(last.crash(io::CrashChoice::draw(last.pending(), random)), seed);
    after.must_open();
    store.check_content(after);
    // And nothing of it leaks.
    REQUIRE(after.checkpoint().is_ok());
    CHECK(after.close().is_ok());
    Machine again(after.disk.image(), seed);
    again.must_open();
    store.check_content(again);
  }
}

TEST_CASE("blocks stay in place when little is free, or only short runs are") {
  // The object, an eighth of the area, the reserve and the block itself.
  Overwritten tight(kBlocks + 13, 8);
  tight.overwrite_at_random(1);
  CHECK(tight.moved() == 0);
  tight.check_content(tight.machine);
  Overwritten short_runs(512, 448 + 1);
  short_runs.overwrite_at_random(1);
  CHECK(short_runs.moved() == 0);
  short_runs.check_content(short_runs.machine);
}

TEST_CASE("what is overwritten in order stays in place") {
  Overwritten store(512, 8);
  for (std::uint32_t block = 10; block < 20; ++block) store.overwrite(block);
  CHECK(store.moved() == 1);  // of the first one nobody knows that others follow
  store.check_content(store.machine);
}

TEST_CASE("a block that a snapshot shares does not move away from it") {
  Overwritten store(512, 8);
  Transaction transaction;
  transaction.clone(kPg, kObject, {7, "rbd_data.1.0000", 4}, {1, ++store.version});
  REQUIRE(store.machine.submit(std::move(transaction)).is_ok());
  const auto then = store.content;
  store.overwrite_at_random(1);
  CHECK(store.moved() == 0);  // they go to fresh blocks, as ever
  REQUIRE(store.machine.checkpoint().is_ok());
  store.overwrite_at_random(2);
  CHECK(store.moved() == kOverwritten);
  REQUIRE(store.machine.checkpoint().is_ok());
  const auto [status, result] =
      store.machine.read(kPg, {7, "rbd_data.1.0000", 4}, 0, kBlocks * kBlockBytes);
  REQUIRE(status.is_ok());
  Buffer expected = Buffer::allocate(kBlockBytes);
  for (std::uint32_t block = 0; block < kBlocks; ++block) {
    CAPTURE(block);
    fill_block(then[block], expected.span());
    const ByteSpan found = result.data.span().subspan(block * kBlockBytes, kBlockBytes);
    CHECK(std::equal(found.begin(), found.end(), expected.span().begin()));
  }
}

namespace {

// A disk of which only the room below it matters.
class RoomOnly final : public io::BlockingDisk {
 public:
  explicit RoomOnly(std::uint64_t available_bytes) : available_bytes_(available_bytes) {}
  std::uint64_t size_bytes() const override { return kBlockBytes; }
  Status read_now(std::uint64_t, MutableByteSpan) override { return {}; }
  Status write_now(std::uint64_t, ByteSpan) override { return {}; }
  Status flush_now() override { return {}; }
  Result<io::DiskSpace> space() const override { return io::DiskSpace{1000, available_bytes_, 0}; }

 private:
  std::uint64_t available_bytes_;
};

// What the redirector looks at, without a store around it.
struct Area {
  explicit Area(std::uint32_t data_blocks, std::uint64_t available_bytes = 1000)
      : below(available_bytes),
        disk(executor, below, {}, 1),
        state(executor, disk, layout(data_blocks), options()) {}
  static Superblock layout(std::uint32_t data_blocks) {
    Superblock superblock;
    superblock.layout.data_blocks = data_blocks;
    return superblock;
  }
  static Options options() {
    Options given = small_options();
    given.redirect_run_blocks = 8;
    return given;
  }
  // Blocks are taken until none moves any more.
  std::uint32_t move_all(Redirector& redirector) {
    std::uint32_t furthest = 0;
    while (const std::optional<std::uint32_t> place = redirector.redirect(0))
      furthest = std::max(furthest, *place);
    return furthest;
  }

  io::SimExecutor executor;
  RoomOnly below;
  io::FaultDisk disk;
  StoreState state;
};

constexpr std::uint32_t kSpreadBlocks = (64U << 20) / kBlockBytes;

}  // namespace

TEST_CASE("a store with little data does not reach over the whole disk") {
  Area area(100'000);
  for (std::uint32_t block = 0; block < 1000; ++block) REQUIRE(area.state.allocator.take(block));
  Redirector redirector(area.state);
  const std::optional<std::uint32_t> place = redirector.redirect(0);
  REQUIRE(place);
  CHECK(*place == 1000);
  // All that is moved here is data too, so the limit moves on; what it was at first:
  const std::uint32_t limit = 3 * 1001 + kSpreadBlocks;
  std::uint32_t count = 1;
  std::uint32_t furthest = 1000;
  while (count < limit - 1000) {
    const std::optional<std::uint32_t> next = redirector.redirect(0);
    if (!next) break;
    furthest = std::max(furthest, *next);
    ++count;
  }
  CHECK(count >= kSpreadBlocks);
  CHECK(furthest < 1000 + count);
}

TEST_CASE("a search passes short runs, wraps, gives up until it is to look again") {
  Area area(4096);
  // Free: single blocks, and one run of 8 at 100.
  for (std::uint32_t block = 0; block < 4096; ++block)
    if (block % 2 == 0 && (block < 100 || block >= 108)) REQUIRE(area.state.allocator.take(block));
  for (const std::uint32_t block : {99U, 101U, 103U, 105U, 107U, 109U}) {
    if (block < 100 || block >= 108) REQUIRE(area.state.allocator.take(block));
  }
  Redirector redirector(area.state);
  for (std::uint32_t i = 0; i < 8; ++i) CHECK(redirector.redirect(0) == 100 + i);
  for (std::uint32_t i = 0; i < 4096; ++i) REQUIRE(!redirector.redirect(0));
  // The run comes free again.
  for (std::uint32_t block = 100; block < 108; ++block) area.state.allocator.release(block);
  area.state.allocator.freeze();
  for (const BlockRun& run : area.state.allocator.take_released())
    area.state.allocator.make_available(run);
  redirector.look_again();
  CHECK(area.move_all(redirector) == 107);
}

TEST_CASE("nothing moves while the file system below is nearly full") {
  Area full(4096, 99);
  CHECK(!Redirector(full.state).redirect(0));
  Area roomy(4096, 100);
  CHECK(Redirector(roomy.state).redirect(0));
}
