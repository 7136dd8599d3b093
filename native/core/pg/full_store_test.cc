// Full stores under the PG layer: growth is refused before it is logged, and nothing ends an OSD.
#include <cstring>

#include "pg/sim_osds.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
constexpr int kMostWrites = 200;

Status write_mib(SimOsds& cluster, const std::string& object) {
  Buffer data = Buffer::allocate(kMib);
  std::memset(data.data(), 5, data.size());
  Status status;
  cluster.operate(object, {{StepCode::write, 0, kMib, {}, {}}}, data, &status);
  return status;
}

// Fills the store, its reserve too, until it refuses 16 blocks.
void fill_whole(SimOsds& cluster, object_store::ObjectStore& store) {
  const PgId elsewhere{2, 0};
  Status status;
  for (std::uint64_t number = 1; status; ++number) {
    object_store::Transaction transaction;
    transaction.write(elsewhere, {2, "filler" + std::to_string(number), kHead}, 0,
                      Buffer::zeroed(kBlockBytes * 16), {1, number});
    transaction.allow_reserve();
    bool is_done = false;
    store.submit(std::move(transaction), [&](Status outcome) {
      status = std::move(outcome);
      is_done = true;
    });
    cluster.run_until([&] { return is_done; });
  }
  CHECK(status.code() == ErrorCode::no_space);
}

Status remove(SimOsds& cluster, const std::string& object) {
  Status status;
  cluster.operate(object, {{StepCode::remove, 0, 0, {}, {}}}, {}, &status);
  return status;
}

}  // namespace

TEST_CASE("pg: a full OSD refuses growth before it is logged, takes removals, and goes on") {
  SimOsds cluster(81);
  cluster.new_interval({0, 1, 2});
  int written = 0;
  Status status;
  for (; written < kMostWrites; ++written) {
    status = write_mib(cluster, "o" + std::to_string(written));
    if (!status) break;
  }
  CHECK(status.code() == ErrorCode::no_space);
  CHECK(status.message().find("osd.0") != std::string::npos);
  CHECK(written > 40);
  const std::string refused = "o" + std::to_string(written);
  for (const OsdId osd : {0, 1, 2}) CHECK(!cluster.digest(osd, refused).starts_with("exists"));
  Status punched;
  cluster.operate("o0", {{StepCode::punch, 0, kMib, {}, {}}}, {}, &punched);
  CHECK(punched.is_ok());
  CHECK(remove(cluster, "o1").is_ok());
  // What was freed is there again with the next checkpoint, for which the write waits.
  const Status again = write_mib(cluster, "again");
  CHECK_MESSAGE(again.is_ok(), again.to_string());
  for (const OsdId osd : {0, 1, 2}) {
    CHECK(!cluster.osds[osd]->store->failed());
    CHECK(cluster.digest(osd, "again") == cluster.digest(0, "again"));
  }
}

TEST_CASE("pg: a replica that is fuller than the primary takes what is logged from its reserve") {
  SimOsds cluster(82);
  cluster.new_interval({0, 1, 2});
  object_store::ObjectStore& replica = *cluster.osds[1]->store;
  const PgId elsewhere{2, 0};
  for (std::uint64_t number = 1;; ++number) {
    object_store::Transaction transaction;
    transaction.write(elsewhere, {2, "filler" + std::to_string(number), kHead}, 0,
                      Buffer::zeroed(kMib), {1, number});
    bool is_done = false;
    Status status;
    replica.submit(std::move(transaction), [&](Status outcome) {
      status = std::move(outcome);
      is_done = true;
    });
    cluster.run_until([&] { return is_done; });
    if (!status) break;
  }
  CHECK(replica.room_for(kMib, 0).code() == ErrorCode::no_space);
  for (const std::string object : {"a", "b"}) {
    const Status status = write_mib(cluster, object);
    CHECK_MESSAGE(status.is_ok(), status.to_string());
    CHECK(cluster.digest(1, object) == cluster.digest(0, object));
  }
  CHECK(!replica.failed());
}

TEST_CASE("pg: a replica acknowledges neither an entry that its store refused nor a later one") {
  SimOsds cluster(83);
  cluster.new_interval({0, 1, 2});
  CHECK(write_mib(cluster, "before").is_ok());
  SimOsd& replica = *cluster.osds[1];
  fill_whole(cluster, *replica.store);
  replica.expects_store_failure = true;
  const std::uint64_t repeated = hits_of("pg_replicate_repeated");
  Buffer data = Buffer::zeroed(kMib);
  const auto refused =
      watch(*cluster.client, "refused", {{StepCode::write, 0, kMib, {}, {}}}, std::move(data));
  cluster.run_until([&] { return !replica.store_failure.empty(); });
  CHECK(replica.store_failure.find("no_space") != std::string::npos);
  // A removal has room also now; but it would leave a gap in the log of the store.
  const auto later = watch(*cluster.client, "before", {{StepCode::remove, 0, 0, {}, {}}});
  cluster.executor.run_for(kSecond);
  cluster.network->reset_streams("osd0", "osd1");
  cluster.executor.run_for(kSecond);
  CHECK(hits_of("pg_replicate_repeated") > repeated);
  CHECK(!refused->answered);
  CHECK(!later->answered);
  // The other replica has both, and the refused one is missing where it was refused.
  CHECK(cluster.digest(2, "refused").starts_with("exists"));
  CHECK(!cluster.digest(2, "before").starts_with("exists"));
  CHECK(!cluster.digest(1, "refused").starts_with("exists"));
  CHECK(cluster.digest(1, "before").starts_with("exists"));
}

}  // namespace cairn::pg
