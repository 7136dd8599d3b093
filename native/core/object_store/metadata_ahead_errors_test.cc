// An object's block map comes with the first piece of it that is asked for (loader.hh): what it
// costs when the key-value region cannot be read then. Nobody is to pay for what he did not ask.
#include <string>
#include <vector>

#include "object_store/superblock.hh"
#include "object_store/test_block_map.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

constexpr std::uint64_t kManyPieces = 64;

io::DiskFault region_fault(Machine& machine, std::uint64_t times) {
  Result<Superblock> superblock = read_superblock(machine.disk);
  REQUIRE(superblock.is_ok());
  return {.on = io::DiskFault::On::read,
          .offset = superblock->layout.kv_offset,
          .length = superblock->layout.kv_bytes,
          .times = times};
}

}  // namespace

TEST_CASE("an error of reading ahead that does not come again costs neither read nor write") {
  const io::SimDiskImage image = written_image(kPieces, 1);
  for (const bool writes : {false, true}) {
    CAPTURE(writes);
    Machine machine(image);
    std::string log;
    open_with_cache(machine, kRoomBytes, &log);
    REQUIRE(machine.read(kPg, kObject, 0, 0).second.exists);
    machine.disk.add_fault(region_fault(machine, 1));
    if (writes) {
      Transaction transaction;
      write_piece(transaction, kPg, 2, 202);
      must(machine, std::move(transaction));
    } else {
      CHECK(piece_of(machine, kPg, kObject, 2) == "102");
    }
    // It was the map as a whole that the fault has hit.
    REQUIRE(machine.disk.counters().faults == 1);
    CHECK(log.find(kObject.name + " cannot be read as a whole") != std::string::npos);
    CHECK(!machine.store->failed());
    const std::string expected = writes ? "100 101 202 103 104 105" : kUntouched;
    CHECK(pieces_of(machine, kPg, kObject) == expected);
    REQUIRE(machine.close().is_ok());
    machine.must_open();
    CHECK(pieces_of(machine, kPg, kObject) == expected);
  }
}

TEST_CASE("an error of reading ahead is no error of what is asked for in the same round") {
  Machine machine(written_image(kPieces, 1));
  open_with_cache(machine, kRoomBytes);
  for (const ObjectId& object : {kObject, kNeighbour})
    REQUIRE(machine.read(kPg, object, 0, 0).second.exists);
  std::vector<Status> outcomes;
  const auto submit = [&](Transaction transaction) {
    machine.store->submit(std::move(transaction),
                          [&](Status status) { outcomes.push_back(std::move(status)); });
  };
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  // The others wait behind it, and go on together.
  Transaction first;
  first.touch(kPg, {7, "rbd_data.1.0002", kHead}, {1, 200});
  submit(std::move(first));
  REQUIRE(machine.store->counters().metadata_loads == loads + 1);
  machine.disk.add_fault(region_fault(machine, 1));
  Transaction write;
  write_piece(write, kPg, 2, 202);
  submit(std::move(write));
  Transaction removal;
  removal.remove(kPg, kNeighbour);
  submit(std::move(removal));
  machine.executor.run_for(1'000'000'000);
  REQUIRE(machine.disk.counters().faults == 1);
  // The round that failed, and one for both again.
  CHECK(machine.store->counters().metadata_loads == loads + 3);
  REQUIRE(outcomes.size() == 3);
  for (const Status& status : outcomes) CHECK_MESSAGE(status.is_ok(), status.to_string());
  CHECK(pieces_of(machine, kPg, kObject) == "100 101 202 103 104 105");
  CHECK(pieces_of(machine, kPg, kNeighbour) == "gone");
}

TEST_CASE("where the region stays unreadable a read fails alone, and a write fails the store") {
  const io::SimDiskImage image = written_image(kPieces, 1);
  Machine machine(image);
  open_with_cache(machine, kRoomBytes);
  REQUIRE(machine.read(kPg, kObject, 0, 0).second.exists);
  machine.disk.add_fault(region_fault(machine, ~std::uint64_t{0}));
  for (int i = 0; i < 2; ++i) CHECK(piece_of(machine, kPg, kObject, 2) == "io_error");
  CHECK(!machine.store->failed());
  machine.disk.clear_faults();
  CHECK(pieces_of(machine, kPg, kObject) == kUntouched);

  Machine writer(image);
  open_with_cache(writer, kRoomBytes);
  REQUIRE(writer.read(kPg, kObject, 0, 0).second.exists);
  writer.disk.add_fault(region_fault(writer, ~std::uint64_t{0}));
  Transaction transaction;
  write_piece(transaction, kPg, 2, 202);
  CHECK(writer.submit(std::move(transaction)).code() == ErrorCode::io_error);
  CHECK(writer.store->failure().code() == ErrorCode::io_error);
  writer.disk.clear_faults();
  Transaction next;
  next.touch(kPg, kNeighbour, {1, 300});
  CHECK(writer.submit(std::move(next)).code() == ErrorCode::io_error);
  Machine again(writer.disk.image().crash(io::CrashChoice::lose_all()));
  again.must_open();
  CHECK(pieces_of(again, kPg, kObject) == kUntouched);
}

TEST_CASE("an error of reading ahead that does not come again costs no start") {
  Machine machine(written_image(kPieces, 1));
  machine.must_open();
  Transaction transaction;
  write_piece(transaction, kPg, 2, 202);
  must(machine, std::move(transaction));
  machine.store.reset();
  const io::SimDiskImage image = machine.disk.image();
  int hits = 0;
  for (std::uint64_t skip = 0;; ++skip) {
    CAPTURE(skip);
    Machine again(image);
    io::DiskFault fault = region_fault(again, 1);
    fault.skip = skip;
    again.disk.add_fault(fault);
    std::string log;
    const Status status = again.open(with_cache(kRoomBytes, &log));
    if (again.disk.counters().faults == 0) break;
    if (log.find("cannot be read as a whole") == std::string::npos) continue;
    ++hits;
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
    CHECK(pieces_of(again, kPg, kObject) == "100 101 202 103 104 105");
  }
  CHECK(hits > 0);
}

TEST_CASE("a block of the region that cannot be read costs what it costs without reading ahead") {
  const io::SimDiskImage image = written_image(kManyPieces, kShardBlocks);
  int partly_readable = 0;
  const std::uint64_t region_bytes = small_geometry().kv_bytes;
  for (std::uint64_t at = 0; at < region_bytes; at += kBlockBytes) {
    CAPTURE(at);
    std::vector<std::string> reads;
    std::vector<std::string> writes;
    for (const std::uint64_t cache_bytes : {kRoomBytes, kNoRoomBytes}) {
      const auto opened_with_fault = [&](Machine& machine) {
        open_with_cache(machine, cache_bytes);
        REQUIRE(machine.read(kPg, kObject, 0, 0).second.exists);
        io::DiskFault fault = region_fault(machine, ~std::uint64_t{0});
        fault.offset += at;
        fault.length = 1;
        machine.disk.add_fault(fault);
      };
      Machine reader(image);
      opened_with_fault(reader);
      reads.push_back(pieces_of(reader, kPg, kObject, kManyPieces));
      CHECK(!reader.store->failed());
      if (reads.back().find("io_error") == std::string::npos) continue;
      for (std::uint64_t piece = 0; piece < kManyPieces; piece += 5) {
        Machine writer(image);
        opened_with_fault(writer);
        Transaction transaction;
        write_piece(transaction, kPg, piece, 2000);
        writes.push_back(std::string(error_name(writer.submit(std::move(transaction)).code())));
        CHECK(writer.store->failed() == (writes.back() != "ok"));
      }
    }
    CHECK(reads.front() == reads.back());
    const std::size_t half = writes.size() / 2;
    for (std::size_t i = 0; i < half; ++i) CHECK(writes[i] == writes[half + i]);
    const bool has_good_ones = reads.front().find_first_of("0123456789") != std::string::npos;
    if (half > 0 && has_good_ones) ++partly_readable;
  }
  // Blocks of the map's table, not only those without which nothing of it can be found.
  CHECK(partly_readable > 1);
}
