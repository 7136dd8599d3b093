// Traced requests of an image on simulated OSDs: what the stages say is what happened.
#include <doctest/doctest.h>

#include <numeric>

#include "image/clone_test.hh"
#include "image/metered_device.hh"

namespace cairn::image {

namespace {

using objecter::TraceCollector;
using objecter::TracedKind;
using objecter::TraceStage;

constexpr std::uint64_t kImageBytes = std::uint64_t{16} << 20;

ImageLayout layout_of(bool locked) {
  ImageLayout layout;
  layout.pool = pg::kTestPg.pool;
  layout.object_prefix = "rbd_data.1";
  layout.size_bytes = kImageBytes;
  layout.object_bytes = std::uint64_t{1} << 20;
  layout.locked = locked;
  return layout;
}

struct TraceRig : CloneRig {
  explicit TraceRig(net::SimNetworkConfig network = {}, bool locked = false)
      : CloneRig(7, network),
        image(std::make_shared<Image>(cluster.executor, *cluster.client, layout_of(locked))),
        device(cluster.executor, image, cluster.client->tracing()) {}

  Status write(std::uint64_t offset, std::uint64_t length) {
    return finish(
        [&](WriteDone done) { device.write(offset, Buffer::zeroed(length), std::move(done)); });
  }
  std::shared_ptr<TraceCollector> trace(std::uint32_t every = 1) {
    auto collector = std::make_shared<TraceCollector>(every);
    device.trace(collector);
    return collector;
  }

  std::shared_ptr<Image> image;
  MeteredDevice device;
};

std::uint64_t sum_of(const TraceCollector::Figures& direction, TraceStage stage) {
  return direction.stages[static_cast<std::size_t>(stage)].sum_ns();
}

std::uint64_t sum_of_stages(const TraceCollector::Figures& direction) {
  return std::accumulate(direction.stages.begin(), direction.stages.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Histogram& h) { return sum + h.sum_ns(); });
}

}  // namespace

TEST_CASE("trace: stages of reads and writes add up to their times") {
  TraceRig rig;
  const auto collector = rig.trace();
  Buffer data;
  for (std::uint64_t i = 0; i < 20; ++i) {
    CHECK(rig.write(i * 4096, 4096).is_ok());
    CHECK(rig.read(rig.device, i * 4096, 4096, data).is_ok());
  }
  CHECK(rig.write(512, 100).is_ok());  // a read at the primary before the commit
  // Over two objects: two operations side by side.
  CHECK(rig.write((std::uint64_t{1} << 20) - 4096, 8192).is_ok());
  const TraceCollector::Figures& writes = collector->of(TracedKind::write);
  const TraceCollector::Figures& reads = collector->of(TracedKind::read);
  CHECK(writes.total.count() == 22);
  CHECK(reads.total.count() == 20);
  CHECK(sum_of_stages(writes) == writes.total.sum_ns());
  CHECK(sum_of_stages(reads) == reads.total.sum_ns());
  // One way over the simulated network takes at least 20 us, a flush of the disk as long.
  CHECK(sum_of(writes, TraceStage::network) >= 22 * 40'000);
  CHECK(sum_of(writes, TraceStage::disk) >= 22 * 20'000);
  CHECK(writes.replica.count() == 22);
  CHECK(writes.replica.sum_ns() >= writes.replica_commit.sum_ns() + 22 * 40'000);
  CHECK(writes.replica_commit.sum_ns() >= 22 * 20'000);
  CHECK(sum_of(reads, TraceStage::replicas) == 0);
  CHECK(reads.replica.count() == 0);
}

TEST_CASE("trace: discards and flushes have figures of their own") {
  TraceRig rig;
  CHECK(rig.write(0, 65536).is_ok());
  const auto collector = rig.trace();
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto discard = [&](WriteDone done) {
      rig.device.discard(i * 4096, 4096, std::move(done));
    };
    CHECK(rig.finish(discard).is_ok());
  }
  CHECK(rig.finish([&](WriteDone done) { rig.device.flush(std::move(done)); }).is_ok());
  const TraceCollector::Figures& discards = collector->of(TracedKind::discard);
  CHECK(discards.total.count() == 4);
  CHECK(sum_of_stages(discards) == discards.total.sum_ns());
  CHECK(sum_of(discards, TraceStage::network) >= 4 * 40'000);
  CHECK(sum_of(discards, TraceStage::disk) >= 4 * 20'000);
  CHECK(collector->of(TracedKind::flush).total.count() == 1);
  CHECK(collector->of(TracedKind::write).total.count() == 0);
}

TEST_CASE("trace: a slow disk of a replica shows as such") {
  TraceRig rig;
  CHECK(rig.write(0, 4096).is_ok());
  rig.cluster.osds.at(2)->disk->set_latency(30'000'000, 30'000'000);
  const auto collector = rig.trace();
  for (int i = 0; i < 5; ++i) CHECK(rig.write(0, 4096).is_ok());
  const TraceCollector::Figures& writes = collector->of(TracedKind::write);
  CHECK(sum_of(writes, TraceStage::replicas) >= 5 * 25'000'000);
  CHECK(writes.replica_commit.sum_ns() >= 5 * 30'000'000);
  CHECK(sum_of(writes, TraceStage::replicas) > writes.total.sum_ns() * 9 / 10);
}

TEST_CASE("trace: waiting for the gate and for limits is time in the queue") {
  TraceRig rig({}, true);
  const auto collector = rig.trace();
  rig.cluster.executor.run_after(50'000'000, [&rig] { rig.image->gate().open({"1", 1}); });
  CHECK(rig.write(0, 4096).is_ok());
  CHECK(sum_of(collector->of(TracedKind::write), TraceStage::queue) == 50'000'000);
  QosLimits limits;
  limits.iops = {10, 1};
  rig.device.set_limits(limits);
  for (int i = 0; i < 3; ++i) CHECK(rig.write(0, 4096).is_ok());
  CHECK(sum_of(collector->of(TracedKind::write), TraceStage::queue) > 50'000'000 + 150'000'000);
  CHECK(sum_of_stages(collector->of(TracedKind::write)) ==
        collector->of(TracedKind::write).total.sum_ns());
}

TEST_CASE("trace: one of several is sampled, none after the end, and the bit is off then") {
  TraceRig rig;
  const auto collector = rig.trace(4);
  for (int i = 0; i < 8; ++i) CHECK(rig.write(0, 4096).is_ok());
  CHECK(collector->of(TracedKind::write).total.count() == 2);
  rig.device.end_trace(collector);
  for (int i = 0; i < 8; ++i) CHECK(rig.write(0, 4096).is_ok());
  CHECK(collector->of(TracedKind::write).total.count() == 2);
  CHECK(rig.cluster.client->tracing()->current() == nullptr);
}

}  // namespace cairn::image
