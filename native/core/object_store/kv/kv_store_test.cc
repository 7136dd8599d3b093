// The key-value store against a model: random histories, reopening, a full region, both modes.
#include "object_store/kv/kv_store.hh"
#include "../../../test/budget.hh"

#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <thread>

#include "object_store/kv/database.hh"
#include "object_store/kv/region_env.hh"
#include "object_store/kv/test_support.hh"

using namespace cairn;
using namespace cairn::kv;
using namespace cairn::kv::test;

namespace {

constexpr std::uint64_t kOffset = 64 << 10;
constexpr std::size_t kAll = ~std::size_t{0};

std::uint64_t small_region() {
  return KvStore::minimum_region_bytes(small_options().unit_bytes) / 4096 * 4096 + 4096;
}

Model contents(KvStore& store) {
  auto pairs = store.scan_now("", "", kAll);
  REQUIRE_MESSAGE(pairs.is_ok(), pairs.status().to_string());
  return model_of(*pairs);
}

Options threaded_options(QueueExecutor& executor) {
  Options options = small_options();
  options.threaded = true;
  options.post_back = [&executor](io::Task task) { executor.post(std::move(task)); };
  return options;
}

WriteBatch batch_of(std::string_view key, std::string_view value) {
  WriteBatch batch;
  batch.put(key, value);
  return batch;
}

// Those who come to it while it is closed wait.
class Gate {
 public:
  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    is_closed_ = false;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !is_closed_; });
    --waiting_;
  }
  void wait_for_somebody() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_closed_ = false;
  int waiting_ = 0;
};

class GatedDisk : public RecordingDisk {
 public:
  using RecordingDisk::RecordingDisk;
  Gate reads, flushes;

  Status read_now(std::uint64_t offset, MutableByteSpan into) override {
    reads.pass();
    return RecordingDisk::read_now(offset, into);
  }
  Status flush_now() override {
    flushes.pass();
    return RecordingDisk::flush_now();
  }
};

template <typename Condition>
void run_until(QueueExecutor& executor, Condition condition) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    REQUIRE(std::chrono::steady_clock::now() < limit);
    if (!executor.run_one()) std::this_thread::yield();
  }
}

std::string key_of(int number) { return "key" + std::to_string(100'000 + number); }

}  // namespace

TEST_CASE("kv: a table that is gone is damage, never absent keys") {
  RecordingDisk disk(Image(kOffset + small_region()));
  QueueExecutor executor;
  {
    auto store = KvStore::format(disk, kOffset, small_region(), executor, small_options());
    REQUIRE(store.is_ok());
    WriteBatch batch;
    batch.put("key", "value");
    REQUIRE((*store)->apply_now(std::move(batch), true).is_ok());
  }
  // The second start makes a table of the log.
  REQUIRE(KvStore::open(disk, kOffset, small_region(), executor, small_options()).is_ok());
  const Geometry geometry{.region_length = small_region(),
                          .unit_bytes = small_options().unit_bytes};
  auto fs = RegionFs::mount(disk, kOffset, geometry);
  REQUIRE_MESSAGE(fs.is_ok(), fs.status().to_string());
  int tables = 0;
  for (const std::string& name : (*fs)->list()) {
    if (!name.ends_with(".ldb")) continue;
    ++tables;
    REQUIRE((*fs)->remove(name).is_ok());
    // While the database is open it is the Env that says so.
    RegionEnv env(**fs, false);
    leveldb::RandomAccessFile* file = nullptr;
    CHECK(env.NewRandomAccessFile("kv/" + name, &file).IsCorruption());
  }
  REQUIRE(tables == 1);
  REQUIRE((*fs)->commit().is_ok());
  fs->reset();
  CHECK(KvStore::open(disk, kOffset, small_region(), executor, small_options()).status().code() ==
        ErrorCode::corrupt);
}

TEST_CASE("kv: put, get, erase, scan and their order") {
  RecordingDisk disk(Image(kOffset + small_region()));
  QueueExecutor executor;
  auto store = KvStore::format(disk, kOffset, small_region(), executor, small_options());
  REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
  KvStore& kv = **store;

  WriteBatch batch;
  for (int i = 0; i < 10; ++i) batch.put(key_of(i), "value" + std::to_string(i));
  batch.erase(key_of(3));
  batch.put(key_of(4), "");
  std::vector<std::string> events;
  kv.apply(std::move(batch), false, [&](Status status) {
    CHECK(status.is_ok());
    events.push_back("applied");
  });
  kv.get({key_of(9), key_of(3), key_of(4), "none"}, [&](Status status, Values values) {
    CHECK(status.is_ok());
    CHECK(values == Values{"value9", std::nullopt, "", std::nullopt});
    events.push_back("got");
  });
  kv.scan(key_of(2), key_of(6), 100, [&](Status status, std::vector<KeyValue> pairs) {
    CHECK(status.is_ok());
    CHECK(pairs ==
          std::vector<KeyValue>{{key_of(2), "value2"}, {key_of(4), ""}, {key_of(5), "value5"}});
    events.push_back("scanned");
  });
  CHECK_MESSAGE(events.empty(), "completions never run inside the call");
  while (executor.run_one()) {
  }
  CHECK(events == std::vector<std::string>{"applied", "got", "scanned"});
  CHECK(kv.scan_now("", "", 2)->size() == 2);
  CHECK(kv.scan_now(key_of(7), "", kAll)->size() == 3);
  CHECK(kv.stats().gets == 4);
}

TEST_CASE("kv: a random history with reopens equals the model") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    RecordingDisk disk(Image(kOffset + small_region()));
    QueueExecutor executor;
    Random random(seed);
    Model model;
    std::unique_ptr<KvStore> store =
        std::move(*KvStore::format(disk, kOffset, small_region(), executor, small_options()));
    for (std::uint64_t number = 0; number < 1500; ++number) {
      const Operations operations = Operations::random(seed, number, 100, 600);
      operations.apply_to(model);
      const Status status = store->apply_now(operations.batch(), below(random, 10) == 0);
      REQUIRE_MESSAGE(status.is_ok(), status.to_string());
      if (below(random, 20) == 0) {
        const std::string key = "key" + std::to_string(below(random, 100));
        const auto values = store->get_now({key});
        REQUIRE(values.is_ok());
        CHECK(values.value()[0].has_value() == (model.count(key) > 0));
        if (values.value()[0]) CHECK(*values.value()[0] == model[key]);
      }
      if (below(random, 300) != 0) continue;
      store.reset();
      auto reopened = KvStore::open(disk, kOffset, small_region(), executor, small_options());
      REQUIRE_MESSAGE(reopened.is_ok(), reopened.status().to_string());
      store = std::move(*reopened);
      CHECK(contents(*store) == model);
    }
    CHECK(contents(*store) == model);
  }
}

TEST_CASE("kv: the stepped mode writes the same for the same calls") {
  const auto run = [] {
    RecordingDisk disk(Image(kOffset + small_region()));
    QueueExecutor executor;
    auto store = KvStore::format(disk, kOffset, small_region(), executor, small_options());
    for (std::uint64_t number = 0; number < 600; ++number) {
      REQUIRE((*store)
                  ->apply_now(Operations::random(5, number, 100, 600).batch(), number % 7 == 0)
                  .is_ok());
      REQUIRE((*store)->get_now({"key" + std::to_string(number % 100)}).is_ok());
    }
    // Filled and emptied again, so that everything is compacted because of the lack of room.
    for (int number = 0; number < 8000; ++number) {
      WriteBatch batch;
      batch.put(key_of(number), std::string(500, 'x'));
      if ((*store)->apply_now(std::move(batch), false)) continue;
      for (int i = 0; i < number; ++i) {
        WriteBatch deletion;
        deletion.erase(key_of(i));
        REQUIRE((*store)->apply_now(std::move(deletion), false).is_ok());
      }
    }
    CHECK((*store)->stats().refused_full > 3);
    store->reset();
    return disk.operations();
  };
  CHECK(run() == run());
}

TEST_CASE("kv: the threaded mode keeps the order and loses nothing") {
  RecordingDisk disk(Image(kOffset + 2 * small_region()));
  QueueExecutor executor;
  Model model;
  {
    auto store =
        KvStore::format(disk, kOffset, 2 * small_region(), executor, threaded_options(executor));
    REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
    std::uint64_t completed = 0;
    constexpr std::uint64_t kBatches = 1500;
    for (std::uint64_t number = 0; number < kBatches; ++number) {
      const Operations operations = Operations::random(6, number, 100, 600);
      operations.apply_to(model);
      (*store)->apply(operations.batch(), number % 50 == 0, [&completed, number](Status status) {
        CHECK_MESSAGE(status.is_ok(), status.to_string());
        CHECK(completed++ == number);
      });
      (*store)->get({kSequenceKey}, [number](Status status, Values values) {
        CHECK(status.is_ok());
        CHECK(values[0] == std::to_string(number));
      });
      executor.run_one();
    }
    CHECK(contents(**store) == model);
    while (completed < kBatches)
      if (!executor.run_one()) std::this_thread::yield();
    // Destroyed with work under way: it is done, its completion is not run.
    WriteBatch last;
    last.put("last", "value");
    model["last"] = "value";
    (*store)->apply(std::move(last), false, [](Status) { CHECK(false); });
  }
  while (executor.run_one()) {
  }
  auto store = KvStore::open(disk, kOffset, 2 * small_region(), executor, small_options());
  REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
  CHECK(contents(**store) == model);
}

TEST_CASE("kv: a pause makes a large memtable a table, a small one stays") {
  constexpr std::uint64_t kRegion = std::uint64_t{64} << 20;
  RecordingDisk disk(Image(kOffset + kRegion));
  QueueExecutor executor;
  Options options = threaded_options(executor);
  options.write_buffer_bytes = std::size_t{4} << 20;
  options.pause_ns = 20'000'000;
  auto store = KvStore::format(disk, kOffset, kRegion, executor, options);
  REQUIRE(store.is_ok());
  const auto put = [&](char name, std::size_t length) {
    REQUIRE((*store)->apply_now(batch_of(std::string(1, name), std::string(length, name)), true));
    return (*store)->stats();
  };
  const auto written = [&] { return (*store)->stats().disk_bytes_written; };
  const std::uint64_t small = put('a', kRestingMemtableBytes / 2).disk_bytes_written;
  std::this_thread::sleep_for(std::chrono::nanoseconds(5 * options.pause_ns));
  CHECK(written() == small);
  put('b', kRestingMemtableBytes / 2);
  // The log has the second value, a table both.
  const std::uint64_t expected = small + 3 * kRestingMemtableBytes / 2;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (written() < expected && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(written() >= expected);
  CHECK(contents(**store).size() == 2);
  store->reset();
  store = KvStore::open(disk, kOffset, kRegion, executor, options);
  REQUIRE(store.is_ok());
  CHECK(contents(**store).at("b") == std::string(kRestingMemtableBytes / 2, 'b'));
}

TEST_CASE("kv: a settled get does not wait for a batch that is on its way") {
  GatedDisk disk(Image(kOffset + 2 * small_region()));
  QueueExecutor executor;
  const Options options = threaded_options(executor);
  auto store = KvStore::format(disk, kOffset, 2 * small_region(), executor, options);
  REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
  REQUIRE((*store)->apply_now(batch_of("key", "old"), true));
  disk.flushes.close();
  bool is_applied = false;
  (*store)->apply(batch_of("key", "new"), true, [&](Status) { is_applied = true; });
  disk.flushes.wait_for_somebody();
  std::optional<std::string> found;
  (*store)->get_settled({"key"}, [&](Status, Values values) { found = values[0]; });
  std::size_t listed = 0;
  (*store)->scan_settled("", "", kAll, [&](Status, const auto& pairs) { listed = pairs.size(); });
  run_until(executor, [&] { return found && listed > 0; });
  CHECK(!is_applied);
  CHECK(listed == 1);
  disk.flushes.open();
  run_until(executor, [&] { return is_applied; });
  found.reset();
  (*store)->get_settled({"key"}, [&](Status, Values values) { found = values[0]; });
  run_until(executor, [&] { return found.has_value(); });
  CHECK(found == "new");
}

TEST_CASE("kv: a settled get never answers what was so before a batch that has completed") {
  GatedDisk disk(Image(kOffset + 2 * small_region()));
  QueueExecutor executor;
  const Options options = threaded_options(executor);
  {
    auto first = KvStore::format(disk, kOffset, 2 * small_region(), executor, options);
    REQUIRE_MESSAGE(first.is_ok(), first.status().to_string());
    REQUIRE((*first)->apply_now(batch_of("key", "old"), true));
  }
  // What is found at the opening becomes a table, which is read from the disk.
  auto store = KvStore::open(disk, kOffset, 2 * small_region(), executor, options);
  REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
  disk.reads.close();
  std::optional<std::string> found;
  (*store)->get_settled({"key"}, [&](Status, Values values) { found = values[0]; });
  disk.reads.wait_for_somebody();
  bool is_applied = false;
  (*store)->apply(batch_of("key", "new"), false, [&](Status) { is_applied = true; });
  run_until(executor, [&] { return is_applied; });
  CHECK(!found);
  disk.reads.open();
  run_until(executor, [&] { return found.has_value(); });
  CHECK(found == "new");
}

TEST_CASE("kv: a full region refuses puts, serves reads and erases, and recovers") {
  RecordingDisk disk(Image(kOffset + small_region()));
  QueueExecutor executor;
  auto store = KvStore::format(disk, kOffset, small_region(), executor, small_options());
  REQUIRE(store.is_ok());
  Random random(7);
  for (int round = 0; round < 6; ++round) {
    Model model;
    for (int number = 0;; ++number) {
      REQUIRE(number < 20'000);
      WriteBatch batch;
      std::string value(200 + below(random, 400), static_cast<char>(random()));
      batch.put(key_of(number), value);
      const Status status = (*store)->apply_now(std::move(batch), round % 2 == 0);
      if (!status) {
        CHECK(status.code() == ErrorCode::no_space);
        CHECK((*store)->free_bytes() < 1000);
        CHECK((*store)->stats().refused_full == 1);
        break;
      }
      model[key_of(number)] = std::move(value);
    }
    CHECK_MESSAGE(model.size() > 300, "at least a sixth of the region was usable");
    CHECK(contents(**store) == model);
    // A reopen of a full store works too.
    store->reset();
    store = KvStore::open(disk, kOffset, small_region(), executor, small_options());
    REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
    CHECK(contents(**store) == model);
    WriteBatch deletion;
    deletion.erase(key_of(0));
    deletion.put("log", "key 0 is gone");
    deletion.allow_reserve();
    CHECK((*store)->apply_now(std::move(deletion), false).is_ok());
    int erased = 0;
    for (const auto& [key, value] : model) {
      WriteBatch batch;
      batch.erase(key);
      const Status status = (*store)->apply_now(std::move(batch), ++erased % 16 == 0);
      REQUIRE_MESSAGE(status.is_ok(), status.to_string());
    }
    CHECK(contents(**store) == Model{{"log", "key 0 is gone"}});
    WriteBatch cleanup;
    cleanup.erase("log");
    CHECK((*store)->apply_now(std::move(cleanup), false).is_ok());
  }
}

TEST_CASE("kv: a disk error stops the store, and what was synced is there at the next open") {
  for (std::uint64_t seed = 1; seed <= cairn::test::budgeted(60U); ++seed) {
    RecordingDisk disk(Image(kOffset + small_region()));
    QueueExecutor executor;
    Random random(seed);
    auto store = KvStore::format(disk, kOffset, small_region(), executor, small_options());
    REQUIRE(store.is_ok());
    // Every other time the disk works again afterwards; the store must not.
    const std::size_t first = below(random, 60);
    disk.fail_between(first, seed % 2 == 0 ? kAll / 2 : first + 1 + below(random, 3));
    std::uint64_t synced = 0;
    std::uint64_t number = 1;
    bool failed = false;
    for (; number < 400; ++number) {
      const bool sync = below(random, 4) == 0;
      const Status status =
          (*store)->apply_now(Operations::random(seed, number, 50, 600).batch(), sync);
      failed = failed || !status;
      if (status && sync) {
        CHECK_MESSAGE(!failed, "a sync was acknowledged behind a failure");
        synced = number;
      }
    }
    CHECK(failed);
    store->reset();
    disk.fail_between(0, 0);
    store = KvStore::open(disk, kOffset, small_region(), executor, small_options());
    REQUIRE_MESSAGE(store.is_ok(), store.status().to_string());
    const Model found = contents(**store);
    const std::uint64_t last =
        found.count(kSequenceKey) > 0 ? std::stoull(found.at(kSequenceKey)) : 0;
    CHECK(last >= synced);
    Model model;
    for (std::uint64_t i = 1; i <= last; ++i) Operations::random(seed, i, 50, 600).apply_to(model);
    CHECK(found == model);
  }
}

TEST_CASE("kv: wrong arguments and foreign bytes are refused") {
  RecordingDisk disk(Image(kOffset + small_region()));
  QueueExecutor executor;
  const auto open = [&](std::uint64_t offset, std::uint64_t length, const Options& options) {
    return KvStore::open(disk, offset, length, executor, options).status().code();
  };
  CHECK(open(kOffset, small_region(), small_options()) == ErrorCode::corrupt);
  {
    auto store = KvStore::format(disk, kOffset, small_region(), executor, small_options());
    REQUIRE(store.is_ok());
  }
  CHECK(open(kOffset, small_region(), small_options()) == ErrorCode::ok);
  CHECK(open(kOffset, 4096, small_options()) == ErrorCode::invalid_argument);
  CHECK(open(kOffset + 512, small_region(), small_options()) == ErrorCode::invalid_argument);
  CHECK(open(kOffset + 4096, small_region(), small_options()) == ErrorCode::invalid_argument);
  Options options = small_options();
  options.unit_bytes = 8192;
  CHECK(open(kOffset, small_region(), options) == ErrorCode::invalid_argument);
  options = small_options();
  options.threaded = true;
  CHECK(open(kOffset, small_region(), options) == ErrorCode::invalid_argument);
}
