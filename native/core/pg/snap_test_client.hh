// For the tests of snapshots on SimOsds: a client with a snap context, and what the copies hold.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pg/sim_osds.hh"

namespace cairn::pg {

struct SnapAnswer {
  Status status;
  net::OpReply reply;
  Buffer data;
};

struct SnapTestClient {
  explicit SnapTestClient(SimOsds& sim_osds) : cluster(sim_osds) {}

  // The image has one more snapshot: its id.
  std::uint64_t take_snapshot() {
    ++context.seq;
    context.snaps.insert(context.snaps.begin(), context.seq);
    return context.seq;
  }
  // Sent, not waited for; snap: of reads.
  std::shared_ptr<SnapAnswer> send(const std::string& object, std::vector<net::Step> steps,
                                   Buffer data = {}, std::uint64_t snap = kHead) {
    auto answer = std::make_shared<SnapAnswer>(
        SnapAnswer{Status(ErrorCode::timed_out, "not answered"), {}, {}});
    objecter::Target target{kTestPg.pool, object};
    target.snap = snap;
    target.context = context;
    cluster.client->submit(std::move(target), std::move(steps), std::move(data),
                           [answer](Status status, net::OpReply reply, Buffer bytes) {
                             *answer = {std::move(status), std::move(reply), std::move(bytes)};
                           });
    return answer;
  }
  SnapAnswer run(const std::string& object, std::vector<net::Step> steps, Buffer data = {},
                 std::uint64_t snap = kHead) {
    const auto answer = send(object, std::move(steps), std::move(data), snap);
    wait(answer);
    return std::move(*answer);
  }
  void wait(const std::shared_ptr<SnapAnswer>& answer) {
    cluster.run_until([&answer] { return answer->status.code() != ErrorCode::timed_out; });
  }
  void write(const std::string& object, std::uint64_t block, int value, std::uint64_t count = 1) {
    Buffer data = Buffer::allocate(count * kBlockBytes);
    for (std::uint64_t i = 0; i < data.size(); ++i) data.data()[i] = static_cast<std::byte>(value);
    const net::Step step{net::StepCode::write, block * kBlockBytes, data.size(), {}, {}};
    CHECK(run(object, {step}, data).status.to_string() == "ok");
  }
  void change(const std::string& object, net::Step step) {
    CHECK(run(object, {std::move(step)}).status.to_string() == "ok");
  }
  // The first byte of a block at a snapshot; -1: the object does not exist there.
  int value(const std::string& object, std::uint64_t block, std::uint64_t snap = kHead) {
    const net::Step step{net::StepCode::read, block * kBlockBytes, kBlockBytes, {}, {}};
    const SnapAnswer answer = run(object, {step}, {}, snap);
    CHECK(answer.status.to_string() == "ok");
    REQUIRE(answer.data.size() == kBlockBytes);
    return answer.reply.exists ? static_cast<int>(*answer.data.data()) : -1;
  }

  SimOsds& cluster;
  net::SnapContext context;
};

// osd.0 leads the three.
struct SnapTestCluster : SimOsds {
  explicit SnapTestCluster(std::uint64_t seed, net::SimNetworkConfig config = {})
      : SimOsds(seed, config), image(*this) {
    new_interval({0, 1, 2});
  }
  SnapTestClient image;
};

// A range of blocks; a step that names a snapshot.
inline net::Step of_range(net::StepCode code, std::uint64_t block, std::uint64_t count) {
  return {code, block * kBlockBytes, count * kBlockBytes, {}, {}};
}
inline net::Step of_snap(net::StepCode code, std::uint64_t snap) { return {code, snap, 0, {}, {}}; }

// All layers of the test's PG as an OSD's store has them, without the numbers of physical blocks.
std::string layers_of(SimOsds& cluster, OsdId osd);
void check_same_copies(SimOsds& cluster);
// Bytes of data that the OSD's store keeps.
std::uint64_t used_bytes(SimOsds& cluster, OsdId osd);
std::uint64_t probe_hits(const std::string& probe);

}  // namespace cairn::pg
