// SimOsds: OSD cores and one client in one process and in virtual time, over simulated disks and
// network, for the tests of this folder. The peering is a fixed script for one PG: the first OSD of
// `acting` has the authoritative log, the others get what they lack.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "net/sim_messenger.hh"
#include "objecter/objecter.hh"
#include "pg/osd_core.hh"

namespace cairn::pg {

constexpr PgId kTestPg{1, 0};

// One OSD: its disk outlives restarts of the rest.
struct SimOsd : OsdEvents {
  OsdId id = 0;
  std::uint64_t incarnation = 0;
  std::unique_ptr<io::SimDisk> disk;
  std::unique_ptr<object_store::ObjectStore> store;
  std::unique_ptr<OsdCore> core;
  std::unique_ptr<net::SimMessenger> messenger;
  Epoch started_interval = 0, activated_interval = 0;
  std::uint64_t missing = ~std::uint64_t{0};

  void on_interval_started(PgId, Epoch interval, const PgInfo&) override {
    started_interval = interval;
  }
  void on_activated(PgId, Epoch interval, const Status& status) override {
    CHECK(status.to_string() == "ok");
    activated_interval = interval;
  }
  void on_recovery_progress(PgId, Epoch, std::uint64_t count) override { missing = count; }
  void on_recovery_failed(PgId, Epoch, const std::string&, const Status&) override {}
  void on_control(const net::Entity&, ByteSpan) override {}
  void on_need_map(Epoch) override {}
  void on_peer_failed(OsdId, std::uint64_t, const std::string&) override {}
  void on_store_failed(const Status& status) override { FAIL(status.to_string()); }
};

class SimOsds {
 public:
  explicit SimOsds(std::uint64_t seed, net::SimNetworkConfig network = {});
  ~SimOsds();

  // A new epoch with this acting set; peers of it, the first has the log that counts.
  void new_interval(const std::vector<OsdId>& acting);
  // The process ends: nothing unflushed is lost (that is the object store's test).
  void kill(OsdId osd);
  void restart(OsdId osd);

  // Runs until the operation is answered; fails the test after 60 virtual seconds.
  net::OpReply operate(const std::string& object, std::vector<net::Step> steps, Buffer data,
                       Status* status = nullptr, Buffer* read = nullptr);
  // As operate(), under a fencing token and to the end, whatever the outcome is.
  Status operate_fenced(const net::Fence& fence, const std::string& object,
                        std::vector<net::Step> steps, Buffer data, Buffer* read = nullptr);
  void submit(const std::string& object, std::vector<net::Step> steps, Buffer data,
              objecter::OpDone done);
  void run_until(UniqueFunction<bool()> condition);
  bool clean() const;
  std::string digest(OsdId osd, const std::string& object);

  io::SimExecutor executor;
  std::unique_ptr<net::SimNetwork> network;
  std::map<OsdId, std::unique_ptr<SimOsd>> osds;
  std::unique_ptr<objecter::Objecter> client;
  Epoch epoch = 0;

 private:
  void start(SimOsd& osd);
  void push_maps(const std::vector<OsdId>& acting);
  Activation catch_up(SimOsd& authority, SimOsd& member);

  net::ClusterId cluster_{1};
  std::unique_ptr<net::SimMessenger> client_messenger_;
  std::uint64_t next_incarnation_ = 100;
};

}  // namespace cairn::pg
