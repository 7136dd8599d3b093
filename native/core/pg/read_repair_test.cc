// Reads of a disk that gives nothing back, also not what has just been repaired: they are answered
// from the other members' copies.
#include <cstring>

#include "pg/scrub_cluster.hh"

namespace cairn::pg {

TEST_CASE("scrub: reads of a disk that gives nothing back are answered from the other copies") {
  for (const bool also_metadata : {false, true}) {
    INFO("metadata ", also_metadata);
    ScrubCluster cluster(59, 4);
    if (also_metadata) cluster.restart_all();  // nothing of it is in memory
    cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
    for (int round = 0; round < 3; ++round) {
      for (const std::uint32_t index : {0U, 5U, 79U}) cluster.check_read(cluster.name(1), index);
      cluster.settle();
    }
    cluster.osds[0]->disk->clear_faults();
    CHECK(cluster.deep().counts.errors == 0);
    cluster.check_copies(4);
  }
}

TEST_CASE(
    "scrub: under a dead disk reads and partial writes wait for each other, and all succeed") {
  const std::uint64_t fetched = hits_of("pg_read_from_other_copy");
  const std::uint64_t waited = hits_of("pg_read_from_other_copy_waits");
  const std::uint64_t refused = hits_of("fetch_source_failed");
  for (std::uint64_t seed = 80; seed < 84; ++seed) {
    INFO("seed ", seed);
    ScrubCluster cluster(seed, 2);
    const std::string object = cluster.name(0);
    cluster.damage(1, object, 77);  // so the first source that is asked is no good
    cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
    Buffer few = Buffer::allocate(512);
    std::memset(few.data(), 'x', few.size());
    int answered = 0;
    for (int i = 0; i < 40; ++i) {
      const std::uint64_t block = static_cast<std::uint64_t>(i % 10) * 7;
      const bool writes = i % 4 == 0;
      const Step step = writes ? Step{StepCode::write, block * kBlockBytes + 512, 512, {}, {}}
                               : Step{StepCode::read, block * kBlockBytes, 3 * kBlockBytes, {}, {}};
      cluster.submit(object, {step}, writes ? few : Buffer(),
                     [&](const Status& status, const net::OpReply&, const Buffer&) {
                       CHECK(status.to_string() == "ok");
                       ++answered;
                     });
    }
    cluster.run_until([&] { return answered == 40; });
    cluster.settle();
    for (const std::uint32_t index : {0U, 7U, 14U, 28U, 42U, 56U}) {
      Buffer data;
      REQUIRE(cluster.read(object, index, data) == "ok");
      std::byte wanted[kBlockBytes];
      fill_block(wanted, object, index, 0);
      if (index % 14 == 0) std::memset(wanted + 512, 'x', 512);
      CHECK(std::memcmp(data.data(), wanted, kBlockBytes) == 0);
    }
  }
  CHECK(hits_of("pg_read_from_other_copy") > fetched);
  CHECK(hits_of("pg_read_from_other_copy_waits") > waited);
  CHECK(hits_of("fetch_source_failed") > refused);
}

TEST_CASE("scrub: a read from another copy ends with its interval, and the resend is served") {
  const std::uint64_t ended = hits_of("fetch_ends_with_interval");
  for (std::uint64_t delay_ms = 1; delay_ms <= 10; ++delay_ms) {
    INFO("delay ", delay_ms);
    ScrubCluster cluster(85, 2);
    const std::string object = cluster.name(1);
    cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
    bool answered = false;
    Buffer read;
    cluster.submit(object, {{StepCode::read, 0, kBlockBytes, {}, {}}}, {},
                   [&](const Status& status, const net::OpReply&, const Buffer& data) {
                     CHECK(status.to_string() == "ok");
                     read = data;
                     answered = true;
                   });
    cluster.executor.run_for(delay_ms * kMillisecond);
    cluster.new_interval({1, 2, 0});
    cluster.run_until([&answered] { return answered; });
    std::byte wanted[kBlockBytes];
    fill_block(wanted, object, 0, 0);
    CHECK(std::memcmp(read.data(), wanted, kBlockBytes) == 0);
  }
  CHECK(hits_of("fetch_ends_with_interval") > ended);
}

}  // namespace cairn::pg
