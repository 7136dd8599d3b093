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
  void run_for(std::uint64_t duration_ns) {
    const std::uint64_t end_ns = cluster.executor.now_ns() + duration_ns;
    bool over = false;
    cluster.executor.run_after(duration_ns, [&over] { over = true; });
    cluster.run_until([&over] { return over; });
    CHECK(cluster.executor.now_ns() >= end_ns);
  }
  // What the image gets in a second beside others that have 400 operations in flight: measured for
  // two thirds of the duration, behind a time for it to become even.
  std::uint64_t image_iops(std::uint64_t duration_ns) {
    for (int i = 0; i < 400; ++i) keep_writing(i, nullptr, others_done);
    for (int i = 400; i < 408; ++i) keep_writing(i, stream, image_done);
    run_for(duration_ns / 3);
    const std::uint64_t before = image_done;
    const std::uint64_t others_before = others_done;
    const std::uint64_t measured_ns = duration_ns - duration_ns / 3;
    run_for(measured_ns);
    others_iops = (others_done - others_before) * kSecond / measured_ns;
    const std::uint64_t iops = (image_done - before) * kSecond / measured_ns;
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
  const std::uint64_t iops = flood.image_iops(3 * kSecond);
  INFO("others: ", flood.others_iops);
  CHECK(iops >= kReserved * 9 / 10);
  // The flood is one: it gets much more, and what is reserved is not all that there is.
  CHECK(flood.others_iops > 4 * kReserved);
  CHECK(flood.cluster.osds.at(0)->core->reservation_counters().queued > 0);
}

TEST_CASE("reservations: without one the image would get its share, and nobody waits in a queue") {
  Flood flood(0);
  // Without a limit there are so many operations in a second that a part of it is enough.
  const std::uint64_t iops = flood.image_iops(150 * kMillisecond);
  INFO("others: ", flood.others_iops, ", image: ", iops);
  CHECK(iops < flood.others_iops / 40);
  CHECK(flood.cluster.osds.at(0)->core->reservation_counters().queued == 0);
}

}  // namespace cairn::pg
