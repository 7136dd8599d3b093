// The test harness of sim_osds.hh.
#include "pg/sim_osds.hh"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/crc32c.hh"
#include "base/probe.hh"

namespace cairn::pg {

namespace {
constexpr std::uint64_t kDiskBytes = std::uint64_t{96} << 20;
constexpr std::uint64_t kLimitNs = 60'000'000'000;

std::string host_of(OsdId osd) { return "osd" + std::to_string(osd); }
}  // namespace

std::shared_ptr<Watched> watch(objecter::Objecter& client, const std::string& object,
                               std::vector<net::Step> steps, Buffer data) {
  auto watched = std::make_shared<Watched>();
  client.submit(kTestPg.pool, object, std::move(steps), std::move(data),
                [watched](Status status, net::OpReply reply, Buffer bytes) {
                  watched->answered = true;
                  watched->status = std::move(status);
                  watched->reply = std::move(reply);
                  if (bytes.size() != 0) watched->value = static_cast<int>(*bytes.data());
                });
  return watched;
}

std::shared_ptr<Watched> watch_read(objecter::Objecter& client, const std::string& object) {
  return watch(client, object, {{net::StepCode::read, 0, kBlockBytes, {}, {}}});
}

Buffer block_of(int value) {
  Buffer block = Buffer::allocate(kBlockBytes);
  std::memset(block.data(), value, kBlockBytes);
  return block;
}

std::uint64_t hits_of(const std::string& probe) {
  for (const auto& [name, hits] : Probe::all())
    if (name == probe) return hits;
  FAIL("no such probe: " << probe);
  return 0;
}

SimOsds::SimOsds(std::uint64_t seed, net::SimNetworkConfig config, std::vector<int> drifts_ppm)
    : executor(io::SimExecutor::Options{seed, true, 1'000'000'000}) {
  network = std::make_unique<net::SimNetwork>(executor, seed, config);
  for (OsdId id = 0; id < 3; ++id) {
    auto osd = std::make_unique<SimOsd>(executor, drifts_ppm.at(static_cast<std::size_t>(id)));
    osd->id = id;
    format_disk(*osd);
    start(*osd);
    osds[id] = std::move(osd);
  }
  client = std::make_unique<objecter::Objecter>(executor, 77, [](Epoch) {});
  net::SimMessengerConfig client_config;
  client_config.host = "client";
  client_config.cluster = cluster_;
  client_config.self = {net::EntityKind::client, 77, 77};
  client_messenger_ = std::make_unique<net::SimMessenger>(*network, *client, client_config);
  client->attach(*client_messenger_);
}

SimOsds::~SimOsds() {
  client_messenger_.reset();
  for (auto& [id, osd] : osds) {
    if (osd->core != nullptr) osd->core->detach();
    osd->messenger.reset();
  }
}

void SimOsds::format_disk(SimOsd& osd) {
  osd.disk = std::make_unique<io::SimDisk>(executor, io::SimDiskImage(kDiskBytes));
  object_store::Geometry geometry;
  geometry.wal_bytes = std::uint64_t{4} << 20;
  geometry.kv_bytes = std::uint64_t{16} << 20;
  object_store::Identity identity{cluster_, osd.id, {static_cast<std::uint8_t>(osd.id + 1)}};
  REQUIRE(object_store::ObjectStore::format(*osd.disk, identity, geometry).to_string() == "ok");
}

void SimOsds::start(SimOsd& osd) {
  object_store::Options options;
  options.threaded_kv = false;
  object_store::Identity expected{cluster_, osd.id, {}};
  auto store = object_store::ObjectStore::open(osd.clock, *osd.disk, expected, std::move(options));
  REQUIRE(store.is_ok());
  osd.store = std::move(*store);
  osd.incarnation = next_incarnation_++;
  osd.core = std::make_unique<OsdCore>(osd.clock, *osd.store, osd, osd.id);
  REQUIRE(osd.core->load().is_ok());
  net::SimMessengerConfig config;
  config.host = host_of(osd.id);
  config.cluster = cluster_;
  config.self = {net::EntityKind::osd, static_cast<std::uint64_t>(osd.id), osd.incarnation};
  osd.messenger = std::make_unique<net::SimMessenger>(*network, *osd.core, config);
  osd.core->attach(*osd.messenger);
  REQUIRE(osd.messenger->listen({host_of(osd.id), 6800}).is_ok());
}

void SimOsds::kill(OsdId id) {
  SimOsd& osd = *osds[id];
  osd.core->detach();
  osd.messenger.reset();
  bool closed = false;
  osd.store->close([&closed](Status) { closed = true; });
  run_until([&closed] { return closed; });
  osd.core.reset();
  osd.store.reset();
}

void SimOsds::restart(OsdId id) { start(*osds[id]); }

void SimOsds::restart_empty(OsdId id) {
  format_disk(*osds[id]);
  start(*osds[id]);
}

SimClient SimOsds::add_client(ClientId id) {
  SimClient added;
  added.objecter = std::make_unique<objecter::Objecter>(executor, id, [](Epoch) {});
  net::SimMessengerConfig config;
  config.host = "client" + std::to_string(id);
  config.cluster = cluster_;
  config.self = {net::EntityKind::client, id, id};
  added.messenger = std::make_unique<net::SimMessenger>(*network, *added.objecter, config);
  added.objecter->attach(*added.messenger);
  added.objecter->set_map(client_map(acting_));
  return added;
}

objecter::ClientMap SimOsds::client_map(const std::vector<OsdId>& acting) const {
  objecter::ClientMap map;
  map.epoch = epoch;
  objecter::ClientMap::Pool& pool = map.pools[kTestPg.pool];
  pool.pg_num = pg_num;
  pool.size = 3;
  for (std::uint32_t seed = 0; seed < pg_num; ++seed) {
    pool.acting.insert(pool.acting.end(), acting.begin(), acting.end());
    pool.acting.resize(std::size_t{3} * (seed + 1), kNoOsd);
  }
  for (const auto& [id, osd] : osds) {
    if (osd->core == nullptr) continue;
    map.osds[id] = {{host_of(id), 6800}, osd->incarnation};
  }
  return map;
}

void SimOsds::push_maps(const std::vector<OsdId>& acting) {
  std::vector<Peer> peers;
  for (const auto& [id, osd] : osds) {
    if (osd->core != nullptr) peers.push_back({id, {host_of(id), 6800}, osd->incarnation});
  }
  for (const auto& [id, osd] : osds) {
    if (osd->core == nullptr || cut_off_.contains(id)) continue;
    std::vector<Peer> others = peers;
    std::erase_if(others, [id = id](const Peer& peer) { return peer.osd == id; });
    osd->core->set_peers(others);
    osd->core->set_map_epoch(epoch);
  }
  client->set_map(client_map(acting));
}

Activation SimOsds::catch_up(SimOsd& authority, SimOsd& member) {
  const PgLog& good = authority.core->find_pg(kTestPg)->log();
  const PgLog& own = member.core->find_pg(kTestPg)->log();
  Activation activation;
  activation.interval = epoch;
  if (own.head_number() == 0 && good.head_number() != 0) {
    // As a backfill does it: the log begins at the head, and all objects are missing.
    activation.reset_log = true;
    activation.log_base = good.at(good.head_number()).version;
    std::map<std::string, Missing> all;
    for (const net::LogEntry& entry : good.entries_after(good.tail_number(), 100000)) {
      all[entry.object] = {entry.version, entry.removes};
    }
    for (const auto& [name, lacks] : all) activation.missing.push_back({name, lacks});
    return activation;
  }
  std::uint64_t common = std::min(good.head_number(), own.head_number());
  REQUIRE(common >= good.tail_number());
  while (common > std::max(good.tail_number(), own.tail_number()) &&
         good.at(common).version != own.at(common).version) {
    --common;
  }
  activation.rewind_to = common;
  activation.entries = good.entries_after(common, 100000);
  std::map<std::string, Missing> missing = member.core->find_pg(kTestPg)->missing();
  for (const net::LogEntry& entry : own.entries_after(common, 100000)) {
    missing.try_emplace(entry.object);
  }
  for (const net::LogEntry& entry : activation.entries) {
    missing[entry.object] = {entry.version, entry.removes};
  }
  for (const auto& [name, lacks] : missing) activation.missing.push_back({name, lacks});
  return activation;
}

std::uint64_t SimOsds::lease_wait_ns(const std::vector<OsdId>& acting) const {
  std::uint64_t longest = 0;
  for (const OsdId id : acting) {
    const PgInfo& info = osds.at(id)->info;
    const bool heard = std::find(acting.begin(), acting.end(), info.lease_holder) != acting.end();
    if (!heard) longest = std::max(longest, info.lease_remaining_ns);
  }
  return longest;
}

void SimOsds::cut_between(const std::string& a, const std::string& b) {
  network->partition(a, b);
  network->partition(b, a);
}

void SimOsds::new_interval(const std::vector<OsdId>& acting) {
  begin_interval(acting);
  finish_interval();
}

void SimOsds::begin_interval(const std::vector<OsdId>& acting) {
  ++epoch;
  acting_ = acting;
  for (const OsdId id : acting) {
    const Role role = id == acting.front() ? Role::primary : Role::replica;
    OsdCore& core = *osds[id]->core;
    for (std::uint32_t seed = 0; seed < pg_num; ++seed)
      core.set_pg_num({kTestPg.pool, seed}, pg_num);
    // Children first: they have to wait for their parent.
    for (std::uint32_t seed = pg_num; seed-- > 0;) {
      const PgId pg{kTestPg.pool, seed};
      core.start_interval(pg, IntervalSpec{epoch, acting, 1, role, pg_num});
    }
  }
  push_maps(acting);
  run_until([this, &acting] {
    return std::all_of(acting.begin(), acting.end(),
                       [this](OsdId id) { return osds[id]->started_interval == epoch; });
  });
}

void SimOsds::activate_child(PgId child) {
  const auto all = [this](std::map<PgId, Epoch> SimOsd::*seen, PgId pg) {
    return std::all_of(acting_.begin(), acting_.end(),
                       [&](OsdId id) { return ((*osds[id]).*seen)[pg] == epoch; });
  };
  run_until([&] { return all(&SimOsd::children_started, child); });
  for (const OsdId id : acting_) {
    Activation activation;
    activation.interval = epoch;
    activation.rewind_to = osds[id]->core->find_pg(child)->log().head_number();
    osds[id]->core->activate(child, std::move(activation));
  }
  run_until([&] { return all(&SimOsd::children_activated, child); });
  osds[acting_.front()]->core->go_active(child, epoch);
}

void SimOsds::finish_interval() {
  const std::vector<OsdId>& acting = acting_;
  SimOsd& primary = *osds[acting.front()];
  Activation own;
  own.interval = epoch;
  own.lease_wait_ns = lease_wait_ns(acting);
  own.rewind_to = primary.core->find_pg(kTestPg)->log().head_number();
  for (const OsdId id : acting) {
    if (id == primary.id) continue;
    Activation activation = catch_up(primary, *osds[id]);
    auto& [osd, names] = own.peer_missing.emplace_back();
    osd = id;
    for (const MissingObject& lacks : activation.missing) names.push_back(lacks.name);
    own.sources.push_back(id);
    osds[id]->core->activate(kTestPg, std::move(activation));
  }
  primary.core->activate(kTestPg, std::move(own));
  run_until([this, &acting] {
    return std::all_of(acting.begin(), acting.end(),
                       [this](OsdId id) { return osds[id]->activated_interval == epoch; });
  });
  primary.core->go_active(kTestPg, epoch);
  primary.core->set_recovery(kTestPg, epoch, 4);
}

void SimOsds::run_until(UniqueFunction<bool()> condition) {
  REQUIRE(executor.run_until(std::move(condition), kLimitNs));
}

void SimOsds::submit(const std::string& object, std::vector<net::Step> steps, Buffer data,
                     objecter::OpDone done) {
  client->submit(kTestPg.pool, object, std::move(steps), std::move(data), std::move(done));
}

net::OpReply SimOsds::operate(const std::string& object, std::vector<net::Step> steps, Buffer data,
                              Status* status, Buffer* read) {
  bool answered = false;
  net::OpReply answer;
  submit(object, std::move(steps), std::move(data),
         [&](Status outcome, net::OpReply reply, Buffer bytes) {
           answered = true;
           answer = std::move(reply);
           if (read != nullptr) *read = std::move(bytes);
           if (status != nullptr) {
             *status = std::move(outcome);
           } else {
             CHECK(outcome.to_string() == "ok");
           }
         });
  run_until([&answered] { return answered; });
  return answer;
}

Status SimOsds::operate_fenced(const net::Fence& fence, const std::string& object,
                               std::vector<net::Step> steps, Buffer data, Buffer* read) {
  bool answered = false;
  Status outcome;
  client->submit({kTestPg.pool, object, fence}, std::move(steps), std::move(data),
                 [&](Status status, net::OpReply, Buffer bytes) {
                   answered = true;
                   outcome = std::move(status);
                   if (read != nullptr) *read = std::move(bytes);
                 });
  run_until([&answered] { return answered; });
  return outcome;
}

bool SimOsds::clean() const {
  return std::any_of(osds.begin(), osds.end(), [this](const auto& entry) {
    const SimOsd& osd = *entry.second;
    if (osd.core == nullptr) return false;
    const Pg* pg = osd.core->find_pg(kTestPg);
    return pg != nullptr && pg->phase() == Phase::active && pg->spec().interval == epoch &&
           pg->missing().empty() && pg->peer_missing_count() == 0;
  });
}

std::string SimOsds::digest(OsdId id, const std::string& object) {
  std::string text;
  bool answered = false;
  osds[id]->store->info(kTestPg, ObjectId{kTestPg.pool, object, kHead},
                        [&](Status status, object_store::ObjectInfo info) {
                          answered = true;
                          CHECK(status.to_string() == "ok");
                          text = info.exists ? "exists " : "absent ";
                          for (const object_store::BlockInfo& block : info.blocks) {
                            text += std::to_string(static_cast<int>(block.state)) + ":" +
                                    std::to_string(block.crc) + ":" +
                                    std::to_string(block.version.number) + " ";
                          }
                          for (const auto& [key, value] : info.omap)
                            text += key + "=" + value + " ";
                        });
  run_until([&answered] { return answered; });
  return text;
}

}  // namespace cairn::pg
