// The Discarder alone, on a disk of which only discards matter, and under a store that is full.
#include "object_store/discarder.hh"

#include <algorithm>

#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
constexpr std::uint32_t kDataBlocks = 100'000;

// Answers each discard after a time, and notes it.
class SlowDiscards final : public io::Disk {
 public:
  SlowDiscards(io::Executor& executor, std::uint64_t took_ns)
      : executor_(executor), took_ns_(took_ns) {}
  struct Piece {
    std::uint64_t begun_ns = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  std::vector<Piece> pieces;

  void discard(std::uint64_t offset, std::uint64_t length, io::DiskDone done) override {
    pieces.push_back({executor_.now_ns(), offset, length});
    executor_.run_after(took_ns_, [done = std::move(done)]() mutable { done(Status::ok()); });
  }
  std::uint64_t size_bytes() const override { return kBlockBytes; }
  Status read_now(std::uint64_t, MutableByteSpan) override { return {}; }
  Status write_now(std::uint64_t, ByteSpan) override { return {}; }
  Status flush_now() override { return {}; }
  Result<io::DiskSpace> space() const override { return io::DiskSpace{1000, 1000, 0}; }
  void read(std::uint64_t, Buffer, io::DiskDone) override { CAIRN_ASSERT(false); }
  void write(std::uint64_t, std::vector<Buffer>, bool, io::DiskDone) override {
    CAIRN_ASSERT(false);
  }
  void flush(io::DiskDone) override { CAIRN_ASSERT(false); }

 private:
  io::Executor& executor_;
  std::uint64_t took_ns_;
};

// A released run rests so long first.
constexpr std::uint64_t kRestNs = 3'000'000'000;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

struct Area {
  explicit Area(std::uint64_t took_ns)
      : disk(executor, took_ns),
        state(executor, disk, layout(), options()),
        discarder(state, [this] { ++progress; }) {}
  static Superblock layout() {
    Superblock superblock;
    superblock.layout.data_blocks = kDataBlocks;
    return superblock;
  }
  static Options options() {
    Options given = small_options();
    given.discard_piece_blocks = 1024;
    given.discard_rest_ns = kRestNs;
    return given;
  }
  // What a checkpoint hands out after these were taken and released.
  std::vector<BlockRun> released(const std::vector<BlockRun>& runs) {
    for (const BlockRun& run : runs)
      for (std::uint32_t i = 0; i < run.count; ++i) {
        REQUIRE(state.allocator.take(run.first + i));
        state.allocator.release(run.first + i);
      }
    state.allocator.freeze();
    return state.allocator.take_released();
  }

  io::SimExecutor executor;
  SlowDiscards disk;
  StoreState state;
  int progress = 0;
  Discarder discarder;
};

}  // namespace

TEST_CASE("a long run is discarded by pieces, and others have the disk between them") {
  std::uint64_t took_ns = 0;
  std::uint64_t rest_ns = 0;
  // 4 MiB at 1 GiB/s.
  SUBCASE("a fast disk") { took_ns = 100'000, rest_ns = 3'900'000; }
  SUBCASE("a slow disk") { took_ns = 20'000'000, rest_ns = 20'000'000; }
  Area area(took_ns);
  area.discarder.add(area.released({{10, 5000}, {6000, 15}}));
  // Too short for a discard.
  CHECK(area.state.allocator.is_available(6000));
  CHECK(!area.state.allocator.is_available(10));
  area.executor.run_for(kRestNs - 1);
  CHECK(area.disk.pieces.empty());
  area.executor.run_for(kSecondNs);
  std::uint64_t discarded = 0;
  const std::uint64_t start = area.state.disk_offset(10);
  for (std::size_t i = 0; i < area.disk.pieces.size(); ++i) {
    const SlowDiscards::Piece& piece = area.disk.pieces[i];
    CHECK(piece.offset == start + discarded);
    CHECK(piece.length <= 4 * kMib);
    if (i > 0) CHECK(piece.begun_ns - area.disk.pieces[i - 1].begun_ns >= took_ns + rest_ns);
    discarded += piece.length;
  }
  CHECK(area.disk.pieces.size() == 5);
  CHECK(discarded == 5000 * kBlockBytes);
  CHECK(area.state.counters.discarded_blocks == 5000);
  CHECK(area.progress == 5);
  CHECK(area.state.allocator.available() == kDataBlocks);
}

TEST_CASE("short runs are discarded one after the other, with a rest for each 4 MiB") {
  constexpr std::uint64_t kTookNs = 50'000;
  Area area(kTookNs);
  std::vector<BlockRun> runs;
  for (std::uint32_t i = 0; i < 100; ++i) runs.push_back({i * 20, 16});
  area.discarder.add(area.released(runs));
  area.executor.run_for(kRestNs + kSecondNs);
  REQUIRE(area.disk.pieces.size() == 100);
  std::size_t rests = 0;
  for (std::size_t i = 1; i < 100; ++i)
    if (area.disk.pieces[i].begun_ns - area.disk.pieces[i - 1].begun_ns > 2 * kTookNs) ++rests;
  CHECK(rests == 1);
  CHECK(area.state.allocator.available() == kDataBlocks);
}

TEST_CASE("what waits to be discarded is given up at once; what is being discarded stays taken") {
  Area area(50'000'000);
  area.discarder.add(area.released({{0, 3000}}));
  area.executor.run_for(kRestNs);
  CHECK(area.discarder.give_up(500));
  CHECK(area.state.allocator.is_available(2500));
  CHECK(!area.state.allocator.is_available(2499));
  CHECK(area.discarder.give_up(1'000'000));
  CHECK(!area.discarder.give_up(1));
  CHECK(!area.state.allocator.is_available(0));
  CHECK(!area.state.allocator.is_available(1023));
  CHECK(area.state.allocator.is_available(1024));
  area.executor.run_for(kSecondNs);
  CHECK(area.disk.pieces.size() == 1);
  CHECK(area.state.allocator.available() == kDataBlocks);
  // It goes on with what is released later.
  area.discarder.add(area.released({{0, 16}}));
  area.executor.run_for(kRestNs + kSecondNs);
  CHECK(area.disk.pieces.size() == 2);
  CHECK(area.state.allocator.is_available(0));
}

TEST_CASE("what rests is given up when nothing waits, from the last on") {
  Area area(1'000'000);
  area.discarder.add(area.released({{0, 100}, {200, 100}}));
  CHECK(area.discarder.give_up(150));
  CHECK(!area.state.allocator.is_available(49));
  CHECK(area.state.allocator.is_available(50));
  CHECK(area.state.allocator.is_available(200));
  CHECK(area.discarder.give_up(1000));
  CHECK(!area.discarder.give_up(1));
  CHECK(area.state.allocator.available() == kDataBlocks);
  area.executor.run_for(kRestNs + kSecondNs);
  CHECK(area.disk.pieces.empty());
}

TEST_CASE("a run that rests is used again as it is, from its begin on") {
  Area area(1'000'000);
  CHECK(!area.discarder.reuse(1));
  area.discarder.add(area.released({{0, 20}, {100, 600}, {1000, 300}}));
  CHECK(area.discarder.reuse(256) == 100);
  CHECK(area.state.allocator.is_available(100));
  CHECK(area.state.allocator.is_available(355));
  CHECK(!area.state.allocator.is_available(356));
  CHECK(area.discarder.reuse(256) == 356);
  CHECK(area.discarder.reuse(256) == 1000);  // of the run before, 88 are left
  CHECK(!area.discarder.reuse(256));
  CHECK(area.discarder.reuse(16) == 0);
  CHECK(area.discarder.reuse(88) == 612);
  CHECK(area.state.counters.reused_blocks == 3 * 256 + 16 + 88);
  area.executor.run_for(kRestNs + kSecondNs);
  // What is left is discarded.
  REQUIRE(area.disk.pieces.size() == 2);
  CHECK(area.disk.pieces[0].offset == area.state.disk_offset(16));
  CHECK(area.disk.pieces[0].length == 4 * kBlockBytes);
  CHECK(area.disk.pieces[1].offset == area.state.disk_offset(1256));
  CHECK(area.disk.pieces[1].length == 44 * kBlockBytes);
  CHECK(area.state.allocator.available() == kDataBlocks);
}

TEST_CASE("what waits for its discard, or is being discarded, is not used again before") {
  Area area(50'000'000);
  area.discarder.add(area.released({{0, 3000}}));
  area.executor.run_for(kRestNs);
  CHECK(area.disk.pieces.size() == 1);
  CHECK(!area.discarder.reuse(16));
  CHECK(area.state.allocator.available() == kDataBlocks - 3000);
}

TEST_CASE("nothing is discarded any more when the store has failed") {
  Area area(1'000'000);
  area.discarder.add(area.released({{0, 3000}}));
  area.executor.run_for(kRestNs);
  area.state.health = Status(ErrorCode::io_error, "a write failed");
  area.executor.run_for(kSecondNs);
  CHECK(area.disk.pieces.size() == 1);
}

TEST_CASE("a full store takes what was removed again without waiting for discards") {
  constexpr std::uint32_t kBlocks = 4 * kMib / kBlockBytes;
  constexpr std::uint32_t kObjects = 8;
  Machine machine(formatted_image(kBlocks * kObjects + kBlocks));
  Options options = small_options();
  options.discard_piece_blocks = 1024;
  REQUIRE(machine.open(std::move(options)).is_ok());
  const PgId pg{7, 1};
  const auto write = [&](std::uint32_t number, std::uint64_t version) {
    Transaction transaction;
    transaction.write(pg, {7, "o" + std::to_string(number), kHead}, 0,
                      Buffer::zeroed(kBlocks * kBlockBytes), {1, version});
    return machine.submit(std::move(transaction)).to_string();
  };
  std::uint64_t version = 0;
  for (std::uint32_t number = 0; number < kObjects; ++number)
    CHECK(write(number, ++version) == "ok");
  REQUIRE(machine.checkpoint().is_ok());
  for (std::uint32_t number = 0; number < kObjects; ++number) {
    Transaction transaction;
    transaction.remove(pg, {7, "o" + std::to_string(number), kHead});
    REQUIRE(machine.submit(std::move(transaction)).is_ok());
  }
  REQUIRE(machine.checkpoint().is_ok());
  for (std::uint32_t number = 0; number < kObjects; ++number)
    CHECK(write(number, ++version) == "ok");
  // Of the eight pieces, those that nobody had to wait for.
  CHECK(machine.store->counters().discarded_blocks < kObjects * kBlocks);
  CHECK(machine.close().is_ok());
}

TEST_CASE("an object that is overwritten again and again stays in the places that it had") {
  constexpr std::uint32_t kBlocks = 64;
  constexpr std::uint32_t kObjects = 4;
  constexpr std::byte kMark{0xa7};
  Machine machine(formatted_image(8192));
  Options options = small_options();
  options.discard_rest_ns = kRestNs;
  bool is_asked_for = true;  // the checkpoint of each round
  SUBCASE("with checkpoints that are asked for") { options.released_bytes = kMib << 10; }
  SUBCASE("with those that come by themselves when so much has been released") {
    is_asked_for = false;
    options.released_bytes = kBlocks * kObjects / 2 * kBlockBytes;
  }
  REQUIRE(machine.open(std::move(options)).is_ok());
  const PgId pg{7, 1};
  std::uint64_t version = 0;
  for (int round = 0; round < 12; ++round) {
    for (std::uint32_t number = 0; number < kObjects; ++number) {
      Buffer data = Buffer::allocate(kBlocks * kBlockBytes);
      std::fill(data.span().begin(), data.span().end(), kMark);
      Transaction transaction;
      transaction.write(pg, {7, "o" + std::to_string(number), kHead}, 0, std::move(data),
                        {1, ++version});
      REQUIRE(machine.submit(std::move(transaction)).is_ok());
    }
    if (is_asked_for) REQUIRE(machine.checkpoint().is_ok());
  }
  CHECK(machine.store->counters().discarded_blocks == 0);
  CHECK(machine.store->counters().reused_blocks >= 8 * kBlocks * kObjects);
  // The places of two rounds: what one releases, the next but one has.
  std::uint32_t written = 0;
  Buffer block = Buffer::allocate(kBlockBytes);
  for (std::uint64_t at = 0; at < machine.disk.size_bytes(); at += kBlockBytes) {
    REQUIRE(machine.disk.read_now(at, block.span()).is_ok());
    const ByteSpan found = block.span();
    if (std::all_of(found.begin(), found.end(), [](std::byte byte) { return byte == kMark; }))
      ++written;
  }
  CHECK(written >= 2 * kBlocks * kObjects);
  CHECK(written <= (is_asked_for ? 2 : 4) * kBlocks * kObjects);
  CHECK(machine.close().is_ok());
}
