// Options::group_wait_ns: which groups wait for more transactions, and what ends the wait.
#include "object_store/test_machine.hh"

using namespace cairn;
using namespace cairn::object_store;
using namespace cairn::object_store::test;

namespace {

const PgId kPg{7, 1};
const ObjectId kObject{7, "rbd_data.1.0000", kHead};
// Longer than all that the simulated disk takes for a record.
constexpr std::uint64_t kWaitNs = 1'000'000'000;
constexpr std::uint64_t kSoonNs = kWaitNs / 2;
constexpr std::uint64_t kLong = 8;

struct WaitingStore {
  explicit WaitingStore(std::uint64_t wait_ns) : machine(formatted_image(256)) {
    Options options = small_options();
    options.group_wait_ns = wait_ns;
    REQUIRE(machine.open(std::move(options)).is_ok());
  }
  void submit(std::uint32_t blocks = 1) {
    Transaction transaction;
    transaction.write(kPg, kObject, 0, Buffer::zeroed(blocks * kBlockBytes), {1, ++submitted});
    machine.store->submit(std::move(transaction), [this](Status status) {
      CHECK(status.is_ok());
      ++durable;
    });
  }
  // All at once, which is one group.
  void submit_long_group() {
    for (std::uint64_t i = 0; i < kLong; ++i) submit();
    REQUIRE(settle_ns() < kSoonNs);
  }
  // Until all is durable. Returns how long that takes.
  std::uint64_t settle_ns() {
    const std::uint64_t started_ns = machine.executor.now_ns();
    REQUIRE(machine.executor.run_until([this] { return durable == submitted; }, 10 * kWaitNs));
    return machine.executor.now_ns() - started_ns;
  }
  std::uint64_t groups() const { return machine.store->counters().wal_groups; }

  Machine machine;
  std::uint64_t submitted = 0;
  std::uint64_t durable = 0;
};

// The groups that as many transactions as in the long group before need when they come one by one.
std::uint64_t groups_of_stragglers(std::uint64_t wait_ns) {
  WaitingStore store(wait_ns);
  store.submit_long_group();
  const std::uint64_t before = store.groups();
  for (std::uint64_t i = 0; i < kLong; ++i) {
    store.submit();
    store.machine.executor.run_for(kSoonNs / kLong);
  }
  CHECK(store.settle_ns() < kSoonNs);  // the last one has ended the wait
  return store.groups() - before;
}

}  // namespace

TEST_CASE("behind a long group the next one waits for as many") {
  CHECK(groups_of_stragglers(kWaitNs) == 1);
  CHECK(groups_of_stragglers(0) == kLong);
}

TEST_CASE("a group that stays short waits once, and the one behind it does not") {
  WaitingStore store(kWaitNs);
  store.submit_long_group();
  store.submit();
  const std::uint64_t waited_ns = store.settle_ns();
  CHECK(waited_ns >= kWaitNs);
  CHECK(waited_ns < kWaitNs + kSoonNs);
  store.submit();
  CHECK(store.settle_ns() < kSoonNs);
}

TEST_CASE("a large write does not wait for more, and takes those along that do") {
  WaitingStore store(kWaitNs);
  store.submit_long_group();
  store.submit();
  store.machine.executor.run_for(kSoonNs / kLong);
  CHECK(store.durable < store.submitted);
  store.submit(static_cast<std::uint32_t>(small_options().large_write_bytes / kBlockBytes));
  CHECK(store.settle_ns() < kSoonNs);
}

TEST_CASE("a group that waits is closed with the store, and is there after a reopen") {
  WaitingStore store(kWaitNs);
  store.submit_long_group();
  store.submit();
  CHECK(store.durable < store.submitted);
  CHECK(store.machine.close().is_ok());
  CHECK(store.durable == store.submitted);
  Machine again(store.machine.disk.image());
  again.must_open();
  CHECK(again.read(kPg, kObject, 0, 0).second.version == Version{1, store.submitted});
}
