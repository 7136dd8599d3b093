// Instructions of a replicated 4 KiB write outside of the kernel: a client, a primary and two
// replicas in one process and in virtual time, each with the real objecter or OSD core, object
// store, frame codec and send queue, over simulated disks.
//
//   bench_pg_write [WRITES [PGS [OBJECTS [BLOCKS_OF_EACH]]]]
//   valgrind --tool=callgrind --dump-instr=no --toggle-collect='in_*' bench_pg_write 4000
//   callgrind_annotate --inclusive=yes callgrind.out.PID
//
// With --cache-sim=yes --LL=1048576,8,64 callgrind counts what does not find its bytes in a cache
// of one mebibyte (DLmr, DLmw), which may be all that a virtual machine beside others has.
// That wants many objects: BLOCKS_OF_EACH is at most 1024, and all of them at most 2 GiB. Up to
// 256 MiB the disks have 1 GiB, beyond that 4, and a greater key-value region.
//
// What each process does runs inside in_client(), in_primary() or in_replica(), so that the
// inclusive figures of these, divided by the writes, are the instructions per write; without
// callgrind it reports the time. io::SimDisk stands for what a ring would do. All PGs have the same
// primary. The disks are filled, and a checkpoint made, before in_*() begins to be called.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/random.hh"
#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "net/send_queue.hh"
#include "objecter/objecter.hh"
#include "pg/osd_core.hh"

namespace {

using namespace cairn;

constexpr PoolId kPool = 1;
constexpr OsdId kOsds = 3;
constexpr unsigned kDepth = 32;
constexpr std::uint64_t kDeliveryNs = 30'000;
constexpr Epoch kEpoch = 2;
constexpr ClientId kClient = 77;

void check(const Status& status) {
  if (status) return;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  std::exit(1);
}

bool is_measured = false;

}  // namespace

// Outside of the anonymous namespace, and never inlined: callgrind is told these names.
extern "C" {
[[gnu::noinline]] void in_client(io::Task& task) {
  task();
  asm volatile("");
}
[[gnu::noinline]] void in_primary(io::Task& task) {
  task();
  asm volatile("");
}
[[gnu::noinline]] void in_replica(io::Task& task) {
  task();
  asm volatile("");
}
}

namespace {

using Role = void (*)(io::Task&);

// The executor of one process, which runs in its role.
class RoleExecutor final : public io::Executor {
 public:
  RoleExecutor(io::Executor& world, Role role) : world_(world), role_(role) {}
  std::uint64_t now_ns() const override { return world_.now_ns(); }
  void post(io::Task task) override { world_.post(wrapped(std::move(task))); }
  io::TimerId run_after(std::uint64_t delay_ns, io::Task task) override {
    return world_.run_after(delay_ns, wrapped(std::move(task)));
  }
  void cancel(io::TimerId id) override { world_.cancel(id); }

 private:
  io::Task wrapped(io::Task task) {
    return [role = role_, task = std::move(task)]() mutable {
      if (is_measured) return role(task);
      task();
    };
  }
  io::Executor& world_;
  const Role role_;
};

// A messenger whose sockets are one copy in memory.
class WireMessenger final : public net::Messenger {
 public:
  using Hosts = std::map<std::string, WireMessenger*>;
  WireMessenger(RoleExecutor& executor, net::MessengerHandler& handler, Hosts& hosts,
                const std::string& host, const net::Entity& self)
      : executor_(executor), handler_(handler), hosts_(hosts), self_(self) {
    hosts_[host] = this;
  }

  Result<std::uint16_t> listen(const net::Address& address) override { return address.port; }
  net::ConnectionId connect(const net::Address& address, const net::Entity&) override {
    WireMessenger& peer = *hosts_.at(address.host);
    const net::ConnectionId own = next_id_++;
    const net::ConnectionId theirs = peer.next_id_++;
    ends_[own] = std::make_unique<End>(&peer, theirs);
    peer.ends_[theirs] = std::make_unique<End>(this, own);
    peer.executor_.post([this, &peer, theirs] { peer.handler_.on_accepted(theirs, self_); });
    executor_.post([this, &peer, own] { handler_.on_connected(own, peer.self_); });
    return own;
  }
  void send(net::ConnectionId id, net::Frame frame) override {
    End& end = *ends_.at(id);
    end.queue.push(std::move(frame));
    if (std::exchange(end.is_due, true)) return;
    executor_.post([this, &end] { flush(end); });
  }
  std::uint64_t queued_bytes(net::ConnectionId id) const override {
    return ends_.at(id)->queue.unsent_bytes();
  }
  void close(net::ConnectionId, Status) override {}
  const net::MessengerCounters& counters() const override { return counters_; }

 private:
  struct End {
    End(WireMessenger* to, net::ConnectionId at) : peer(to), peer_id(at) {}
    WireMessenger* peer;
    net::ConnectionId peer_id;
    net::SendQueue queue;
    net::FrameDecoder decoder;
    bool is_due = false;
  };

  void flush(End& end) {
    end.is_due = false;
    while (const msghdr* message = end.queue.next_message()) {
      std::vector<std::byte> bytes = cross(*message);
      end.queue.sent(bytes.size());
      WireMessenger& peer = *end.peer;
      peer.executor_.run_after(kDeliveryNs, [&peer, id = end.peer_id, bytes = std::move(bytes)] {
        peer.receive(id, bytes);
      });
    }
  }

  // What the kernel does with both sockets.
  [[gnu::noinline]] static std::vector<std::byte> cross(const msghdr& message) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) {
      const auto* from = static_cast<const std::byte*>(message.msg_iov[i].iov_base);
      bytes.insert(bytes.end(), from, from + message.msg_iov[i].iov_len);
    }
    return bytes;
  }

  void receive(net::ConnectionId id, ByteSpan bytes) {
    net::FrameDecoder& decoder = ends_.at(id)->decoder;
    while (!bytes.empty()) {
      std::size_t consumed = 0;
      Result<std::optional<net::Frame>> frame = decoder.feed(bytes, consumed);
      check(frame.status());
      bytes = bytes.subspan(consumed);
      if (frame->has_value()) handler_.on_frame(id, std::move(**frame));
    }
  }

  RoleExecutor& executor_;
  net::MessengerHandler& handler_;
  Hosts& hosts_;
  const net::Entity self_;
  std::map<net::ConnectionId, std::unique_ptr<End>> ends_;
  net::ConnectionId next_id_ = 1;
  net::MessengerCounters counters_;
};

std::string host_of(OsdId osd) { return "osd" + std::to_string(osd); }

struct Osd : pg::OsdEvents {
  Osd(io::Executor& world, WireMessenger::Hosts& hosts, OsdId id, std::uint64_t disk_bytes)
      : executor(world, id == 0 ? in_primary : in_replica),
        disk(executor, io::SimDiskImage(disk_bytes)) {
    const object_store::Identity identity{{1}, id, {static_cast<std::uint8_t>(id + 1)}};
    check(object_store::ObjectStore::format(disk, identity, {}));
    object_store::Options options;
    options.threaded_kv = false;
    auto opened = object_store::ObjectStore::open(executor, disk, identity, std::move(options));
    check(opened.status());
    store = std::move(*opened);
    core = std::make_unique<pg::OsdCore>(executor, *store, *this, id);
    const net::Entity self{net::EntityKind::osd, static_cast<std::uint64_t>(id), 1};
    messenger = std::make_unique<WireMessenger>(executor, *core, hosts, host_of(id), self);
    core->attach(*messenger);
  }
  void on_interval_started(PgId, Epoch, const pg::PgInfo&) override { ++started; }
  void on_activated(PgId, Epoch, const Status& status) override {
    check(status);
    ++activated;
  }
  void on_recovery_progress(PgId, Epoch, std::uint64_t) override {}
  void on_recovery_failed(PgId, Epoch, const std::string&, const Status& status) override {
    check(status);
  }
  void on_control(const net::Entity&, ByteSpan) override {}
  void on_need_map(Epoch) override {}
  void on_peer_failed(OsdId, std::uint64_t, const std::string&) override {}
  void on_store_failed(const Status& status) override { check(status); }
  void on_scrub_object(PgId, Epoch, std::uint64_t, const pg::ObjectVerdict&, bool) override {}
  void on_scrub_progress(PgId, Epoch, std::uint64_t, const std::string&,
                         const pg::ScrubCounts&) override {}
  void on_scrub_done(PgId, Epoch, std::uint64_t, const Status&) override {}
  void on_read_repair(PgId, const std::string&, const std::string&, const Status&) override {}

  RoleExecutor executor;
  io::SimDisk disk;
  std::unique_ptr<object_store::ObjectStore> store;
  std::unique_ptr<pg::OsdCore> core;
  std::unique_ptr<WireMessenger> messenger;
  std::uint32_t started = 0, activated = 0;
};

class Bench {
 public:
  Bench(std::uint32_t pg_num, std::uint64_t objects, std::uint64_t object_blocks)
      : pg_num_(pg_num), objects_(objects), object_blocks_(object_blocks) {
    const std::uint64_t data_bytes = objects * object_blocks * kBlockBytes;
    const std::uint64_t disk_bytes = std::uint64_t{data_bytes > 256 << 20 ? 4U : 1U} << 30;
    for (OsdId id = 0; id < kOsds; ++id) {
      osds_.push_back(std::make_unique<Osd>(world_, hosts_, id, disk_bytes));
    }
    client_messenger_.attach_to(client_);
    start_pgs();
    client_.set_map(client_map());
  }

  // Whole objects, so that every write of run() is an overwrite.
  void fill() {
    for (std::uint64_t i = 0; i < objects_; ++i) {
      write(i, 0, Buffer::zeroed(object_blocks_ * kBlockBytes));
      until([this] { return under_way_ == 0; });
    }
    for (const auto& osd : osds_) {
      bool is_done = false;
      osd->store->checkpoint([&is_done](const Status& status) {
        check(status);
        is_done = true;
      });
      until([&is_done] { return is_done; });
    }
  }

  void run(std::uint64_t writes) {
    left_ = writes;
    for (unsigned i = 0; i < kDepth; ++i) next();
    until([this] { return left_ == 0 && under_way_ == 0; });
  }

 private:
  // Made after the objecter that it serves, which wants its executor before.
  struct ClientMessenger {
    explicit ClientMessenger(Bench& bench) : bench_(bench) {}
    void attach_to(objecter::Objecter& client) {
      messenger =
          std::make_unique<WireMessenger>(bench_.client_executor_, client, bench_.hosts_, "client",
                                          net::Entity{net::EntityKind::client, kClient, kClient});
      client.attach(*messenger);
    }
    Bench& bench_;
    std::unique_ptr<WireMessenger> messenger;
  };

  void until(UniqueFunction<bool()> condition) {
    if (world_.run_until(std::move(condition), 600'000'000'000)) return;
    check(Status(ErrorCode::timed_out, "the cluster stands still"));
  }

  void start_pgs() {
    const std::vector<OsdId> acting{0, 1, 2};
    for (const auto& osd : osds_) {
      const OsdId own = static_cast<OsdId>(&osd - osds_.data());
      for (std::uint32_t seed = 0; seed < pg_num_; ++seed) {
        const pg::Role role = own == 0 ? pg::Role::primary : pg::Role::replica;
        osd->core->set_pg_num({kPool, seed}, pg_num_);
        osd->core->start_interval({kPool, seed}, {kEpoch, acting, 2, role, pg_num_});
      }
      std::vector<pg::Peer> peers;
      for (OsdId id = 0; id < kOsds; ++id) {
        if (id != own) peers.push_back({id, {host_of(id), 6800}, 1});
      }
      osd->core->set_peers(peers);
      osd->core->set_map_epoch(kEpoch);
    }
    for (const auto& osd : osds_) until([&] { return osd->started == pg_num_; });
    for (std::size_t i = osds_.size(); i-- > 0;) {
      for (std::uint32_t seed = 0; seed < pg_num_; ++seed) {
        pg::Activation activation;
        activation.interval = kEpoch;
        osds_[i]->core->activate({kPool, seed}, std::move(activation));
      }
      until([&] { return osds_[i]->activated == pg_num_; });
    }
    for (std::uint32_t seed = 0; seed < pg_num_; ++seed) {
      osds_.front()->core->go_active({kPool, seed}, kEpoch);
    }
  }

  objecter::ClientMap client_map() const {
    objecter::ClientMap map;
    map.epoch = kEpoch;
    objecter::ClientMap::Pool& pool = map.pools[kPool];
    pool.pg_num = pg_num_;
    pool.size = kOsds;
    for (std::uint32_t seed = 0; seed < pg_num_; ++seed) {
      for (OsdId id = 0; id < kOsds; ++id) pool.acting.push_back(id);
    }
    for (OsdId id = 0; id < kOsds; ++id) map.osds[id] = {{host_of(id), 6800}, 1};
    return map;
  }

  void write(std::uint64_t object, std::uint64_t offset, Buffer data) {
    char name[64];
    std::snprintf(name, sizeof name, "rbd_data.0123456789ab.%016llx",
                  static_cast<unsigned long long>(object));
    ++under_way_;
    net::Step step{net::StepCode::write, offset, data.size(), {}, {}};
    client_.submit(kPool, name, {std::move(step)}, std::move(data),
                   [this](const Status& status, const net::OpReply&, const Buffer&) {
                     check(status);
                     --under_way_;
                     next();
                   });
  }

  void next() {
    if (left_ == 0) return;
    --left_;
    Buffer data = Buffer::allocate(kBlockBytes);
    for (std::size_t at = 0; at < kBlockBytes; at += sizeof(std::uint64_t)) {
      store_le(data.data() + at, left_ + at);
    }
    write(random_.below(objects_), random_.below(object_blocks_) * kBlockBytes, std::move(data));
  }

  const std::uint32_t pg_num_;
  const std::uint64_t objects_;
  const std::uint64_t object_blocks_;
  io::SimExecutor world_;
  WireMessenger::Hosts hosts_;
  std::vector<std::unique_ptr<Osd>> osds_;
  RoleExecutor client_executor_{world_, in_client};
  objecter::Objecter client_{client_executor_, kClient, [](Epoch) {}};
  ClientMessenger client_messenger_{*this};
  io::Random random_{1};
  std::uint64_t left_ = 0;
  std::uint64_t under_way_ = 0;
};

double cpu_us() {
  timespec spent{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) * 1e6 + static_cast<double>(spent.tv_nsec) / 1e3;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t writes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20'000;
  const auto pgs = static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 32);
  const std::uint64_t objects = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 64;
  const std::uint64_t object_blocks = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 256;
  if (writes == 0 || pgs == 0 || objects == 0 || object_blocks == 0 || object_blocks > 1024 ||
      objects * object_blocks > (std::uint64_t{2} << 30) / kBlockBytes) {
    std::fprintf(stderr,
                 "bench_pg_write [WRITES [PGS [OBJECTS [BLOCKS_OF_EACH]]]]: 1 to 1024 "
                 "blocks each, at most 2 GiB\n");
    return 2;
  }
  Bench bench(pgs, objects, object_blocks);
  bench.fill();
  // The logs of the PGs have their length, and every table its size.
  bench.run(writes);
  is_measured = true;
  const double before_us = cpu_us();
  bench.run(writes);
  std::printf("%.2f us of CPU per write in client, primary and two replicas together\n",
              (cpu_us() - before_us) / static_cast<double>(writes));
  return 0;
}
