// An object's block map comes with the first piece of it that is asked for (loader.hh): what
// becomes of an object that is changed between the question and the answer.
#include <string>
#include <vector>

#include "object_store/test_block_map.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

constexpr std::uint64_t kReclaimNs = 20'000'000'000;

// A read asks for the object's whole map, behind transactions that have asked for what they need
// and have not got it yet. They are applied before the read's answer comes: it tells of what was.
struct Race {
  explicit Race(std::uint64_t cache_bytes = kRoomBytes) : machine(written_image(kPieces, 1)) {
    open_with_cache(machine, cache_bytes);
    // What a clone counts its references in: it is not to ask for that in a round of its own.
    Transaction transaction;
    transaction.clone(kPg, kNeighbour, {7, kNeighbour.name, 4}, {1, 2});
    must(machine, std::move(transaction));
    machine.executor.run_for(1'000'000);
  }

  void run(std::vector<Transaction> transactions) {
    const Counters& counters = machine.store->counters();
    const std::uint64_t loads = counters.metadata_loads;
    const std::uint64_t values = counters.metadata_values;
    // The answers come in the order of the questions. The first one brings the header, which the
    // last read has asked for too, and that one asks for the map when it gets it.
    machine.store->read(kPg, kObject, 0, 0, false, [](Status, const ReadResult&) {});
    machine.store->list(kPg, {}, 1, [&](Status status, const std::vector<ListedObject>&) {
      CHECK(status.is_ok());
      CHECK(counters.metadata_values == values + 1);
      for (Transaction& transaction : transactions) submit(std::move(transaction));
      CHECK(counters.metadata_loads == loads + 3);
    });
    start_read(3);
    CHECK(counters.metadata_loads == loads + 2);
    machine.run_until(is_read);
    // No other round: who has asked first has got all that it needs with the first answer.
    CHECK(counters.metadata_loads == loads + 4);
    CHECK(counters.metadata_values >= values + 2 + 2 * kPieces);
    while (left > 0) REQUIRE(machine.executor.step());
  }

  void start_read(std::uint64_t piece) {
    machine.store->read(kPg, kObject, piece * kPieceBytes, kBlockBytes, false,
                        [this](Status status, ReadResult found) {
                          CHECK_MESSAGE(status.is_ok(), status.to_string());
                          read = std::move(found);
                          is_read = true;
                        });
  }
  void submit(Transaction transaction) {
    ++left;
    machine.store->submit(std::move(transaction), [this](Status status) {
      CHECK_MESSAGE(status.is_ok(), status.to_string());
      --left;
    });
  }
  std::string read_content() const {
    return read.exists ? std::to_string(load_le<std::uint64_t>(read.data.data())) : "gone";
  }

  ObjectInfo info(PgId pg, const ObjectId& object) {
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
  // The object in both PGs, and its clone; used_blocks: without the neighbour's.
  void check(const std::string& head, const std::string& moved, const std::string& clone,
             std::uint64_t used_blocks) {
    std::vector<ObjectInfo> before;
    for (const bool is_reopened : {false, true}) {
      CAPTURE(is_reopened);
      std::size_t next = 0;
      for (const PgId pg : {kPg, kOther})
        for (const ObjectId& object : {kObject, kClone}) {
          ObjectInfo now = info(pg, object);
          if (!is_reopened) {
            before.push_back(std::move(now));
            continue;
          }
          const ObjectInfo& then = before[next++];
          CHECK(now.exists == then.exists);
          CHECK(now.version == then.version);
          CHECK((now.blocks == then.blocks));
        }
      CHECK(pieces_of(machine, kPg, kObject) == head);
      CHECK(pieces_of(machine, kOther, kObject) == moved);
      CHECK(pieces_of(machine, kPg, kClone) == clone);
      CHECK(machine.store->usage().used_bytes == (1 + used_blocks) * kBlockBytes);
      if (is_reopened) break;
      REQUIRE(machine.close().is_ok());
      open_with_cache(machine, kNoRoomBytes);
    }
  }

  Machine machine;
  ReadResult read;
  bool is_read = false;
  std::size_t left = 0;
};

template <typename... Each>
std::vector<Transaction> list_of(Each... each) {
  std::vector<Transaction> list;
  (list.push_back(std::move(each)), ...);
  return list;
}

}  // namespace

TEST_CASE("an object that is removed while its map is read ahead is gone for good") {
  Race race;
  Transaction removal;
  removal.remove(kPg, kObject);
  race.run(list_of(std::move(removal)));
  CHECK(race.read_content() == "gone");
  CHECK(pieces_of(race.machine, kPg, kObject) == "gone");
  // What has come too late does not wait for the next one of this name either.
  Transaction write;
  write_piece(write, kPg, 1, 201);
  must(race.machine, std::move(write));
  race.check("- 201 - - - -", "gone", "gone", 1);
}

TEST_CASE("an object that is written anew while its map is read ahead has nothing of the old one") {
  Race race;
  Transaction removal;
  removal.remove(kPg, kObject);
  Transaction write;
  write_piece(write, kPg, 1, 201);
  write_piece(write, kPg, 5, 205);
  race.run(list_of(std::move(removal), std::move(write)));
  CHECK(race.read_content() == "0");
  race.check("- 201 - - - 205", "gone", "gone", 2);
}

TEST_CASE("an object that moves while its map is read ahead takes its map along") {
  Race race;
  Transaction away;
  away.move(kPg, kObject, kOther);
  race.run(list_of(std::move(away)));
  CHECK(race.read_content() == "gone");
  CHECK(pieces_of(race.machine, kPg, kObject) == "gone");
  Transaction write;
  write_piece(write, kPg, 1, 201);
  must(race.machine, std::move(write));
  race.check("- 201 - - - -", kUntouched, "gone", kPieces + 1);
}

TEST_CASE("an object that moves away and back while its map is read ahead keeps its changes") {
  Race race;
  Transaction away;
  away.move(kPg, kObject, kOther);
  Transaction change;
  write_piece(change, kOther, 1, 201);
  change.punch(kOther, kObject, 3 * kPieceBytes, 2 * kPieceBytes, {1, 202});
  Transaction back;
  back.move(kOther, kObject, kPg);
  race.run(list_of(std::move(away), std::move(change), std::move(back)));
  CHECK(race.read_content() == "0");
  race.check("100 201 102 - - 105", "gone", "gone", kPieces - 2);
}

TEST_CASE("an object that is cloned while its map is read ahead shares its blocks") {
  Race race;
  Transaction clone;
  clone.clone(kPg, kObject, kClone, {1, 3});
  Transaction write;
  write_piece(write, kPg, 3, 203);
  race.run(list_of(std::move(clone), std::move(write)));
  CHECK(race.read_content() == "203");
  race.check("100 101 102 203 104 105", "gone", kUntouched, kPieces + 1);
  // The references are counted: without the head all of the clone is still there.
  Transaction removal;
  removal.remove(kPg, kObject);
  must(race.machine, std::move(removal));
  race.check("gone", "gone", kUntouched, kPieces);
}

TEST_CASE("an object that is rolled back while its map is read ahead is what its layer is") {
  Race race;
  Transaction clone;
  clone.clone(kPg, kObject, kClone, {1, 3});
  // The layer differs from what the read's answer says of the head.
  clone.write(kPg, kClone, kPieceBytes, blocks_of(301), {1, 4});
  clone.punch(kPg, kClone, 4 * kPieceBytes, kPieceBytes, {1, 5});
  Transaction write;
  write_piece(write, kPg, 3, 203);
  Transaction back;
  back.clone(kPg, kClone, kObject, {1, 204});
  race.run(list_of(std::move(clone), std::move(write), std::move(back)));
  CHECK(race.read_content() == "103");
  race.check("100 301 102 103 - 105", "gone", "100 301 102 103 - 105", kPieces - 1);
}

TEST_CASE("an object that is truncated while its map is read ahead stays short") {
  Race race;
  Transaction punch;
  punch.punch(kPg, kObject, kPieceBytes, (kPieces - 1) * kPieceBytes, {1, 3});
  race.run(list_of(std::move(punch)));
  CHECK(race.read_content() == "0");
  race.check("100 - - - - -", "gone", "gone", 1);
}

TEST_CASE("pieces that are known change while the others are read ahead") {
  constexpr std::uint64_t kSmallBytes = std::uint64_t{32} << 10;
  const ObjectId filler{7, "rbd_data.2.0000", kHead};
  Race race(kSmallBytes);
  Machine& machine = race.machine;
  const Counters& counters = machine.store->counters();
  for (std::uint64_t piece = 0; machine.store->usage().metadata_bytes < kSmallBytes / 4 * 3;
       ++piece) {
    Transaction transaction;
    transaction.write(kPg, filler, piece * kPieceBytes, blocks_of(1), {1, 1});
    must(machine, std::move(transaction));
  }
  REQUIRE(machine.read(kPg, kObject, 0, 0).second.exists);
  const std::uint64_t values = counters.metadata_values;
  CHECK(piece_of(machine, kPg, kObject, 0) == "100");
  CHECK(piece_of(machine, kPg, kObject, 5) == "105");
  REQUIRE(counters.metadata_values == values + 2);
  // Now there is room for the others.
  Transaction removal;
  removal.remove(kPg, filler);
  must(machine, std::move(removal));
  const std::uint64_t loads = counters.metadata_loads;
  const std::uint64_t stored_bytes = machine.store->stored_bytes(kPg);
  race.start_read(3);
  Transaction change;
  change.punch(kPg, kObject, 0, kPieceBytes, {1, 200});
  write_piece(change, kPg, 5, 205);
  race.submit(std::move(change));
  // It needs nothing, and is applied already.
  CHECK(counters.metadata_loads == loads + 1);
  CHECK(machine.store->stored_bytes(kPg) == stored_bytes - kBlockBytes);
  machine.run_until(race.is_read);
  REQUIRE(counters.metadata_values == values + 2 + kPieces);
  CHECK(race.read_content() == "103");
  race.check("- 101 102 103 104 205", "gone", "gone", kPieces - 1);
}

TEST_CASE("an object whose PG goes while its map is read ahead goes too") {
  Race race;
  Machine& machine = race.machine;
  REQUIRE(machine.read(kPg, kObject, 0, 0).second.exists);
  const std::uint64_t loads = machine.store->counters().metadata_loads;
  race.start_read(0);
  REQUIRE(machine.store->counters().metadata_loads == loads + 1);
  // Neither needs anything that is not known: they are applied before this returns.
  Transaction removal;
  removal.remove_pg(kPg);
  race.submit(std::move(removal));
  Transaction write;
  write_piece(write, kPg, 2, 202);
  race.submit(std::move(write));
  REQUIRE(machine.store->object_count(kPg) == 1);
  machine.run_until(race.is_read);
  CHECK(race.read_content() == "0");
  machine.executor.run_for(kReclaimNs);
  // The neighbour is gone as well.
  CHECK(machine.store->usage().used_bytes == kBlockBytes);
  CHECK(pieces_of(machine, kPg, kObject) == "- - 202 - - -");
  REQUIRE(machine.close().is_ok());
  open_with_cache(machine, kNoRoomBytes);
  CHECK(pieces_of(machine, kPg, kObject) == "- - 202 - - -");
}
