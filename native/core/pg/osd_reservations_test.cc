// A flooded OSD keeps to the reservation of an image.
#include <doctest/doctest.h>

#include "pg/sim_osds.hh"

namespace cairn::pg {

namespace {

constexpr std::uint64_t kUnderWay = 16;
constexpr std::uint32_t kReserved = 500;

struct Flood {
  explicit Flood(std::uint32_t reserved_iops) : cluster(11) {
    cluster.new_interval({0});
    cluster.osds.at(0)->core->set_operations_under_way(kUnderWay);
    cluster.osds.at(0)->disk->set_latency(kMillisecond, kMillisecond);
    stream->iops = reserved_iops;
    stream->id = 1;
  }

  // Writes one block again and again, each time when the one before is answered.
  void keep_writing(int number, const std::shared_ptr<objecter::ReservedStream>& of,
                    std::uint64_t& done) {
    objecter::Target target{kTestPg.pool, "o" + std::to_string(number)};
    target.stream = of;
    const net::Step step{net::StepCode::write, 0, kBlockBytes, {}, {}};
    cluster.client->submit(target, {step}, block_of(number),
                           [this, number, of, &done](Status status, net::OpReply, Buffer) {
                             if (stopped) return;
                             CHECK(status.to_string() == "ok");
                             ++done;
                             keep_writing(number, of, done);
                           });
  }
  void run_seconds(std::uint64_t seconds) {
    const std::uint64_t end_ns = cluster.executor.now_ns() + seconds * kSecond;
    bool over = false;
    cluster.executor.run_after(seconds * kSecond, [&over] { over = true; });
    cluster.run_until([&over] { return over; });
    CHECK(cluster.executor.now_ns() >= end_ns);
  }
  // What the image gets in a second beside others that have 400 operations in flight.
  std::uint64_t image_iops() {
    for (int i = 0; i < 400; ++i) keep_writing(i, nullptr, others_done);
    for (int i = 400; i < 408; ++i) keep_writing(i, stream, image_done);
    run_seconds(1);
    const std::uint64_t before = image_done;
    const std::uint64_t others_before = others_done;
    run_seconds(2);
    others_iops = (others_done - others_before) / 2;
    const std::uint64_t iops = (image_done - before) / 2;
    stopped = true;
    cluster.client->cancel_all(Status(ErrorCode::canceled, "the test is over"));
    return iops;
  }

  SimOsds cluster;
  std::shared_ptr<objecter::ReservedStream> stream = std::make_shared<objecter::ReservedStream>();
  std::uint64_t image_done = 0, others_done = 0, others_iops = 0;
  bool stopped = false;
};

}  // namespace

TEST_CASE("reservations: a flooded OSD gives an image at least 90 % of what is reserved") {
  Flood flood(kReserved);
  const std::uint64_t iops = flood.image_iops();
  INFO("others: ", flood.others_iops);
  CHECK(iops >= kReserved * 9 / 10);
  // The flood is one: it gets much more, and what is reserved is not all that there is.
  CHECK(flood.others_iops > 4 * kReserved);
  CHECK(flood.cluster.osds.at(0)->core->reservation_counters().queued > 0);
}

TEST_CASE("reservations: without one the image would get its share, and nobody waits in a queue") {
  Flood flood(0);
  const std::uint64_t iops = flood.image_iops();
  CHECK(iops < flood.others_iops / 40);
  CHECK(flood.cluster.osds.at(0)->core->reservation_counters().queued == 0);
}

}  // namespace cairn::pg
