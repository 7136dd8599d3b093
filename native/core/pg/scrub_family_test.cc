// Scrub and repair of objects with clones: every layer counts, and a repair replaces the family.
#include <cstring>

#include "pg/layer_names.hh"
#include "pg/sim_osds.hh"
#include "pg/snapset.hh"

namespace cairn::pg {

using net::Step;
using net::StepCode;

namespace {

constexpr std::uint32_t kBlocks = 80;
const std::string kName = "object";

ObjectId layer(std::uint64_t snap) { return {kTestPg.pool, kName, snap}; }

std::string snap_set() {
  SnapSet set;
  set.seq = 9;
  set.clones = {{4, {4}}, {9, {7, 9}}};
  return encode_snap_set(set);
}

// An object of 80 blocks with two clones. Blocks 3 and 70 of the head are newer than those of the
// clone 9, and block 5 of that is newer than that of 4; each of these has its own value.
struct FamilyCluster : SimOsds {
  explicit FamilyCluster(std::uint64_t seed) : SimOsds(seed) {
    new_interval({0, 1, 2});
    operate(kName, {{StepCode::write, 0, kBlocks * kBlockBytes, {}, {}}}, values(kBlocks, 10));
    operate("other", {{StepCode::write, 0, kBlockBytes, {}, {}}}, values(1, 200));
    clone(4);
    write(5, 105);
    clone(9);
    write(3, 103);
    write(70, 170);
    settle();
  }

  // Block i has the value first + i.
  static Buffer values(std::uint32_t count, int first) {
    Buffer data = Buffer::allocate(count * kBlockBytes);
    for (std::uint32_t i = 0; i < count; ++i) {
      std::memset(data.data() + i * kBlockBytes, first + static_cast<int>(i), kBlockBytes);
    }
    return data;
  }

  void write(std::uint64_t block, int value) {
    operate(kName, {{StepCode::write, block * kBlockBytes, kBlockBytes, {}, {}}}, values(1, value));
  }

  void edit(OsdId osd, object_store::Transaction transaction) {
    bool done = false;
    osds[osd]->store->submit(std::move(transaction), [&done](const Status& status) {
      CHECK(status.to_string() == "ok");
      done = true;
    });
    run_until([&done] { return done; });
  }

  void clone(std::uint64_t snap) {
    for (const OsdId osd : {0, 1, 2}) {
      object_store::Transaction transaction;
      const Version version = osds[0]->core->find_pg(kTestPg)->log().head();
      transaction.set_attr(kTestPg, layer(kHead), snap_set(), version);
      transaction.clone(kTestPg, layer(kHead), layer(snap), version);
      transaction.set_object_version(kTestPg, layer(kHead), Version{1, 1});
      edit(osd, std::move(transaction));
    }
  }

  void settle() {
    for (auto& [id, osd] : osds) {
      bool done = false;
      osd->store->checkpoint([&done](const Status&) { done = true; });
      run_until([&done] { return done; });
    }
  }

  // Flips a bit of the only block on that disk that has this value.
  void damage(OsdId osd, int value) {
    const io::SimDiskImage image = osds[osd]->disk->image();
    std::byte page[kBlockBytes], wanted[kBlockBytes];
    std::memset(wanted, value, kBlockBytes);
    int found = 0;
    for (std::uint64_t at = 0; at < image.size_bytes(); at += kBlockBytes) {
      image.read(at, page);
      if (std::memcmp(page, wanted, kBlockBytes) != 0) continue;
      osds[osd]->disk->flip_bit(at + 7, 1);
      ++found;
    }
    REQUIRE(found >= 1);
  }

  ScrubLog scrub(ScrubSpec spec) {
    SimOsd& primary = *osds[0];
    primary.scrubs = {};
    primary.core->start_scrub(kTestPg, epoch, std::move(spec));
    run_until([&primary] { return primary.scrubs.ended > 0; });
    return primary.scrubs;
  }
  ScrubLog light() { return scrub({.id = 1}); }
  ScrubLog deep() { return scrub({.id = 2, .deep = true}); }
  ScrubLog repair() { return scrub({.id = 3, .deep = true, .repair = true}); }

  // The first byte of a block as that OSD has it in that layer; -1: it can't be read.
  int value(OsdId osd, std::uint64_t snap, std::uint64_t block) {
    int found = -2;
    osds[osd]->store->read(kTestPg, layer(snap), block * kBlockBytes, kBlockBytes, false,
                           [&found](const Status& status, const object_store::ReadResult& read) {
                             found = status ? static_cast<int>(read.data.data()[0]) : -1;
                           });
    run_until([&found] { return found != -2; });
    return found;
  }

  void check_whole() {
    CHECK(deep().counts.errors == 0);
    CHECK(clean());
    for (const OsdId osd : {0, 1, 2}) {
      INFO("osd ", osd);
      CHECK(value(osd, kHead, 3) == 103);
      CHECK(value(osd, kHead, 5) == 105);
      CHECK(value(osd, 9, 3) == 13);
      CHECK(value(osd, 9, 5) == 105);
      CHECK(value(osd, 4, 5) == 15);
      CHECK(value(osd, 4, 70) == 80);
      CHECK(osds[osd]->store->usage().used_bytes == osds[0]->store->usage().used_bytes);
    }
  }
};

}  // namespace

TEST_CASE("scrub: a bad block of a clone is found on its member, once, and the family replaced") {
  FamilyCluster cluster(90);
  const ScrubLog clean = cluster.deep();
  CHECK(clean.counts.errors == 0);
  CHECK(clean.counts.objects == 2);
  // What layers share is read once.
  CHECK(clean.counts.bytes == (kBlocks + 3 + 1) * kBlockBytes);

  cluster.damage(1, 13);  // block 3 of both clones
  cluster.damage(1, 15);  // block 5 of the older one
  cluster.damage(1, 20);  // block 10 of all layers
  CHECK(cluster.light().counts.errors == 0);
  const ScrubLog found = cluster.deep();
  REQUIRE(found.verdicts.size() == 1);
  CHECK(found.verdicts[0].object == kName);
  CHECK(found.verdicts[0].good == std::vector<OsdId>{0, 2});
  REQUIRE(found.verdicts[0].bad.size() == 1);
  CHECK(found.verdicts[0].bad[0].osd == 1);
  CHECK(found.verdicts[0].bad[0].bad_blocks == std::vector<std::uint32_t>{3, 5, 10});
  CHECK(cluster.value(1, 4, 5) == -1);

  CHECK(cluster.repair().counts.repaired == 3);
  cluster.check_whole();
}

TEST_CASE("scrub: the primary's own clone is replaced, too") {
  FamilyCluster cluster(91);
  cluster.damage(0, 13);
  CHECK(cluster.repair().counts.repaired == 1);
  cluster.check_whole();
}

TEST_CASE("scrub: layers that are missing, too many or other ones are found without reading") {
  using object_store::Transaction;
  struct Change {
    const char* what;
    void (*make)(Transaction& change);
  };
  const Change changes[] = {
      {"a clone is missing", [](Transaction& change) { change.remove(kTestPg, layer(4)); }},
      {"a clone is too much",
       [](Transaction& change) {
         change.clone(kTestPg, layer(4), layer(6), {1, 3});
       }},
      {"a clone has another block",
       [](Transaction& change) {
         change.write(kTestPg, layer(9), 0, FamilyCluster::values(1, 99), {1, 3});
       }},
      {"a clone has another key",
       [](Transaction& change) {
         change.omap_set(kTestPg, layer(9), "k", "v", {1, 3});
       }},
      {"the head has another snap set",
       [](Transaction& change) {
         change.set_attr(kTestPg, layer(kHead), encode_snap_set(SnapSet{9, {}, {}}), {1, 1});
       }},
      {"the head has no snap set, so that nobody knows of the clones",
       [](Transaction& change) {
         change.set_attr(kTestPg, layer(kHead), "", {1, 1});
       }},
      {"the head is gone", [](Transaction& change) { change.remove(kTestPg, layer(kHead)); }},
  };
  for (const OsdId victim : {0, 2}) {
    for (const Change& change : changes) {
      INFO("victim ", victim, ", ", std::string(change.what));
      FamilyCluster cluster(92);
      Transaction transaction;
      change.make(transaction);
      cluster.edit(victim, std::move(transaction));
      const ScrubLog found = cluster.light();
      REQUIRE(found.verdicts.size() == 1);
      REQUIRE(found.verdicts[0].bad.size() == 1);
      CHECK(found.verdicts[0].bad[0].osd == victim);
      CHECK(found.verdicts[0].bad[0].problem == CopyProblem::differs);
      CHECK(cluster.scrub({.id = 4, .repair = true}).counts.repaired == 1);
      cluster.check_whole();
      CHECK(cluster.osds[victim]->store->object_count(kTestPg) == 4);
    }
  }
}

TEST_CASE("scrub: an object with more layers than one reply lists is one object") {
  SimOsds cluster(93);
  cluster.new_interval({0, 1, 2});
  for (const char* name : {"a", "b", "c"}) {
    cluster.operate(name, {{StepCode::write, 0, kBlockBytes, {}, {}}}, block_of(7));
  }
  for (const OsdId osd : {0, 1, 2}) {
    object_store::Transaction transaction;
    for (std::uint64_t snap = 1; snap <= 150; ++snap) {
      transaction.clone(kTestPg, {kTestPg.pool, "b", kHead}, {kTestPg.pool, "b", snap}, {1, 2});
    }
    if (osd == 2) transaction.omap_set(kTestPg, {kTestPg.pool, "b", 149}, "k", "v", {1, 2});
    bool done = false;
    cluster.osds[osd]->store->submit(std::move(transaction),
                                     [&done](const Status&) { done = true; });
    cluster.run_until([&done] { return done; });
  }
  SimOsd& primary = *cluster.osds[0];
  primary.core->start_scrub(kTestPg, cluster.epoch, {.id = 1, .deep = true});
  cluster.run_until([&primary] { return primary.scrubs.ended > 0; });
  CHECK(primary.scrubs.counts.objects == 3);
  REQUIRE(primary.scrubs.verdicts.size() == 1);
  CHECK(primary.scrubs.verdicts[0].object == "b");
  CHECK(primary.scrubs.verdicts[0].bad.size() == 1);
}

}  // namespace cairn::pg
