// A disk that hangs shows in the heartbeats: the age of the oldest transaction that is not durable.
#include <doctest/doctest.h>

#include <optional>

#include "../../test/fake_messenger.hh"
#include "io/fault_disk.hh"
#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "object_store/object_store.hh"
#include "object_store/test_machine.hh"
#include "pg/osd_core.hh"

namespace cairn::pg {

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr PgId kPg{1, 0};
const net::Entity kPeer{net::EntityKind::osd, 5, 7};

struct Events : OsdEvents {
  void on_interval_started(PgId, Epoch, const PgInfo&) override {}
  void on_activated(PgId, Epoch, const Status&) override {}
  void on_recovery_progress(PgId, Epoch, std::uint64_t) override {}
  void on_recovery_failed(PgId, Epoch, const std::string&, const Status&) override {}
  void on_control(const net::Entity&, ByteSpan) override {}
  void on_need_map(Epoch) override {}
  void on_peer_failed(OsdId, std::uint64_t, const std::string&) override {}
  void on_store_failed(const Status&) override {}
};

struct Osd {
  Osd() {
    auto opened =
        object_store::ObjectStore::open(executor, disk, {}, object_store::test::small_options());
    REQUIRE(opened.is_ok());
    store = std::move(*opened);
    core.emplace(executor, *store, events, 3);
    messenger.emplace(executor, *core);
    core->attach(*messenger);
    core->on_accepted(1, kPeer);
  }
  ~Osd() {
    core->detach();
    store.reset();
  }

  std::uint32_t age_ms() {
    messenger->sent.clear();
    messenger->deliver(1, net::encode_ping({executor.now_ns(), 1, 0, 0}));
    REQUIRE(messenger->sent.size() == 1);
    net::Ping pong;
    REQUIRE(net::decode(messenger->sent[0].frame, pong).is_ok());
    return pong.disk_age_ms;
  }
  void submit(bool& is_durable) {
    object_store::Transaction transaction;
    transaction.touch(kPg, {1, "object", kHead}, {1, 1});
    store->submit(std::move(transaction),
                  [&is_durable](Status status) { is_durable = status.is_ok(); });
  }

  io::SimExecutor executor;
  io::SimDisk below{executor, object_store::test::formatted_image(256)};
  io::FaultDisk disk{executor, below, {}, 1};
  Events events;
  std::unique_ptr<object_store::ObjectStore> store;
  std::optional<OsdCore> core;
  std::optional<net::FakeMessenger> messenger;
};

}  // namespace

TEST_CASE("disk age: grows while a write hangs, and is over when it is durable") {
  Osd osd;
  CHECK(osd.age_ms() == 0);
  io::DiskFaults hung;
  hung.delay_ns = 3600 * kSecondNs;
  osd.disk.set_faults(hung);
  bool first = false;
  bool second = false;
  osd.submit(first);
  osd.executor.run_for(4 * kSecondNs);
  osd.submit(second);
  osd.executor.run_for(8 * kSecondNs);
  CHECK_FALSE(first);
  CHECK(osd.age_ms() == 12'000);

  osd.disk.set_faults({});
  osd.executor.run_for(kSecondNs);
  CHECK(first);
  CHECK(second);
  CHECK(osd.age_ms() == 0);
}

}  // namespace cairn::pg
