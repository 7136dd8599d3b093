// Fuzzes what a placement group reads of itself at the start of an OSD: its info, the names of its
// missing objects and its log entries. The input is a list of items: u8 kind (0 info, 1 missing,
// 2 log entry of the next number, 3 log entry of a number in front), u16 length, bytes.
// Beside the sanitizers it checks: a PG that loads has a log without gaps that ends where its info
// says, and reports it in its next interval.
#include <cstdint>
#include <memory>
#include <string>

#include "base/assert.hh"
#include "io/sim_disk.hh"
#include "io/sim_executor.hh"
#include "pg/pg.hh"

namespace {

using namespace cairn;
using namespace cairn::pg;

// A PG holds on to its store from the start; loading and an interval's start leave it alone, so one
// serves all inputs.
struct EmptyStore {
  io::SimExecutor executor{{1, true, 1'000'000'000}};
  io::SimDisk disk{executor, io::SimDiskImage(std::uint64_t{96} << 20)};
  std::unique_ptr<object_store::ObjectStore> store;

  EmptyStore() {
    const object_store::Identity identity{{1}, 0, {1}};
    object_store::Geometry geometry;
    geometry.wal_bytes = std::uint64_t{4} << 20;
    geometry.kv_bytes = std::uint64_t{16} << 20;
    CAIRN_ASSERT(object_store::ObjectStore::format(disk, identity, geometry).is_ok());
    object_store::Options options;
    options.threaded_kv = false;
    auto opened = object_store::ObjectStore::open(executor, disk, identity, std::move(options));
    CAIRN_ASSERT(opened.is_ok());
    store = std::move(*opened);
  }
};

// The PG's host while it only loads and starts an interval: nothing else may be asked.
class LoadingHost final : public PgHost {
 public:
  object_store::ObjectStore& store() override {
    // Never destroyed: its buffers may outlive the pool that they go back to at the end.
    static EmptyStore* const empty = new EmptyStore;
    return *empty->store;
  }
  io::Executor& executor() override { return executor_; }
  OsdId self() const override { return 0; }
  Epoch map_epoch() const override { return 1; }
  bool full() const override { return false; }
  const RemovedSnaps& removed_snaps(PoolId) const override { return removed_snaps_; }
  bool blocklisted(ClientId) const override { return false; }
  void request_lease(const Pg&) override { CAIRN_ASSERT(!"reads nothing"); }
  ScrubEvents& scrub_events() override { return scrub_events_; }
  bool take_scrub_place(PgId) override { return false; }
  void leave_scrub_place(PgId) override {}
  void snap_trim_done(PgId, Epoch, std::uint64_t, const Status&) override {
    CAIRN_ASSERT(!"trims nothing");
  }
  void send_to_osd(OsdId, net::Frame) override { CAIRN_ASSERT(!"sends nothing"); }
  void send_on(net::ConnectionId, net::Frame) override { CAIRN_ASSERT(!"sends nothing"); }
  void interval_started(PgId, Epoch, const PgInfo& info) override { reported = info; }
  void activated(PgId, Epoch, const Status&) override { CAIRN_ASSERT(!"not activated"); }
  void store_refused(PgId, const Status&) override {}
  void recovery_progress(PgId, Epoch, std::uint64_t) override {}
  void recovery_failed(PgId, Epoch, const std::string&, const Status&) override {}

  io::SimExecutor executor_;
  ScrubEvents scrub_events_;
  RemovedSnaps removed_snaps_;
  std::optional<PgInfo> reported;
};

object_store::PgSnapshot snapshot_of(ByteSpan input) {
  object_store::PgSnapshot snapshot;
  snapshot.pg = PgId{1, 2};
  Reader reader(input);
  std::uint64_t number = 0;
  while (reader.remaining() > 0) {
    const std::uint8_t kind = reader.get<std::uint8_t>() % 4;
    const std::size_t wanted = reader.get<std::uint16_t>();
    const ByteSpan bytes = reader.raw(std::min(wanted, reader.remaining()));
    const std::string text(as_text(bytes));
    switch (kind) {
      case 0:
        snapshot.meta.emplace_back("info", text);
        break;
      case 1:
        snapshot.meta.emplace_back("missing/" + text, "");
        break;
      default: {
        // The number of the first entry is the one that it was encoded with.
        net::LogEntry entry;
        Reader entry_reader(bytes);
        if (snapshot.log.empty() && net::decode(entry_reader, entry).is_ok())
          number = entry.version.number;
        if (kind == 3) number += 2;
        snapshot.log.push_back({number++, std::vector<std::byte>(bytes.begin(), bytes.end())});
      }
    }
  }
  return snapshot;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const object_store::PgSnapshot snapshot = snapshot_of(std::as_bytes(std::span(bytes, size)));
  LoadingHost host;
  Pg pg(host, snapshot.pg);
  if (const Status status = pg.load(snapshot); !status) {
    CAIRN_ASSERT(status.code() == ErrorCode::corrupt || status.code() == ErrorCode::protocol_error);
    return 0;
  }
  const PgInfo info = pg.info();
  CAIRN_ASSERT(pg.log().size() == snapshot.log.size());
  if (!snapshot.log.empty()) {
    CAIRN_ASSERT(info.last_update.number == snapshot.log.back().number);
    CAIRN_ASSERT(info.log_tail < info.last_update.number);
    for (const object_store::LogEntryBytes& entry : snapshot.log)
      CAIRN_ASSERT(pg.log().at(entry.number).version.number == entry.number);
  }
  pg.start_interval({.interval = 5, .acting = {0}, .min_size = 1, .role = Role::primary});
  host.executor_.run_until([&] { return host.reported.has_value(); }, 1'000'000'000);
  CAIRN_ASSERT(host.reported && host.reported->last_update == info.last_update);
  return 0;
}
