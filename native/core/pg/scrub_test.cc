// Scrub, repair and read repair over simulated OSDs in virtual time: damage is done to disks and
// stores beneath the PGs, and what is found has to be exactly that.
#include <cstring>
#include <tuple>

#include "../../test/budget.hh"
#include "io/random.hh"
#include "pg/scrub_cluster.hh"

namespace cairn::pg {

namespace {

ObjectId id_of(const std::string& object) { return {kTestPg.pool, object, kHead}; }

}  // namespace

TEST_CASE("scrub: a deep scrub finds every flipped block and nothing else; repair mends them") {
  ScrubCluster cluster(50);
  CHECK(cluster.deep().counts.errors == 0);
  cluster.damage(0, cluster.name(1), 3);
  cluster.damage(1, cluster.name(2), 0);
  cluster.damage(1, cluster.name(2), 70);
  cluster.damage(2, cluster.name(19), 79);
  const ScrubLog light = cluster.light();
  CHECK(light.outcome == "ok");
  CHECK(light.counts.objects == 20);
  CHECK(light.counts.errors == 0);

  const ScrubLog found = cluster.deep();
  CHECK(found.outcome == "ok");
  CHECK(found.counts.objects == 20);
  CHECK(found.counts.bytes == 20 * kObjectBlocks * kBlockBytes);
  CHECK(found.counts.errors == 4);
  CHECK(found.counts.repaired == 0);
  REQUIRE(found.verdicts.size() == 3);
  CHECK(found.verdicts[1].object == cluster.name(2));
  REQUIRE(found.verdicts[1].bad.size() == 1);
  CHECK(found.verdicts[1].bad[0].osd == 1);
  CHECK(found.verdicts[1].bad[0].problem == CopyProblem::none);
  CHECK(found.verdicts[1].bad[0].bad_blocks == std::vector<std::uint32_t>{0, 70});
  CHECK(found.verdicts[1].good == std::vector<OsdId>{0, 2});

  const ScrubLog mended = cluster.repair();
  CHECK(mended.counts.errors == 4);
  CHECK(mended.counts.repaired == 4);
  CHECK(cluster.clean());
  const ScrubLog after = cluster.deep();
  CHECK(after.counts.errors == 0);
  CHECK(after.counts.objects == 20);
  cluster.check_copies(20);
  for (OsdId osd = 0; osd < 3; ++osd)
    CHECK(cluster.osds[osd]->core->find_pg(kTestPg)->missing().empty());
  CHECK(cluster.osds[1]->core->find_pg(kTestPg)->scrub_record() == "record");
}

TEST_CASE("scrub: a light scrub sees missing, extra and different copies, on any member") {
  for (const OsdId victim : {0, 1}) {
    INFO("victim ", victim);
    ScrubCluster cluster(51);
    cluster.operate("gone", {{StepCode::touch, 0, 0, {}, {}}}, {});
    cluster.operate("gone", {{StepCode::remove, 0, 0, {}, {}}}, {});
    object_store::Transaction transaction;
    transaction.remove(kTestPg, id_of(cluster.name(4)));
    transaction.write(kTestPg, id_of("gone"), 0, content_of("gone", 0, 1, 0), {1, 5});
    transaction.omap_set(kTestPg, id_of(cluster.name(7)), "key", "wrong", {1, 10});
    transaction.write(kTestPg, id_of(cluster.name(9)), 0, content_of("other", 0, 1, 0), {1, 12});
    cluster.edit(victim, std::move(transaction));

    const ScrubLog found = cluster.light();
    CHECK(found.outcome == "ok");
    CHECK(found.counts.errors == 4);
    REQUIRE(found.verdicts.size() == 4);
    std::map<std::string, CopyProblem> problems;
    for (const ObjectVerdict& verdict : found.verdicts) {
      REQUIRE(verdict.bad.size() == 1);
      CHECK(verdict.bad[0].osd == victim);
      problems[verdict.object] = verdict.bad[0].problem;
    }
    CHECK(problems["gone"] == CopyProblem::extra);
    CHECK(problems[cluster.name(4)] == CopyProblem::missing);
    CHECK(problems[cluster.name(7)] == CopyProblem::differs);
    CHECK(problems[cluster.name(9)] == CopyProblem::differs);

    const ScrubLog mended = cluster.scrub({.id = 4, .repair = true});
    CHECK(mended.counts.repaired == 4);
    CHECK(cluster.deep().counts.errors == 0);
    cluster.check_copies(20);
    CHECK(cluster.digest(victim, "gone") == "absent ");
    cluster.check_read(cluster.name(9), 0);
  }
}

TEST_CASE("scrub: under writes nothing is called bad that is not, and every flip is found") {
  std::uint64_t injected = 0, detected = 0, repaired = 0, objects = 0, rounds = 0;
  const std::uint64_t seeds = test::budgeted<std::uint64_t>(6, 2);
  for (std::uint64_t seed = 60; seed < 60 + seeds; ++seed) {
    INFO("seed ", seed);
    ScrubCluster cluster(seed, 24);
    io::Random random(seed);
    std::uint64_t writes = 0, answered = 0;
    bool writing = true;
    UniqueFunction<void()> write_more = [&] {
      if (!writing) return;
      // Odd objects are written to, even ones are damaged: a write over a flip would mend it.
      const std::string object = cluster.name(static_cast<int>(random.below(12)) * 2 + 1);
      const auto first = static_cast<std::uint32_t>(random.below(kObjectBlocks));
      ++writes;
      cluster.submit(object, {write_step(first, 1)},
                     content_of(object, first, 1, static_cast<int>(writes)),
                     [&](const Status& status, const net::OpReply&, const Buffer&) {
                       CHECK(status.to_string() == "ok");
                       ++answered;
                       write_more();
                     });
    };
    for (int i = 0; i < 8; ++i) write_more();
    for (int round = 0; round < 4; ++round) {
      std::set<std::tuple<OsdId, int, std::uint32_t>> flips;
      while (flips.size() < 3) {
        const int object = static_cast<int>(random.below(12)) * 2;
        // One member for each object: so there is always a good copy.
        flips.emplace((object / 2 + round) % 3, object,
                      static_cast<std::uint32_t>(random.below(kObjectBlocks)));
      }
      for (const auto& [osd, object, index] : flips)
        cluster.damage(osd, cluster.name(object), index);
      injected += flips.size();
      const ScrubLog found = cluster.deep();
      CHECK(found.outcome == "ok");
      CHECK(found.counts.errors == flips.size());
      detected += found.counts.errors;
      const ScrubLog mended = cluster.repair();
      CHECK(mended.counts.repaired == flips.size());
      repaired += mended.counts.repaired;
      objects += found.counts.objects + mended.counts.objects;
      ++rounds;
      cluster.settle();
    }
    CHECK(writes > 100);
    writing = false;
    cluster.run_until([&] { return answered == writes; });
    CHECK(cluster.deep().counts.errors == 0);
    cluster.check_copies(24);
  }
  CHECK(detected == injected);
  CHECK(repaired == injected);
  MESSAGE("scrub rounds ", rounds, ", objects ", objects, ": injected ", injected, ", detected ",
          detected, ", repaired ", repaired, ", false positives ", detected - injected);
}

TEST_CASE("scrub: a read that meets a bad block is answered from another copy, which is kept") {
  ScrubCluster cluster(52, 4);
  const std::string object = cluster.name(1);
  cluster.damage(0, object, 5);
  cluster.damage(1, object, 60);  // the first source is no good either
  cluster.check_read(object, 5);
  CHECK(cluster.osds[0]->scrubs.read_repairs == std::vector<std::string>{object + ": ok"});
  CHECK(cluster.osds[0]->core->counters().read_repairs == 1);
  const std::uint64_t errors = cluster.osds[0]->store->counters().checksum_errors;
  cluster.check_read(object, 5);
  CHECK(cluster.osds[0]->store->counters().checksum_errors == errors);
  const ScrubLog found = cluster.deep();
  CHECK(found.counts.errors == 1);  // of osd.1: nobody has read that

  // The read that a partial write begins with.
  cluster.damage(0, cluster.name(2), 8);
  Buffer few = Buffer::allocate(512);
  std::memset(few.data(), 'x', few.size());
  cluster.operate(cluster.name(2), {{StepCode::write, 8 * kBlockBytes + 512, 512, {}, {}}}, few);
  Buffer data;
  REQUIRE(cluster.read(cluster.name(2), 8, data) == "ok");
  std::byte wanted[kBlockBytes];
  fill_block(wanted, cluster.name(2), 8, 0);
  std::memset(wanted + 512, 'x', 512);
  CHECK(std::memcmp(data.data(), wanted, kBlockBytes) == 0);
  CHECK(cluster.osds[0]->core->counters().read_repairs == 2);
}

TEST_CASE("scrub: reads and writes that meet a repair wait for it and are all answered") {
  for (std::uint64_t seed = 70; seed < 74; ++seed) {
    INFO("seed ", seed);
    ScrubCluster cluster(seed, 2);
    const std::string object = cluster.name(0);
    for (const std::uint32_t index : {2U, 30U, 50U}) cluster.damage(0, object, index);
    int answered = 0;
    for (int i = 0; i < 30; ++i) {
      const auto index = static_cast<std::uint32_t>(i % 10) * 5;
      if (i % 3 == 0) {
        cluster.submit(object, {write_step(index, 1)}, content_of(object, index, 1, 1),
                       [&](const Status& status, const net::OpReply&, const Buffer&) {
                         CHECK(status.to_string() == "ok");
                         ++answered;
                       });
      } else {
        cluster.submit(object, {{StepCode::read, 2 * kBlockBytes, kBlockBytes * 49, {}, {}}}, {},
                       [&](const Status& status, const net::OpReply&, const Buffer&) {
                         CHECK(status.to_string() == "ok");
                         ++answered;
                       });
      }
    }
    cluster.run_until([&] { return answered == 30; });
    cluster.check_read(object, 2);
    cluster.check_read(object, 30, 1);
    CHECK(cluster.osds[0]->core->counters().read_repairs == 1);
    CHECK(cluster.deep().counts.errors == 0);
    cluster.check_copies(2);
  }
}

TEST_CASE("scrub: what ends beside a repair does not open the object to writes") {
  const std::uint64_t before = hits_of("pg_object_stays_closed");
  for (std::uint64_t seed = 80; seed < 84; ++seed) {
    INFO("seed ", seed);
    ScrubCluster cluster(seed, 1);
    const std::string object = cluster.name(0);
    cluster.osds[0]->disk->add_fault(
        {.on = io::DiskFault::On::read, .action = io::DiskFault::Action::flip});
    int submitted = 0, answered = 0;
    const auto submit = [&](std::vector<Step> steps, Buffer data) {
      ++submitted;
      cluster.submit(object, std::move(steps), std::move(data),
                     [&](const Status& status, const net::OpReply&, const Buffer&) {
                       CHECK(status.to_string() == "ok");
                       ++answered;
                     });
    };
    const auto submit_read = [&] { submit({{StepCode::read, 0, kBlockBytes * 60, {}, {}}}, {}); };
    for (int i = 0; i < 20; ++i) submit_read();
    int round = 0;
    // Reads that have been repaired once are fetched, one by one: a new one is repaired beside.
    for (std::uint64_t fetched = hits_of("pg_read_from_other_copy"); round < 20; ++round) {
      cluster.run_until(
          [&] { return answered == submitted || hits_of("pg_read_from_other_copy") > fetched; });
      fetched = hits_of("pg_read_from_other_copy");
      submit_read();
      submit({write_step(5, 1)}, content_of(object, 5, 1, round));
      submit_read();
    }
    cluster.run_until([&] { return answered == submitted; });
    cluster.osds[0]->disk->clear_faults();
    cluster.run_until([&] { return cluster.clean(); });
    cluster.check_read(object, 5, round - 1);
    cluster.check_copies(1);
    CHECK(cluster.deep().counts.errors == 0);
  }
  CHECK(hits_of("pg_object_stays_closed") > before);
}

TEST_CASE("scrub: without a good copy a read fails, nothing is made up, the rest can be read") {
  ScrubCluster cluster(53, 2);
  const std::string object = cluster.name(0);
  for (OsdId osd = 0; osd < 3; ++osd) cluster.damage(osd, object, 9);
  Buffer data;
  CHECK(cluster.read(object, 9, data).starts_with("checksum_mismatch"));
  CHECK(cluster.osds[0]->core->counters().read_repairs_failed == 1);
  const ScrubLog found = cluster.repair();
  CHECK(found.counts.errors == 3);
  CHECK(found.counts.repaired == 0);
  REQUIRE(found.verdicts.size() == 1);
  CHECK(found.verdicts[0].good.empty());
  CHECK(cluster.read(object, 9, data).starts_with("checksum_mismatch"));
  cluster.check_read(object, 10);
  CHECK(cluster.osds[0]->core->find_pg(kTestPg)->missing().empty());
  // A write of the whole block makes it good again.
  cluster.write(object, 9, 1, 1);
  cluster.check_read(object, 9, 1);
  CHECK(cluster.deep().counts.errors == 0);
}

TEST_CASE("scrub: recovery takes another source when the first has a bad block") {
  ScrubCluster cluster(54, 3);
  const std::string object = cluster.name(1);
  cluster.kill(2);
  cluster.new_interval({0, 1});
  cluster.write(object, 0, 1, 1);
  cluster.settle();
  cluster.restart(2);
  cluster.damage(0, object, 40);  // what the primary would push
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&cluster] { return cluster.clean(); });
  cluster.check_copies(3);
  CHECK(cluster.deep().counts.errors == 0);
  CHECK(cluster.osds[0]->core->counters().read_repairs == 1);
}

TEST_CASE("scrub: a copy that is given up is missing in the version that the good ones have") {
  for (const OsdId osd : {0, 1}) {
    INFO("osd ", osd);
    ScrubCluster cluster(59, 3);
    const std::string object = cluster.name(1);
    const Pg& pg = *cluster.osds[osd]->core->find_pg(kTestPg);
    const PgLog& log = cluster.osds[2]->core->find_pg(kTestPg)->log();
    Version newest;
    for (const net::LogEntry& entry : log.entries_after(log.tail_number(), log.size()))
      if (entry.object == object) newest = entry.version;
    cluster.damage(osd, object, 40);
    cluster.osds[0]->core->start_scrub(kTestPg, cluster.epoch,
                                       {.id = 4, .deep = true, .repair = true});
    cluster.run_until([&pg] { return !pg.missing().empty(); });
    // Its log forgets; then nothing else tells which copy of those that come back is the good one.
    CHECK(pg.missing().at(object) == Missing{newest, false});
    // Also after a restart.
    cluster.kill(osd);
    cluster.restart(osd);
    CHECK(cluster.osds[osd]->core->find_pg(kTestPg)->missing().at(object) ==
          Missing{newest, false});
    cluster.new_interval({0, 1, 2});
    cluster.run_until([&cluster] { return cluster.clean(); });
    cluster.check_copies(3);
  }
}

TEST_CASE("scrub: a new interval ends it, and it goes on where it was") {
  ScrubCluster cluster(55, 40);
  cluster.damage(1, cluster.name(2), 1);
  cluster.damage(1, cluster.name(30), 1);
  SimOsd& primary = *cluster.osds[0];
  primary.core->start_scrub(kTestPg, cluster.epoch, {.id = 9, .deep = true});
  cluster.run_until([&primary] { return !primary.scrubs.after.empty(); });
  cluster.new_interval({0, 1, 2});
  CHECK(primary.scrubs.ended == 0);
  CHECK(primary.scrubs.counts.errors == 1);
  const std::uint64_t before = primary.scrubs.counts.objects;
  const ScrubLog rest = cluster.scrub({.id = 10, .deep = true, .after = primary.scrubs.after});
  CHECK(rest.outcome == "ok");
  CHECK(rest.counts.objects + before == 40);
  CHECK(rest.counts.errors == 1);
}

TEST_CASE("scrub: an OSD takes part in one scrub at a time, and no place is kept in vain") {
  const PgId other{9, 9};
  for (const OsdId taken : {0, 1, 2}) {
    INFO("taken ", taken);
    ScrubCluster cluster(56, 2);
    OsdCore& member = *cluster.osds[taken]->core;
    REQUIRE(member.take_scrub_place(other));
    const std::uint64_t before = hits_of("pg_scrub_place_taken");
    CHECK(cluster.light().outcome.starts_with("busy"));
    // The primary's own place is asked for without a message.
    CHECK(hits_of("pg_scrub_place_taken") == before + (taken == 0 ? 0 : 1));
    for (const auto& [id, osd] : cluster.osds) {
      if (id != taken) CHECK(osd->core->take_scrub_place(other));
      osd->core->leave_scrub_place(other);
    }
    CHECK(cluster.light().outcome == "ok");
    for (const auto& [id, osd] : cluster.osds) CHECK(osd->core->take_scrub_place(other));
  }
}

TEST_CASE("scrub: a new interval frees the places") {
  ScrubCluster cluster(58, 40);
  cluster.osds[0]->core->start_scrub(kTestPg, cluster.epoch, {.id = 1, .deep = true});
  cluster.run_until([&] { return !cluster.osds[0]->scrubs.after.empty(); });
  CHECK_FALSE(cluster.osds[2]->core->take_scrub_place({9, 9}));
  cluster.new_interval({0, 1, 2});
  for (const auto& [id, osd] : cluster.osds) CHECK(osd->core->take_scrub_place({9, 9}));
}

TEST_CASE("scrub: a member that never answers ends the scrub, and writes go on") {
  ScrubCluster cluster(57, 2);
  cluster.network->partition("osd0", "osd1");
  CHECK(cluster.light().outcome.starts_with("timed_out"));
}

}  // namespace cairn::pg
