// Power cuts and damage. A run is recorded; each crash leaves what was flushed before a random
// point and a random, partly torn subset of what was not. Then the store must open and hold the
// state after a prefix of the batches that reaches to the last synced one. Bit flips must be
// refused or healed.
#include <doctest/doctest.h>

#include "../../../test/budget.hh"
#include "object_store/kv/block_map.hh"
#include "object_store/kv/file_table.hh"
#include "object_store/kv/kv_store.hh"
#include "object_store/kv/region_fs.hh"
#include "object_store/kv/test_support.hh"

using namespace cairn;
using namespace cairn::kv;
using namespace cairn::kv::test;

namespace {

constexpr std::uint64_t kKeys = 60;
constexpr std::size_t kMaxValue = 700;
constexpr std::size_t kAll = ~std::size_t{0};

std::uint64_t region_length() {
  return KvStore::minimum_region_bytes(small_options().unit_bytes) / 4096 * 4096;
}

Geometry small_geometry() {
  return {.region_length = region_length(), .unit_bytes = small_options().unit_bytes};
}

Model model_after(std::uint64_t seed, std::uint64_t last) {
  Model model;
  for (std::uint64_t number = 1; number <= last; ++number)
    Operations::random(seed, number, kKeys, kMaxValue).apply_to(model);
  return model;
}

std::uint64_t last_batch(const Model& model) {
  const auto found = model.find(kSequenceKey);
  return found == model.end() ? 0 : std::stoull(found->second);
}

// What was called when, in operations of the disk.
struct History {
  std::uint64_t seed = 0;
  std::uint64_t first_number = 1;
  std::vector<std::size_t> started;                             // [i]: of batch first_number + i
  std::vector<std::pair<std::size_t, std::uint64_t>> promised;  // from then on: this batch
  std::uint64_t newest_at(std::size_t cut) const {
    std::uint64_t number = first_number - 1;
    for (const std::size_t at : started) number += at < cut ? 1 : 0;
    return number;
  }
  std::uint64_t promised_at(std::size_t cut) const {
    std::uint64_t number = 0;
    for (const auto& [at, batch] : promised)
      if (at <= cut) number = batch;
    return number;
  }
};

void run_batches(KvStore& store, RecordingDisk& disk, std::uint64_t count,
                 std::uint64_t sync_percent, Random& random, History& history) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = history.first_number + history.started.size();
    const bool sync = below(random, 100) < sync_percent;
    history.started.push_back(disk.operation_count());
    const Status status =
        store.apply_now(Operations::random(history.seed, number, kKeys, kMaxValue).batch(), sync);
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
    if (sync) history.promised.emplace_back(disk.operation_count(), number);
  }
}

// Opens and checks the state; the number of the last batch in it.
std::uint64_t open_and_check(std::unique_ptr<KvStore>& store, RecordingDisk& disk,
                             QueueExecutor& executor, std::uint64_t seed, std::uint64_t promised,
                             std::uint64_t newest) {
  auto opened = KvStore::open(disk, 0, region_length(), executor, small_options());
  REQUIRE_MESSAGE(opened.is_ok(), opened.status().to_string());
  store = std::move(*opened);
  const auto pairs = store->scan_now("", "", kAll);
  REQUIRE_MESSAGE(pairs.is_ok(), pairs.status().to_string());
  const Model found = model_of(pairs.value());
  const std::uint64_t last = last_batch(found);
  CHECK(last >= promised);
  CHECK(last <= newest);
  CHECK(found == model_after(seed, last));
  return last;
}

struct Recorded {
  RecordingDisk disk{Image(region_length())};
  QueueExecutor executor;
  History history;
  Recorded(std::uint64_t seed, std::uint64_t batches, std::uint64_t sync_percent,
           bool threaded = false) {
    Random random(seed);
    history.seed = seed;
    Options options = small_options();
    options.threaded = threaded;
    options.post_back = [this](io::Task task) { executor.post(std::move(task)); };
    auto store = KvStore::format(disk, 0, region_length(), executor, options);
    REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
    history.promised.emplace_back(disk.operation_count(), 0);
    run_batches(**store, disk, batches, sync_percent, random, history);
    (*store).reset();
  }
};

// Runs seeds x cuts crashes; half of them are followed by more batches and a second crash, which
// often lies inside the recovery.
void explore(std::uint64_t first_seed, int seeds, int cuts, std::uint64_t sync_percent,
             bool threaded = false) {
  seeds = cairn::test::budgeted(seeds);
  for (std::uint64_t seed = first_seed; seed < first_seed + static_cast<std::uint64_t>(seeds);
       ++seed) {
    CAPTURE(seed);
    const Recorded recorded(seed, 400, sync_percent, threaded);
    const std::size_t formatted = recorded.history.promised.front().first;
    Random random(seed);
    for (int i = 0; i < cuts; ++i) {
      const std::size_t cut =
          formatted + below(random, recorded.disk.operations().size() - formatted + 1);
      CAPTURE(cut);
      RecordingDisk disk(recorded.disk.crash(cut, random));
      QueueExecutor executor;
      std::unique_ptr<KvStore> store;
      const std::uint64_t last =
          open_and_check(store, disk, executor, seed, recorded.history.promised_at(cut),
                         recorded.history.newest_at(cut));
      if (i % 2 == 0) continue;

      History second;
      second.seed = seed;
      second.first_number = last + 1;
      second.promised.emplace_back(0, recorded.history.promised_at(cut));
      run_batches(*store, disk, below(random, 100), sync_percent, random, second);
      const std::size_t second_cut = below(random, disk.operations().size() + 1);
      CAPTURE(second_cut);
      RecordingDisk second_disk(disk.crash(second_cut, random));
      std::unique_ptr<KvStore> second_store;
      open_and_check(second_store, second_disk, executor, seed, second.promised_at(second_cut),
                     second.newest_at(second_cut));
    }
  }
}

enum class Outcome { same, refused };

// Opens a damaged image: all of the expected contents, or a refusal; nothing else.
Outcome check_damaged(Image image, const Model& expected) {
  RecordingDisk disk(std::move(image));
  QueueExecutor executor;
  auto store = KvStore::open(disk, 0, region_length(), executor, small_options());
  if (!store) {
    CHECK_MESSAGE(store.status().code() == ErrorCode::corrupt, store.status().to_string());
    return Outcome::refused;
  }
  bool refused = false;
  for (const auto& [key, value] : expected) {
    const auto values = (*store)->get_now({key});
    if (values)
      CHECK(values.value()[0] == value);
    else
      CHECK(values.status().code() == ErrorCode::corrupt);
    refused = refused || !values;
  }
  const auto pairs = (*store)->scan_now("", "", kAll);
  if (pairs)
    CHECK(model_of(pairs.value()) == expected);
  else
    CHECK(pairs.status().code() == ErrorCode::corrupt);
  return refused || !pairs ? Outcome::refused : Outcome::same;
}

void flip(Image& image, std::uint64_t byte, unsigned bit) {
  image[byte] ^= static_cast<std::byte>(1U << bit);
}

// A crash image in which everything was flushed: the log holds most of the data.
Image synced_image(const Recorded& recorded, Model& expected) {
  Random random(1);
  const std::size_t cut = recorded.history.promised.back().first;
  expected = model_after(recorded.history.seed, recorded.history.promised.back().second);
  return recorded.disk.crash(cut, random);
}

}  // namespace

TEST_CASE("kv crash: many syncs") { explore(100, 5, 60, 30); }

TEST_CASE("kv crash: few syncs, so that memtables are switched with unsynced batches") {
  explore(200, 5, 60, 1);
}

TEST_CASE("kv crash: a log is synced while the memtable before it is being written by a thread") {
  explore(500, 5, 60, 10, true);
}

TEST_CASE("kv crash: in format, nothing or an empty store is found") {
  RecordingDisk disk(Recorded(300, 50, 20).disk.image());
  QueueExecutor executor;
  REQUIRE(KvStore::format(disk, 0, region_length(), executor, small_options()).is_ok());
  Random random(1);
  for (int i = 0; i < 100; ++i) {
    const std::size_t cut = 6 + below(random, disk.operations().size() - 6);
    RecordingDisk crashed(disk.crash(cut, random));
    auto store = KvStore::open(crashed, 0, region_length(), executor, small_options());
    if (!store)
      CHECK(store.status().code() == ErrorCode::corrupt);
    else
      CHECK((*store)->scan_now("", "", kAll)->empty());
  }
}

TEST_CASE("kv damage: bit flips anywhere are refused or harmless") {
  const Recorded recorded(400, 500, 10);
  Model expected;
  const Image image = synced_image(recorded, expected);
  Random random(4);
  int refused = 0;
  constexpr int kFlips = 400;
  for (int i = 0; i < kFlips; ++i) {
    Image damaged = image;
    flip(damaged, below(random, damaged.size()), i % 8);
    refused += check_damaged(std::move(damaged), expected) == Outcome::refused ? 1 : 0;
  }
  CHECK(refused > kFlips / 20);
  CHECK(refused < kFlips);
}

TEST_CASE("kv damage: a flip in any file that is in use is refused") {
  const Recorded recorded(401, 500, 10);
  Model expected;
  const Image image = synced_image(recorded, expected);
  const FileTable table = newest_table(image, small_geometry());
  REQUIRE(table.generation > 0);
  Random random(5);
  int logs = 0;
  int tables = 0;
  for (const auto& file : table.files) {
    const auto& [name, entry] = file;
    INFO(file.first);
    logs += name.ends_with(".log") ? 1 : 0;
    tables += name.ends_with(".ldb") ? 1 : 0;
    for (std::uint64_t block = 0; block < entry.block_count(); ++block) {
      const Run run = find_run(table.geometry, entry, block, 1);
      Image damaged = image;
      flip(damaged, run.offset + below(random, kBlockBytes), block % 8);
      CAPTURE(block);
      CHECK(check_damaged(std::move(damaged), expected) == Outcome::refused);
    }
  }
  CHECK(logs >= 1);
  CHECK(tables >= 2);
}

TEST_CASE("kv damage: LevelDB refuses a damaged middle of its log that the blocks hide") {
  const Recorded recorded(402, 60, 30);
  Model expected;
  const Image image = synced_image(recorded, expected);
  const FileTable table = newest_table(image, small_geometry());
  int damaged_blocks = 0;
  for (const auto& [name, entry] : table.files) {
    if (!name.ends_with(".log")) continue;
    for (std::uint64_t block = 0; block < entry.block_count(); ++block) {
      const Run run = find_run(table.geometry, entry, block, 1);
      Image damaged = image;
      const MutableByteSpan bytes(damaged.data() + run.offset, kBlockBytes);
      bytes[1000] ^= std::byte{1};
      seal_block(file_crc_seed(table.geometry.nonce, entry.id), block, bytes);
      CHECK(check_damaged(std::move(damaged), expected) == Outcome::refused);
      ++damaged_blocks;
    }
  }
  CHECK(damaged_blocks > 3);
}

TEST_CASE("kv damage: a block of another file or place, or an older block, is refused") {
  const Recorded recorded(403, 500, 10);
  Model expected;
  const Image image = synced_image(recorded, expected);
  const FileTable table = newest_table(image, small_geometry());
  std::vector<std::uint64_t> offsets;
  for (const auto& [name, entry] : table.files)
    for (std::uint64_t block = 0; block < entry.block_count(); ++block)
      offsets.push_back(find_run(table.geometry, entry, block, 1).offset);
  Random random(6);
  for (int i = 0; i < 60; ++i) {
    const std::uint64_t from = offsets[below(random, offsets.size())];
    const std::uint64_t to = offsets[below(random, offsets.size())];
    if (from == to) continue;
    Image damaged = image;
    std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(from), kBlockBytes,
                damaged.begin() + static_cast<std::ptrdiff_t>(to));
    CHECK(check_damaged(std::move(damaged), expected) == Outcome::refused);
  }
}

TEST_CASE("kv damage: one copy of the file table is healed; without both no newer state is made") {
  const Recorded recorded(405, 300, 10);
  Model expected;
  const Image image = synced_image(recorded, expected);
  const FileTable table = newest_table(image, small_geometry());
  const Geometry geometry = small_geometry();
  Random random(7);
  int older_states = 0;
  for (int i = 0; i < 40; ++i) {
    const std::uint64_t at = below(random, kTableHeaderBytes + 64);
    std::uint64_t slots[2];
    for (unsigned copy = 0; copy < 2; ++copy)
      slots[copy] = geometry.slot_offset(table.generation, copy) + at;
    Image damaged = image;
    flip(damaged, slots[i % 2], i % 8);
    CHECK(check_damaged(damaged, expected) == Outcome::same);
    // The mount alone restores the copy: then the other one may be lost.
    RecordingDisk disk(damaged);
    REQUIRE(RegionFs::mount(disk, 0, geometry).is_ok());
    Image healed = disk.image();
    flip(healed, slots[1 - i % 2], i % 8);
    CHECK(check_damaged(std::move(healed), expected) == Outcome::same);

    flip(damaged, slots[1 - i % 2], i % 8);
    RecordingDisk older(damaged);
    QueueExecutor executor;
    auto store = KvStore::open(older, 0, region_length(), executor, small_options());
    if (!store) continue;
    const auto pairs = (*store)->scan_now("", "", kAll);
    if (!pairs) continue;
    const Model found = model_of(pairs.value());
    CHECK(last_batch(found) <= last_batch(expected));
    CHECK(found == model_after(recorded.history.seed, last_batch(found)));
    older_states += last_batch(found) < last_batch(expected) ? 1 : 0;
  }
  CHECK(older_states > 0);
}
