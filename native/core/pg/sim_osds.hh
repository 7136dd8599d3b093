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

#include "io/process_executor.hh"
#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "net/sim_messenger.hh"
#include "objecter/objecter.hh"
#include "pg/osd_core.hh"

namespace cairn::pg {

constexpr PgId kTestPg{1, 0};
constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMillisecond;

// What the scrubs of one OSD have said.
struct ScrubLog {
  ScrubCounts counts;
  std::vector<ObjectVerdict> verdicts;
  std::string after;                      // of the last progress
  std::string outcome;                    // of the scrub that ended last
  std::uint64_t ended = 0;                // how many
  std::vector<std::string> read_repairs;  // "object: outcome"
};

// One OSD: its disk outlives restarts of the rest.
struct SimOsd : OsdEvents {
  SimOsd(io::Executor& world, int drift_ppm) : clock(world, drift_ppm) {}
  io::ProcessExecutor clock;
  OsdId id = 0;
  std::uint64_t incarnation = 0;
  std::unique_ptr<io::SimDisk> disk;
  std::unique_ptr<object_store::ObjectStore> store;
  std::unique_ptr<OsdCore> core;
  std::unique_ptr<net::SimMessenger> messenger;
  Epoch started_interval = 0, activated_interval = 0;
  PgInfo info;  // as the newest interval started
  std::set<std::string> unfound;
  std::uint64_t missing = ~std::uint64_t{0};
  ScrubLog scrubs;
  bool expects_store_failure = false;
  std::string store_failure;
  std::map<std::uint64_t, std::string> trims;  // outcomes by id

  std::map<PgId, Epoch> children_started, children_activated;  // of other PGs than kTestPg

  void on_interval_started(PgId pg, Epoch interval, const PgInfo& found) override {
    if (pg != kTestPg) {
      children_started[pg] = interval;
      return;
    }
    started_interval = interval;
    info = found;
  }
  void on_activated(PgId pg, Epoch interval, const Status& status) override {
    CHECK(status.to_string() == "ok");
    if (pg != kTestPg) children_activated[pg] = interval;
    if (pg == kTestPg) activated_interval = interval;
  }
  void on_recovery_progress(PgId pg, Epoch, std::uint64_t count) override {
    if (pg == kTestPg) missing = count;
  }
  void on_recovery_failed(PgId, Epoch, const std::string& object, const Status& status) override {
    if (status.code() == ErrorCode::unfound) unfound.insert(object);
  }
  void on_control(const net::Entity&, ByteSpan) override {}
  void on_need_map(Epoch) override {}
  void on_peer_failed(OsdId, std::uint64_t, const std::string&) override {}
  void on_store_failed(const Status& status) override {
    store_failure = status.to_string();
    if (!expects_store_failure) FAIL(store_failure);
  }
  void on_scrub_object(PgId, Epoch, std::uint64_t, const ObjectVerdict& verdict, bool) override {
    scrubs.verdicts.push_back(verdict);
  }
  void on_scrub_progress(PgId, Epoch, std::uint64_t, const std::string& after,
                         const ScrubCounts& counts) override {
    scrubs.counts.add(counts);
    scrubs.after = after;
  }
  void on_scrub_done(PgId, Epoch, std::uint64_t, const Status& status) override {
    scrubs.outcome = status.to_string();
    ++scrubs.ended;
  }
  void on_snap_trim_done(PgId, Epoch, std::uint64_t trim, const Status& status) override {
    trims[trim] = status.to_string();
  }
  void on_read_repair(PgId, const std::string& object, const std::string&,
                      const Status& status) override {
    scrubs.read_repairs.push_back(object + ": " + status.to_string());
  }
};

// A client beside the first one.
struct SimClient {
  std::unique_ptr<objecter::Objecter> objecter;
  std::unique_ptr<net::SimMessenger> messenger;
};

// An operation whose answer a test waits for, or not.
struct Watched {
  bool answered = false;
  Status status;
  net::OpReply reply;
  int value = -1;  // first byte of what was read
};

std::shared_ptr<Watched> watch(objecter::Objecter& client, const std::string& object,
                               std::vector<net::Step> steps, Buffer data = {});
// Reads the object's first block.
std::shared_ptr<Watched> watch_read(objecter::Objecter& client, const std::string& object);
// A block of equal bytes.
Buffer block_of(int value);
// How often a rare branch has been taken in this process.
std::uint64_t hits_of(const std::string& probe);

class SimOsds {
 public:
  // drifts_ppm: of the OSDs' clocks; none: they go as the world's.
  explicit SimOsds(std::uint64_t seed, net::SimNetworkConfig network = {},
                   std::vector<int> drifts_ppm = {0, 0, 0});
  ~SimOsds();

  // A new epoch with this acting set; peers of it, the first has the log that counts.
  void new_interval(const std::vector<OsdId>& acting);
  // new_interval() in two halves: when the first one is over all members have started the interval.
  void begin_interval(const std::vector<OsdId>& acting);
  void finish_interval();
  // No packet passes between two hosts ("osd0", "client", "client78").
  void cut_between(const std::string& a, const std::string& b);
  // No map reaches this OSD from now on; it goes on with the one that it has.
  void cut_off(OsdId osd) { cut_off_.insert(osd); }
  // One more client, with the newest map; it gets no other.
  SimClient add_client(ClientId id);
  // The process ends: nothing unflushed is lost (that is the object store's test).
  void kill(OsdId osd);
  void restart(OsdId osd);
  // With another disk: all of its copy is made anew, as by a backfill.
  void restart_empty(OsdId osd);

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
  // Of the pool. Behind a change new_interval() splits kTestPg; activate_child() brings another one
  // up, with the same acting set and nothing missing anywhere.
  std::uint32_t pg_num = 1;
  void activate_child(PgId child);

 private:
  void format_disk(SimOsd& osd);
  void start(SimOsd& osd);
  void push_maps(const std::vector<OsdId>& acting);
  objecter::ClientMap client_map(const std::vector<OsdId>& acting) const;
  // How long an older primary that is not a member may still believe in its lease.
  std::uint64_t lease_wait_ns(const std::vector<OsdId>& acting) const;
  Activation catch_up(SimOsd& authority, SimOsd& member);

  net::ClusterId cluster_{1};
  std::unique_ptr<net::SimMessenger> client_messenger_;
  std::uint64_t next_incarnation_ = 100;
  std::vector<OsdId> acting_;
  std::set<OsdId> cut_off_;
};

}  // namespace cairn::pg
