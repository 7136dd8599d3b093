// Reads of a disk that gives nothing back, also not what has just been repaired: they are answered
// from the other members' copies.
#include <cstring>
#include <map>
#include <set>

#include "pg/scrub_cluster.hh"
#include "pg/snap_test_client.hh"

namespace cairn::pg {

namespace {

// Runs of blocks are so long that the store keeps nothing of them in memory.
constexpr std::uint64_t kRun = 32;
constexpr std::uint64_t kFamilyBlocks = 12 * kRun;
const std::string kName = "object";

// So many names on both sides of the object's that what an opening reads has nothing of it.
void add_neighbours(ScrubCluster& cluster) {
  io::Random random(1);
  for (int i = 0; i < 1000; ++i) {
    std::string name = i % 2 == 0 ? "a" : "z";
    while (name.size() < 200) name += static_cast<char>('a' + random.below(26));
    cluster.operate(name, {{StepCode::touch, 0, 0, {}, {}}}, {});
  }
}

// An object with layers of every kind: not there yet, written, with zeros and holes, rolled back,
// removed, written anew.
std::vector<std::uint64_t> make_family(SnapTestClient& image) {
  std::vector<std::uint64_t> snaps = {image.take_snapshot()};
  image.write(kName, 0, 1, kFamilyBlocks - 2 * kRun);
  snaps.push_back(image.take_snapshot());
  image.write(kName, 3 * kRun, 2, 2 * kRun);
  image.change(kName, of_range(StepCode::write_zeroes, 5 * kRun, kRun));
  image.change(kName, of_range(StepCode::punch, 7 * kRun, 2 * kRun));
  snaps.push_back(image.take_snapshot());
  image.write(kName, kRun, 3, kFamilyBlocks - kRun);
  snaps.push_back(image.take_snapshot());
  image.change(kName, of_snap(StepCode::rollback, snaps[2]));
  image.write(kName, 0, 4, kRun);
  snaps.push_back(image.take_snapshot());
  image.change(kName, {StepCode::remove, 0, 0, {}, {}});
  snaps.push_back(image.take_snapshot());
  image.write(kName, 6 * kRun, 5, kRun);
  snaps.push_back(image.take_snapshot());
  return snaps;
}

// What reads of all kinds and ranges show at a snapshot; older: those that it is compared with.
std::string shown_at(SnapTestClient& image, std::uint64_t snap,
                     const std::vector<std::uint64_t>& older) {
  std::string shown;
  const auto add = [&shown](const SnapAnswer& answer) {
    CHECK(answer.status.to_string() == "ok");
    shown += answer.reply.exists ? "there: " : "absent: ";
    for (const net::ExtentRun& run : answer.reply.extents) {
      shown += std::to_string(run.state) + "@" + std::to_string(run.offset) + "+" +
               std::to_string(run.length) + " ";
    }
    for (std::size_t at = 0; at < answer.data.size(); at += 2048)
      shown += std::to_string(std::to_integer<int>(answer.data.data()[at])) + " ";
  };
  add(image.run(kName, {of_range(StepCode::sparse_read, 0, kFamilyBlocks)}, {}, snap));
  add(image.run(kName, {of_range(StepCode::sparse_read, 4 * kRun + 3, 5 * kRun)}, {}, snap));
  add(image.run(kName, {of_range(StepCode::read, 2 * kRun, 7 * kRun)}, {}, snap));
  add(image.run(kName, {{StepCode::read, 5 * kRun * kBlockBytes - 512, 9000, {}, {}}}, {}, snap));
  add(image.run(kName, {{StepCode::stat, 0, 0, {}, {}}}, {}, snap));
  add(image.run(kName, {of_range(StepCode::extents, 0, kFamilyBlocks)}, {}, snap));
  add(image.run(kName, {of_range(StepCode::extents, 5 * kRun + 1, 3 * kRun)}, {}, snap));
  add(image.run(kName, {of_snap(StepCode::diff, 0)}, {}, snap));
  for (const std::uint64_t from : older) {
    if (from < snap) add(image.run(kName, {of_snap(StepCode::diff, from)}, {}, snap));
  }
  return shown;
}

std::map<std::uint64_t, std::string> all_shown(SnapTestClient& image,
                                               const std::vector<std::uint64_t>& snaps) {
  std::map<std::uint64_t, std::string> shown = {{kHead, shown_at(image, kHead, snaps)}};
  for (const std::uint64_t snap : snaps) shown[snap] = shown_at(image, snap, snaps);
  return shown;
}

}  // namespace

TEST_CASE("scrub: what snapshots show is answered from the other copies too") {
  const std::uint64_t refused = hits_of("fetch_source_failed");
  for (const bool also_metadata : {false, true}) {
    INFO("metadata ", also_metadata);
    ScrubCluster cluster(90, 1);
    SnapTestClient image(cluster);
    const std::vector<std::uint64_t> snaps = make_family(image);
    if (also_metadata) add_neighbours(cluster);
    const auto before = all_shown(image, snaps);
    CHECK(std::set<std::string>{before.at(snaps[0]), before.at(snaps[1]), before.at(snaps[2]),
                                before.at(snaps[3]), before.at(snaps[4]), before.at(kHead)}
              .size() == 6);
    cluster.settle();
    if (also_metadata) cluster.restart_all();
    const std::uint64_t fetched = hits_of("pg_read_from_other_copy");
    cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
    if (!also_metadata) cluster.osds[1]->disk->add_fault({.on = io::DiskFault::On::read});
    for (int round = 0; round < 2; ++round) {
      const auto after = all_shown(image, snaps);
      for (const auto& found : before) {
        INFO("snapshot ", found.first);
        CHECK(after.at(found.first) == found.second);
      }
    }
    // With the metadata each of the eight questions or more at each snapshot, in each round.
    const std::size_t asked = also_metadata ? 2 * 8 * before.size() : snaps.size();
    CHECK(hits_of("pg_read_from_other_copy") >= fetched + asked);
    for (const OsdId osd : {0, 1}) cluster.osds[osd]->disk->clear_faults();
    check_same_copies(cluster);
  }
  CHECK(hits_of("fetch_source_failed") > refused);
}

namespace {

// The answer's error and key-values.
std::string answer_to(SnapTestClient& image, const std::vector<Step>& steps) {
  const SnapAnswer answer = image.run(kName, steps);
  std::string text(error_name(answer.status.code()));
  for (const auto& [key, value] : answer.reply.omap) text += " " + key + "=" + value;
  return text;
}

Step of_key(StepCode code, std::string key, std::string value = {}, std::uint64_t length = 0) {
  return {code, 0, length, std::move(key), std::move(value)};
}

// Key-values, and guards that hold and that do not. What changes nothing: a disk that can't say
// what it has of an object takes no change of it, and its OSD ends.
std::vector<std::string> ask_all(SnapTestClient& image) {
  const Step assert_exists{StepCode::assert_exists, 0, 0, {}, {}};
  const Step assert_absent{StepCode::assert_absent, 0, 0, {}, {}};
  const Step set = of_key(StepCode::omap_set, "new", "value");
  std::vector<std::string> answers;
  for (const std::vector<Step>& steps : std::vector<std::vector<Step>>{
           {of_key(StepCode::omap_get, "b")},
           {of_key(StepCode::omap_get, "none")},
           {of_key(StepCode::omap_list, "", "", 10)},
           {of_key(StepCode::omap_list, "b", "b", 1)},
           {of_key(StepCode::omap_list, "b", "bb", 9)},
           {of_key(StepCode::omap_compare, "a", "1"), of_key(StepCode::omap_get, "a")},
           {of_key(StepCode::omap_compare, "a", "wrong"), set},
           {assert_absent, set},
           {assert_exists, of_key(StepCode::omap_get, "bbb")},
           {of_range(StepCode::assert_present, 1, 1), of_key(StepCode::omap_get, "a")},
           {of_range(StepCode::assert_present, 0, 2), set},
       })
    answers.push_back(answer_to(image, steps));
  return answers;
}

}  // namespace

TEST_CASE("scrub: key-values and guards under a dead disk are answered from the other copies") {
  ScrubCluster cluster(93, 0);
  add_neighbours(cluster);
  SnapTestClient image(cluster);
  image.write(kName, 1, 7);
  for (const auto& [key, value] : {std::pair{"a", "1"}, {"b", "2"}, {"bb", "3"}, {"bbb", "4"}}) {
    image.change(kName, of_key(StepCode::omap_set, key, value));
  }
  const std::vector<std::string> expected = {
      "ok b=2",   "not_found", "ok a=1 b=2 bb=3 bbb=4", "ok bb=3",
      "ok bbb=4", "ok a=1",    "precondition_failed",   "already_exists",
      "ok bbb=4", "ok a=1",    "precondition_failed"};
  CHECK(ask_all(image) == expected);
  using Action = io::DiskFault::Action;
  for (const Action action : {Action::error, Action::flip}) {
    INFO("flips ", action == Action::flip);
    cluster.settle();
    cluster.restart_all();
    const std::uint64_t fetched = hits_of("pg_read_from_other_copy");
    cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read, .action = action});
    const std::vector<std::string> answers = ask_all(image);
    cluster.osds[0]->disk->clear_faults();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("step ", i);
      CHECK(answers[i] == expected[i]);
    }
    CHECK(hits_of("pg_read_from_other_copy") >= fetched + expected.size());
    check_same_copies(cluster);
  }
}

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

TEST_CASE("scrub: a read that no other member can be asked for waits until one can") {
  const std::uint64_t fetched = hits_of("pg_read_from_other_copy");
  const std::uint64_t out_of_reach = hits_of("fetch_out_of_reach");
  ScrubCluster cluster(86, 2);
  const std::string object = cluster.name(1);
  cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
  bool answered = false;
  cluster.submit(object, {{StepCode::read, 0, kBlockBytes, {}, {}}}, {},
                 [&](const Status& status, const net::OpReply&, const Buffer& data) {
                   CHECK(status.to_string() == "ok");
                   std::byte wanted[kBlockBytes];
                   fill_block(wanted, object, 0, 0);
                   CHECK(data.size() == kBlockBytes);
                   CHECK(std::memcmp(data.data(), wanted, data.size()) == 0);
                   answered = true;
                 });
  cluster.run_until([&] { return hits_of("pg_read_from_other_copy") > fetched; });
  cluster.kill(1);
  cluster.kill(2);
  cluster.run_until([&] { return hits_of("fetch_out_of_reach") > out_of_reach; });
  cluster.executor.run_for(20 * kMillisecond);
  CHECK(!answered);
  cluster.restart(1);
  cluster.restart(2);
  cluster.new_interval({0, 1, 2});
  cluster.run_until([&answered] { return answered; });
}

TEST_CASE("scrub: a read that waits for other members keeps no reserved operation waiting") {
  for (const bool repairs : {false, true}) {
    INFO("repairs ", repairs);
    ScrubCluster cluster(87, 2);
    const std::string object = cluster.name(1);
    cluster.osds[0]->core->set_operations_under_way(1);
    cluster.check_read(cluster.name(0), 0);  // so that none waits for a lease
    if (repairs) {
      cluster.damage(0, object, 0);
    } else {
      cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
    }
    const char* const waits = repairs ? "pg_read_met_damage" : "pg_read_from_other_copy";
    const std::uint64_t waited = hits_of(waits);
    auto stream = std::make_shared<objecter::ReservedStream>();
    stream->id = 1;
    stream->iops = 100;
    objecter::Target target{kTestPg.pool, object};
    target.stream = stream;
    bool read = false;
    bool told = false;
    cluster.client->submit(
        target, {{StepCode::read, 0, kBlockBytes, {}, {}}}, {},
        [&read](const Status&, const net::OpReply&, const Buffer&) { read = true; });
    cluster.run_until([&] { return hits_of(waits) > waited; });
    cluster.kill(1);
    cluster.kill(2);
    target.object = cluster.name(0);
    cluster.client->submit(target, {{StepCode::stat, 0, 0, {}, {}}}, {},
                           [&told](const Status& status, const net::OpReply&, const Buffer&) {
                             told = status.is_ok();
                           });
    cluster.executor.run_for(50 * kMillisecond);
    CHECK(told);
    CHECK(!read);
    CHECK(cluster.osds[0]->core->reservation_counters().waiting == 0);
    cluster.client->cancel_all(Status(ErrorCode::canceled, "the test is over"));
  }
}

TEST_CASE(
    "scrub: what only a disk that gives nothing could tell is asked again until another leads") {
  ScrubCluster cluster(97, 0);
  add_neighbours(cluster);
  SnapTestClient image(cluster);
  image.write(kName, 0, 1, 4);
  image.take_snapshot();
  const net::Fence fence{"lock", 1};
  CHECK(cluster.operate_fenced(fence, "a", {write_step(0, 1)}, block_of(1)).is_ok());
  for (int i = 0; i < 4000; ++i) {  // so that its table is not read with the others
    const std::string key = (i % 2 == 0 ? "a" : "z") + std::string(50, 'x') + std::to_string(i);
    CHECK(cluster.operate_fenced({key, 1}, "a", {write_step(0, 1)}, block_of(1)).is_ok());
  }
  cluster.settle();
  cluster.restart_all();
  cluster.osds[0]->disk->add_fault({.on = io::DiskFault::On::read});
  const std::uint64_t at_first = hits_of("pg_unread_is_asked_again");
  Status fenced(ErrorCode::timed_out, "not answered");
  cluster.client->submit(
      {kTestPg.pool, "a", fence}, {write_step(0, 1)}, block_of(3),
      [&](const Status& status, const net::OpReply&, const Buffer&) { fenced = status; });
  cluster.run_until([&] { return hits_of("pg_unread_is_asked_again") >= at_first + 3; });
  CHECK(fenced.code() == ErrorCode::timed_out);
  const std::vector<std::vector<Step>> questions = {
      {of_range(StepCode::write, 1, 1)},  // is to make a clone
      {of_range(StepCode::sparsify, 0, 4)},
  };
  std::vector<std::shared_ptr<SnapAnswer>> answers;
  for (const std::vector<Step>& steps : questions) {
    const std::uint64_t before = hits_of("pg_unread_is_asked_again");
    const bool writes = steps.front().code == StepCode::write;
    answers.push_back(image.send(kName, steps, writes ? block_of(2) : Buffer()));
    cluster.run_until([&] { return hits_of("pg_unread_is_asked_again") >= before + 3; });
    CHECK(answers.back()->status.to_string() == "timed_out: not answered");
  }
  // Each of them counts as a read that the disk has failed.
  CHECK(cluster.osds[0]->scrubs.read_repairs.size() >= 9);
  cluster.kill(0);
  cluster.new_interval({1, 2});
  for (const auto& answer : answers) {
    image.wait(answer);
    CHECK(answer->status.to_string() == "ok");
  }
  cluster.run_until([&] { return fenced.code() != ErrorCode::timed_out; });
  CHECK(fenced.to_string() == "ok");
  CHECK(image.value(kName, 1) == 2);
  CHECK(image.value(kName, 1, 1) == 1);
}

}  // namespace cairn::pg
